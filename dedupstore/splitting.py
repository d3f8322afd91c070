"""The seam between the store and formats: which bytes of a stream are skeleton, which content (docs/format.md 9).

Invariant: a splitter only marks ranges; the bytes of the stream are stored whatever it says, and come back
exactly, because the layout records the ranges.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from dedupstore.errors import DamageError


class Range(NamedTuple):
    """The next `length` bytes of a stream.  `ends` closes a piece of content (a file's last byte)."""

    content: bool
    length: int
    ends: bool = False


class Splitter(Protocol):
    """Knows a format.  One instance serves one stream."""

    def split(self, data: memoryview) -> list[Range]:
        """Return ranges that cover `data` exactly; an unfinished element may go on in the next call."""
        ...


class LayoutWriter:
    """Writes alternating lengths, skeleton first, as LEB128 varints."""

    def __init__(self) -> None:
        self._content = False
        self._length = 0

    def add(self, content: bool, length: int) -> bytes:
        """Note a range and return the bytes of the layout that this completes."""
        if content == self._content:
            self._length += length
            return b""
        if not length:
            return b""
        done = _varint(self._length)
        self._content, self._length = content, length
        return done

    def finish(self) -> bytes:
        """Return the last bytes of the layout."""
        return _varint(self._length) if self._length else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def lengths(layout: Iterable[bytes | memoryview]) -> Iterator[int]:
    """Yield the lengths that a layout, given in pieces, lists.

    Raises `DamageError` for a number that is cut short, too long, or 0 where that would be pointless: so a
    layout cannot be endless.
    """
    value = shift = 0
    first = True
    for piece in layout:
        for byte in bytes(piece):
            value |= (byte & 127) << shift
            shift += 7
            if byte > 127:
                if shift == 63:
                    raise DamageError("a stream's layout has a number beyond 63 bits")
                continue
            if byte == 0 and not (first and shift == 7):
                raise DamageError("a stream's layout has a length of 0, or one written too long")
            yield value
            value = shift = 0
            first = False
    if shift:
        raise DamageError("a stream's layout ends within a number")
