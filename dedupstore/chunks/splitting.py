"""The seam between the store and formats: which bytes of a stream are skeleton, which content (docs/format.md 9).

Invariant: a splitter only marks ranges; the bytes of the stream are stored whatever it says, and come back
exactly, because the layout records the ranges.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from dedupstore.chunks import _divide
from dedupstore.errors import DamageError, StreamError


class Splitter(Protocol):
    """Knows a format.  One instance serves one stream."""

    def split(self, data: memoryview, ended: bool) -> bytes:
        """Return ranges that cover `data` exactly; an unfinished element may go on in the next call.

        They are a column of little-endian u64, each  length << 2 | ends << 1 | content  with a length above 0;
        `ends`: the range's last byte ends a piece of content (a file).  `ended`: no more data follow.
        """
        ...


class Division(NamedTuple):
    """What became of bytes in a buffer.

    kept: where in the buffer the content, moved together, ends now.
    ends: offsets in the buffer at which pieces of content end, a column of u64 in the machine's order.
    """

    kept: int
    skeleton: bytes
    ends: bytes
    layout: bytes


class Divider:
    """Divides one stream as its splitter says, and writes its layout: alternating lengths, skeleton first."""

    def __init__(self, splitter: Splitter) -> None:
        self._splitter = splitter
        self._content = False
        self._length = 0

    def divide(self, buffer: memoryview, start: int, end: int, *, ended: bool) -> Division:
        """Divide the bytes from `start` to `end`, which follow those of the last call.

        Content before `start` stays where it is.  Raises `StreamError` for a splitter that is wrong.
        """
        ranges = self._splitter.split(buffer[start:end], ended)
        try:
            kept, skeleton, ends, layout, self._content, self._length = _divide.divide(
                buffer, start, end, ranges, self._content, self._length
            )
        except ValueError:
            raise StreamError("the splitter did not account for every byte of the stream") from None
        return Division(kept, skeleton, ends, layout)

    def finish(self) -> bytes:
        """Return the last bytes of the layout."""
        return varint(self._length) if self._length else b""


def varint(value: int) -> bytes:
    """Return the number as unsigned LEB128, in the fewest bytes."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def pairs(chunk: bytes | memoryview, covers: tuple[int, int], *, first: bool, ended: bool) -> memoryview:
    """Return the lengths in a layout's chunk, the first of skeleton: a view of u64.

    `first` and `ended`: the layout begins and ends with it.  Raises `DamageError` for a number that is cut short, too
    long, or 0 where that would be pointless, for one pair in two chunks, and if the sums are not what the
    chunk `covers` (skeleton, content).
    """
    try:
        found = _divide.pairs(chunk, len(chunk), first, ended)
    except ValueError:
        found = None
    if found is None:
        raise DamageError("a stream's layout has a number that is cut short or invalid")
    if found[2:] != covers:
        raise DamageError("a stream's layout covers other bytes than its recipe says")
    return memoryview(found[0]).cast("Q")


def lengths(
    read: Callable[[int], bytes], parts: Iterable[tuple[tuple[int, ...], list[tuple[Any, ...]]]], size: int
) -> Iterator[int]:
    """Yield the lengths that a layout of `size` bytes lists, from the chunks in `parts` on.

    `read` returns its next bytes.  A part is as `recipes.Recipe.parts` yields it: the sums before, and entries.
    """
    for (at, *_), chunks in parts:
        for _, length, skeleton, content in chunks:
            chunk = read(length)
            yield from pairs(chunk, (skeleton, content), first=at == 0, ended=at + length == size)
            at += length
