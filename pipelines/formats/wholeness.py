"""Notice streams that were cut short, by how they end.

Invariant: a stream that must have an end mark and lacks it is never stored as whole: the source raises before
it reports its end, so that the store does not take the stream.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dedupstore.errors import StreamError

if TYPE_CHECKING:
    from dedupstore.reading import Source

_DUMP_END = bytes.fromhex("043a214b6e")
_TAR_BLOCK = 512
_TAR_END = bytes(2 * _TAR_BLOCK)


class TailCheck:
    """A source that hands on another one's bytes and calls `judge(size, tail)` at the end.

    `tail` is the stream's last `length` bytes (all, if it is shorter); `judge` may raise.
    """

    def __init__(self, source: "Source", length: int, judge: Callable[[int, bytes], None]) -> None:
        self._source = source
        self._length = length
        self._judge = judge
        self._tail = b""
        self._size = 0

    def readinto(self, buffer: memoryview, /) -> int:
        """Read from the source beneath."""
        count = self._source.readinto(buffer) or 0
        if count:
            self._size += count
            last = bytes(buffer[max(0, count - self._length) : count])
            self._tail = (self._tail + last)[-self._length :]
        else:
            self._judge(self._size, self._tail)
        return count


def whole_dump(source: "Source", name: str) -> TailCheck:
    """Return the source of a volume dump, which raises `StreamError` at the end if the end mark is not there.

    The end mark is the tag D_DUMPEND (4) and DUMPENDMAGIC, as in src/volser/dump.h of OpenAFS.
    """

    def judge(size: int, tail: bytes) -> None:
        if tail != _DUMP_END:
            raise StreamError(
                f"the volume dump for {name} is cut short: it has no end mark after {size} bytes",
                "nothing was listed; dump it again, or keep it as it is with --format raw",
            )

    return TailCheck(source, len(_DUMP_END), judge)


def whole_tar(source: "Source", complain: Callable[[int], None]) -> TailCheck:
    """Return the source of a tar, which calls `complain(size)` at the end if the tar does not end as one.

    A tar consists of blocks of 512 bytes and ends with two of zeros (POSIX.1-2017, pax).  Some programs leave
    these out, so what follows from it is for the caller to say.
    """

    def judge(size: int, tail: bytes) -> None:
        if size % _TAR_BLOCK or tail != _TAR_END:
            complain(size)

    return TailCheck(source, len(_TAR_END), judge)
