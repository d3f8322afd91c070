"""Tell file contents from the rest, the skeleton, as a volume dump or a tar streams by; in C, in `_split*.h`.

Invariant: a splitter only marks ranges.  It never refuses a stream: where the stream stops making sense, all
the rest becomes content, and the splitter says where and why.  What it finds does not depend on how the
stream was divided into buffers, and what it holds does not grow with lengths that the stream claims.

One splitter serves one stream; it is `dedupstore.chunks.splitting.Splitter`.  Contents shorter than 512 bytes stay
in the skeleton.  The GIL is released; a second thread that uses the same splitter meanwhile gets a RuntimeError.
"""

from typing import NamedTuple

from pipelines.formats import _split


class DumpFacts(NamedTuple):
    """What a dump says of itself; numbers are unsigned, 0 where the dump has none; times are Unix seconds.

    The first four are of the dump header, the rest of the volume header.  `type`: 0 read-write, 1 read-only,
    2 backup.  Source: DumpDumpHeader and DumpVolumeHeader, src/volser/dumpstuff.c of OpenAFS.
    """

    volume: int
    name: bytes  # the first 255 bytes
    since: int  # 0: a full dump
    until: int
    id: int
    uniquifier: int
    type: int
    parent: int
    clone: int
    creation: int
    update: int
    backup: int
    access: int


class Succession(NamedTuple):
    """What became of a volume's vnodes from a dump, the parent, to the next.

    state: the next dump's column, in which bare vnodes have taken over all that the parent knew of them.
    missing, first_missing: bare vnodes that the parent does not have, with this unique number; it and the
    first as (vnode, unique).  They mean that the two dumps do not chain.
    altered, altered_count: vnodes (at most 100 of them) whose data are others though their data version is the
    same: volserver could not read them, or somebody changed them behind its back.
    """

    state: bytes
    missing: int
    first_missing: tuple[int, int] | None
    altered: list[int]
    altered_count: int


class AfsSplitter:
    """Splits an AFS volume dump: full, incremental, merged, with or without all directories."""

    def __init__(self) -> None:
        self._walk = _split.AfsWalk()

    def split(self, data: bytes | bytearray | memoryview, ended: bool) -> bytes:
        """Return ranges that cover `data`, the stream's next bytes: see `dedupstore.chunks.splitting.Splitter`.

        Raises ValueError after the end, MemoryError if there is no memory for what `vnodes` returns.
        """
        return self._walk.split(data, ended)

    @property
    def unparsed(self) -> int | None:
        """The offset in the stream of the first byte that made no sense; None if all did so far.

        Bytes behind the end mark are no matter of this: see `trailing`.
        """
        return self._walk.unparsed

    @property
    def reason(self) -> str:
        """Why it gave up, or, at the end of the stream, where a dump without its end mark stops; else empty."""
        return self._walk.reason

    @property
    def complete(self) -> bool:
        """Whether the end mark was found where the parser stands."""
        return self._walk.complete

    @property
    def trailing(self) -> int:
        """How many bytes so far came after the end mark; they are content."""
        return self._walk.trailing

    @property
    def others(self) -> int:
        """How many sections that are not known stand among the vnodes so far; each has a length, so it was skipped."""
        return self._walk.others

    def header(self) -> DumpFacts | None:
        """Return what the dump header and the volume header say; None until both are parsed."""
        facts = self._walk.facts()
        return DumpFacts(*facts) if facts else None

    def vnodes(self) -> bytes:
        """Return the vnodes that are complete so far, in the order of the dump: 32 bytes for each.

        They are struct "<IIIBxxxQQ": vnode, unique, data version, flags (1: whole, not only named as unchanged;
        2: has data), length of the data in bytes, XXH64 of the data with seed 0.  What is not there is 0.
        """
        return self._walk.vnodes()


class TarSplitter:
    """Splits a tar: v7, ustar, pax and GNU, with sparse files.  Two blocks of zeros end it."""

    def __init__(self) -> None:
        self._walk = _split.TarWalk()

    def split(self, data: bytes | bytearray | memoryview, ended: bool) -> bytes:
        """Return ranges that cover `data`, the stream's next bytes: see `dedupstore.chunks.splitting.Splitter`.

        Raises ValueError after the end.
        """
        return self._walk.split(data, ended)

    @property
    def unparsed(self) -> int | None:
        """Where raw content begins: behind a header that made no sense, or at what follows the end and is not zero.

        An offset in the stream, None if all made sense so far.
        """
        return self._walk.unparsed

    @property
    def reason(self) -> str:
        """Why it gave up, or, at the end of the stream, how a tar that is not complete stops; else empty."""
        return self._walk.reason

    @property
    def complete(self) -> bool:
        """Whether two blocks of zeros were found where the parser stands."""
        return self._walk.complete

    @property
    def members(self) -> int:
        """How many files, folders, links and the like came so far."""
        return self._walk.members


def succeed(parent: bytes, child: bytes) -> Succession:
    """Compare two columns as `AfsSplitter.vnodes` or an earlier `Succession.state` gives them.

    Raises ValueError for a column that is no multiple of a record.
    """
    return Succession(*_split.succeed(parent, child))
