"""One full dump out of a full one and the incrementals after it, valid for `vos restore`.

It restores to the same volume as restoring each in turn with `-overwrite incremental`: the header and the volume's
properties are those of the last one, and each vnode is the bytes that its dump has (see `join`).

Invariant: nothing is yielded before the headers of all dumps are found to follow one another.  Memory does not grow
with the dumps: contents go through in pieces.
"""

import struct
from collections.abc import Iterator, Sequence

from dedupstore.errors import StreamError
from pipelines.formats.afs import tags
from pipelines.formats.afs.join import check_chain, living
from pipelines.formats.afs.reader import DumpReader
from pipelines.formats.stream import InputStream

_END = struct.pack(">BI", tags.END, tags.END_MAGIC)
_SMALL = 64 << 10  # pieces up to this size are joined, so that small files do not cost a write each
_JOINED = 256 << 10


def merge(streams: Sequence[InputStream]) -> Iterator[bytes | memoryview]:
    """Return the pieces of one full dump.

    `streams`: the full dump, then the incrementals from the oldest to the newest; at least one.  Raises
    `StreamError` at once if their headers do not follow one another, and later if their vnodes do not.
    """
    dumps = [DumpReader(stream) for stream in streams]
    check_chain(dumps)
    return _joined(_pieces(dumps))


def check(streams: Sequence[InputStream]) -> None:
    """Find out whether `merge` would succeed, without contents being fetched.  Raises `StreamError`."""
    dumps = [DumpReader(stream) for stream in streams]
    check_chain(dumps)
    for _ in living(dumps):
        pass
    _check_others(dumps)


def _pieces(dumps: Sequence[DumpReader]) -> Iterator[bytes | memoryview]:
    yield dumps[-1].header.as_full()
    yield dumps[-1].volume.raw
    for dump, _ in living(dumps):
        yield from dump.copy()
    _check_others(dumps)
    yield _END


def _check_others(dumps: Sequence[DumpReader]) -> None:
    """Refuse to leave out what may belong to the volume, once all dumps were walked."""
    for dump in dumps:
        if dump.others and len(dumps) > 1:
            raise StreamError(
                f"{dump.header} has sections that this version does not know: it cannot be merged",
                "take each dump as it is with --raw",
            )


def _joined(pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the same bytes in fewer pieces."""
    held = bytearray()  # copies: a piece may be a small part of a large block
    for piece in pieces:
        large = len(piece) > _SMALL
        if not large:
            held += piece
        if held and (large or len(held) >= _JOINED):
            yield memoryview(held)
            held = bytearray()
        if large:
            yield piece
    if held:
        yield memoryview(held)
