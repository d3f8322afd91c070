"""A stream as the repository gives it: a skeleton at hand, contents that have to be fetched."""

import struct
from collections.abc import Iterable, Iterator

from dedupstore.errors import StreamError

THRESHOLD = 512  # contents that are shorter lie in the skeleton


class PieceStream:
    """Keeps `Stream` to the letter, and counts in `fetched` what was read or copied of contents.

    `looks` and `others` count the calls of `peek` and of the rest.
    """

    def __init__(self, data: bytes, contents: Iterable[tuple[int, int]] = ()) -> None:
        self.position = 0
        self.fetched = 0
        self._data = data
        self._contents = list(contents)
        self._left = 0  # of what `copy` has to yield yet

    @classmethod
    def of(cls, parts: Iterable[tuple[bytes, bytes]]) -> "PieceStream":
        """A dump in pairs of header and contents; directories are not contents."""
        data, contents = b"", []
        pieces = []
        at = 0
        for head, content in parts:
            at += len(head)
            if len(content) >= THRESHOLD and not struct.unpack(">I", head[1:5])[0] & 1:
                contents.append((at, at + len(content)))
            at += len(content)
            pieces += [head, content]
        data = b"".join(pieces)
        return cls(data, contents)

    def _move(self, count: int, *, fetch: bool) -> bytes:
        assert not self._left, "copy was not used up"
        data = self._data[self.position : self.position + count]
        end = self.position + len(data)
        if fetch:
            for start, stop in self._contents:
                self.fetched += max(0, min(end, stop) - max(self.position, start))
        self.position = end
        return data

    def peek(self, count: int) -> bytes:
        assert not self._left, "copy was not used up"
        end = min(self.position + count, len(self._data))
        for start, stop in self._contents:
            if start <= self.position < stop:
                return b""
            if self.position < start < end:
                end = start
        return self._data[self.position : end]

    def read(self, count: int) -> bytes:
        return self._move(count, fetch=True)

    def skip(self, count: int) -> None:
        if len(self._move(count, fetch=False)) < count:
            raise StreamError("past the end")

    def copy(self, count: int) -> Iterator[bytes | memoryview]:
        if self.position + count > len(self._data):
            raise StreamError("past the end")
        data = self._move(count, fetch=True)
        self._left = len(data)
        for at in range(0, len(data), 1000):
            piece = data[at : at + 1000]
            self._left -= len(piece)
            yield memoryview(piece)
