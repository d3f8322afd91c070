"""Splitters that notice streams that were cut short, or are not what they should be.

Invariant: a stream that must have an end mark and lacks it is never stored as whole.  Where the parser gave up
before the end, the last bytes must be those of a whole stream: that much is known of it even then.
"""

from typing import Protocol

from dedupstore.chunks.splitting import Splitter
from dedupstore.errors import StreamError
from pipelines.formats.detect import DUMP_END
from pipelines.formats.splitters import AfsSplitter, DumpFacts, TarSplitter

_TAR_BLOCK = 512
_TAR_END = bytes(2 * _TAR_BLOCK)  # POSIX.1-2017, pax, "ustar Interchange Format"
_RAW = "no backup was recorded; to keep it as it is: --format raw"


class Judge(Splitter, Protocol):
    """A splitter that knows at the end what to think of its stream."""

    def findings(self, name: str) -> list[str]:
        """Return what is odd about the stream called `name`.  Raises `StreamError` if it is cut short."""
        ...

    def header(self) -> DumpFacts | None:
        """Return what a volume dump says of itself, if it was understood so far; None for anything else."""
        ...


class _Tail:
    """The number of bytes so far, and the last `length` of them."""

    def __init__(self, length: int) -> None:
        self.size = 0
        self.last = b""
        self._length = length

    def add(self, data: memoryview) -> None:
        self.size += len(data)
        self.last = (self.last + bytes(data[-self._length :]))[-self._length :]


class DumpSplitter:
    """Splits an AFS volume dump, which must have its end mark."""

    def __init__(self) -> None:
        self.dump = AfsSplitter()
        self._tail = _Tail(len(DUMP_END))

    def split(self, data: memoryview, ended: bool) -> bytes:
        """Return the ranges of the stream's next bytes."""
        self._tail.add(data)
        return self.dump.split(data, ended)

    def findings(self, name: str) -> list[str]:
        """Return what is odd about it; see `Judge`."""
        dump, size = self.dump, self._tail.size
        if dump.complete:
            if not dump.trailing:
                return []
            return [f"{dump.trailing} bytes follow the end mark of the volume dump for {name}"]
        if dump.unparsed is None or self._tail.last != DUMP_END:
            raise StreamError(
                f"the volume dump for {name} is cut short: it has no end mark after {size} bytes",
                "no backup was recorded; dump it again, or keep it as it is with --format raw",
            )
        return [_raw(f"the volume dump for {name}", dump.unparsed, size, dump.reason)]

    def header(self) -> DumpFacts | None:
        """Return what the dump says of itself; see `Judge`."""
        return self.dump.header()


class WholeTarSplitter:
    """Splits a tar.  Some programs write no end: `must_end` says whether that is an error, or merely odd."""

    def __init__(self, *, must_end: bool) -> None:
        self._tar = TarSplitter()
        self._tail = _Tail(len(_TAR_END))
        self._must_end = must_end

    def split(self, data: memoryview, ended: bool) -> bytes:
        """Return the ranges of the stream's next bytes."""
        self._tail.add(data)
        return self._tar.split(data, ended)

    def findings(self, name: str) -> list[str]:
        """Return what is odd about it; see `Judge`."""
        tar, tail, found = self._tar, self._tail, []
        whole = tail.size % _TAR_BLOCK == 0 and tail.last == _TAR_END
        if not tar.complete and (tar.unparsed is None or not whole):
            what = (
                f"the tar for {name} does not end as a tar does: it may be cut short, after {tail.size} bytes"
            )
            if self._must_end:
                raise StreamError(what, _RAW)
            found.append(f"{what}; it is stored all the same, --format tar would refuse it")
        if tar.unparsed is not None:
            found.append(_raw(f"the tar for {name}", tar.unparsed, tail.size, tar.reason))
        return found

    def header(self) -> None:
        """Return nothing; see `Judge`."""


def _raw(what: str, offset: int, size: int, reason: str) -> str:
    return (
        f"{what} is not understood from byte {offset} of {size} on: {reason}; "
        "all of it is stored, but the rest is not listed, and deduplicates less"
    )
