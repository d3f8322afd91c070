"""Contents of entries, put together."""

from collections.abc import Iterator

from pipelines.formats.entries import Hole


def whole(pieces: Iterator[bytes | memoryview | Hole]) -> bytes:
    """Join pieces of contents."""
    return b"".join(
        bytes(part) for piece in pieces for part in (piece.zeros() if isinstance(piece, Hole) else [piece])
    )
