"""Where a stream's bytes come from; each source has `readinto(buffer) -> count`, which is 0 at the end.

Invariant: a source that failed never reports an end: it raises `StreamError` instead.
"""
