"""The store: streams of bytes, deduplicated, encrypted, and kept where they can be proved.

It knows bytes, chunks and raw keys; it knows nothing of AFS, databases or GPG.  `repository.Repository` is its
public face, and says there which module calls which; docs/format.md is what it writes.
"""
