"""Names of files, which are bytes: shown to people, and written into JSON.

Invariant: what `shown` returns is one line that does nothing to a terminal; `exact` loses nothing.
"""

from pipelines.text import safe


def shown(name: bytes) -> str:
    r"""Return a name for people: what is no UTF-8 as `\xff`, control characters escaped."""
    return safe(name.decode("utf-8", "backslashreplace"))


def exact(name: bytes) -> str:
    r"""Return a name for JSON: a byte that is no UTF-8 becomes U+DC80 to U+DCFF, as Python's `os.fsdecode` does."""
    return name.decode("utf-8", "surrogateescape")
