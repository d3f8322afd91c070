"""Read a stream forward, whether it is a file or lies in the repository: look ahead, skip, copy.

Who reads a format asks for headers with `peek`, and steps over contents with `skip`, which fetches nothing.

Invariant: `position` is the number of bytes that were read, skipped or copied; no byte comes twice or is lost.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from dedupstore.errors import StreamError

_AHEAD = 256 << 10
_PIECE = 1 << 20


class InputStream(Protocol):
    """A stream that is read once, forward.

    `position` is how many bytes lie behind.  A stream from the repository consists of a skeleton, which is at
    hand, and pieces of content, which are fetched only by `read` and `copy`.
    """

    position: int

    def peek(self, count: int) -> bytes:
        """Return up to `count` next bytes, without moving.

        It may return fewer where a piece of content begins; it returns none only there and at the end.
        """
        ...

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only at the end."""
        ...

    def skip(self, count: int) -> None:
        """Move on by `count` bytes.  Raises `StreamError` past the end."""
        ...

    def copy(self, count: int) -> Iterator[bytes | memoryview]:
        """Yield the next `count` bytes in pieces; it must be used up before the next call.

        Raises `StreamError` if the stream ends before.
        """
        ...


class FileStream:
    """An `InputStream` of a file that blocks: a plain one, which is skipped by seeking, or a pipe.

    It begins where the file stands, and reads ahead of its own position.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.position = 0
        self._file = file
        self._held = b""  # what was read ahead, from `_at` on
        self._at = 0
        self._left: int | None = None  # bytes of the file that were not read yet; None: not known
        if file.seekable():
            here = file.tell()
            self._left = file.seek(0, os.SEEK_END) - here
            file.seek(here)

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes without moving; fewer only at the end."""
        if len(self._held) - self._at < count:
            rest = self._held[self._at :]
            self._held = rest + self._take(max(count, _AHEAD) - len(rest))
            self._at = 0
        return self._held[self._at : self._at + count]

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer only at the end."""
        data = self._held[self._at : self._at + count]
        self._at += len(data)
        if len(data) < count:
            data += self._take(count - len(data))
        self.position += len(data)
        return data

    def skip(self, count: int) -> None:
        """Move on by `count` bytes.  Raises `StreamError` past the end."""
        if count <= len(self._held) - self._at:
            self._at += count
            self.position += count
        elif self._left is None:
            for _ in self.copy(count):
                pass
        else:
            beyond = count - (len(self._held) - self._at)
            if beyond > self._left:
                raise _cut_short(self.position + count - beyond + self._left)
            self._held, self._at = b"", 0
            self._file.seek(beyond, os.SEEK_CUR)
            self._left -= beyond
            self.position += count

    def copy(self, count: int) -> Iterator[bytes | memoryview]:
        """Yield the next `count` bytes.  Raises `StreamError` if the file ends before."""
        while count:
            if self._at == len(self._held):
                data = self._take(min(count, _PIECE))
            else:
                data = self._held[self._at : self._at + count]
                self._at += len(data)
            if not data:
                raise _cut_short(self.position)
            self.position += len(data)
            count -= len(data)
            yield data

    def _take(self, count: int) -> bytes:
        """Read from the file, fewer only at its end."""
        data = b""
        while len(data) < count:
            more = self._file.read(count - len(data))
            if not more:
                break
            data = data + more if data else more
        if self._left is not None:
            self._left = max(0, self._left - len(data))
        return data


def _cut_short(size: int) -> StreamError:
    return StreamError(f"the stream is cut short: it ends after {size} bytes", "take an older backup of it")
