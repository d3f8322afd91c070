"""Walk a stored stream forward, from its beginning or any position.

Its skeleton is fetched ahead; contents are fetched only if they are copied.

Invariant: the next byte that is returned is that at `position`, and each that was returned was verified.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, tee
from types import TracebackType
from typing import TYPE_CHECKING

from dedupstore.chunks import splitting
from dedupstore.errors import DamageError, StreamError
from dedupstore.format.recipes import Recipe, Totals
from dedupstore.format.run_records import Stream
from dedupstore.reading.sequence_reader import Ahead, SequenceReader

if TYPE_CHECKING:
    from dedupstore.reading.stream_reader import StreamReader

_AHEAD = 8 << 20  # of the contents; a merge walks several streams at once
_PIECE = 1 << 20  # of skeleton, at a time
_MANY = 10_000  # ranges; to skip more, a seek costs less


class StoredStream:
    """Walks one stream; a context manager, as threads fetch for it."""

    def __init__(self, reader: "StreamReader", stream: Stream) -> None:
        self._pool = ThreadPoolExecutor(reader.threads, "read")

        def sequence(recipe: Recipe, most: int, *, eager: bool) -> SequenceReader:
            ahead = Ahead(reader.ahead.step, most)
            return SequenceReader(partial(reader.walk, recipe), reader.data, self._pool, ahead, eager=eager)

        self._reader = reader
        self._recipes = reader.recipes(stream)
        self.size = stream.size
        self._plan: SequenceReader | None = None
        self._lengths: Iterator[int]
        self._start_at(0)
        self._skeleton = sequence(self._recipes.skeleton, _AHEAD // 2, eager=True)
        self._content = sequence(self._recipes.content, _AHEAD, eager=False)
        self._content_at = 0  # bytes of content passed; what was not copied of them is skipped later
        self._unread = self._recipes.skeleton.size  # bytes of skeleton not in the buffer yet
        self._buffer = b""  # skeleton
        self._at = 0  # what of it was passed
        self._in_content = True  # the range that comes next is skeleton
        self._left = 0  # bytes of the present range
        self.position = 0

    def seek(self, position: int) -> None:
        """Go to any position, forward or back, reading one list node a level of each sequence."""
        if not 0 <= position <= self.size:
            raise ValueError(f"a stream of {self.size} bytes has no position {position}")
        _, skeleton, content = self._start_at(position)
        self._skeleton.seek(skeleton)
        self._buffer, self._at, self._unread = b"", 0, self._recipes.skeleton.size - skeleton
        if content < self._content.position:
            self._content.seek(content)
        self._content_at = content
        self._in_content, self._left = True, 0
        self.position = skeleton + content
        self._pass_ranges(position - self.position)

    def _start_at(self, position: int) -> Totals:
        """Restart the ranges at the chunk of the layout that holds a position; return what lies before it."""
        layout, reader = self._recipes.layout, self._reader
        if not layout.size:
            self._lengths = iter((0, self.size - position) if position < self.size else ())
            return 0, 0, position
        parts = layout.parts(position)
        if (first := next(parts, None)) is None:
            self._lengths = iter(())
            return layout.size, self._recipes.skeleton.size, self._recipes.content.size
        if self._plan:
            self._plan.close()
        parts, again = tee(chain((first,), parts))
        stretches = reader.stretches(part.chunks for part in parts)
        ahead = Ahead(reader.ahead.step, _AHEAD // 4)
        self._plan = SequenceReader(lambda _: (0, stretches), reader.data, self._pool, ahead, eager=True)
        self._lengths = splitting.lengths(self._plan.get, again, layout.size)
        return first.before

    def peek(self, count: int) -> bytes:
        """Return up to `count` next bytes without moving: fewer where content begins and at the end."""
        if not self._left:
            self._next_range()
        if self._in_content:
            return b""
        count = min(count, self._left)
        at = self._at
        if len(self._buffer) - at < count:
            self._fill(count)
            at = 0
        return self._buffer[at : at + count]

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only at the end; contents are fetched if they are among them."""
        return b"".join(self.copy(min(count, self.size - self.position)))

    def skip(self, count: int) -> None:
        """Move on by `count` bytes, fetching no contents; raises `StreamError` beyond the end."""
        if not self._in_content and 0 <= count < self._left and count <= len(self._buffer) - self._at:
            self._at += count  # within what was peeked at, nearly always
            self._left -= count
            self.position += count
            return
        self._check(count)
        if left := self._pass_ranges(count, _MANY):
            self.seek(self.position + left)

    def _pass_ranges(self, count: int, most: int = -1) -> int:
        """Move on by `count` bytes, through so many ranges at most; return how many bytes are left."""
        while count and most:
            part = self._part(count)
            if self._in_content:
                self._content_at += part
            else:
                self._pass(part)
            self._left -= part
            self.position += part
            count -= part
            most -= 1
        return count

    def copy(self, count: int) -> Iterator[bytes | memoryview]:
        """Yield the next `count` bytes in pieces; what is not taken before the next call may be skipped.

        `position` says where that goes on.  Raises `StreamError` beyond the end.
        """
        self._check(count)
        if not self._left:
            self._next_range()
        if count > self._left or (not self._in_content and count > _PIECE):
            return self._copy(count)
        # nearly always: one file's contents, or what is between two
        if self._in_content:
            self._content.skip(self._content_at - self._content.position)
            self._content_at += count
            pieces: Iterator[bytes | memoryview] = self._content.copy(count)
        else:
            pieces = iter((self.peek(count),))
            self._pass(count)
        self._left -= count
        self.position += count
        return pieces

    def _copy(self, count: int) -> Iterator[bytes | memoryview]:
        """Yield bytes of several ranges."""
        while count:
            part = self._part(count)
            if not self._in_content:
                part = min(part, _PIECE)
            yield from self.copy(part)
            count -= part

    def close(self) -> None:
        """Give up what is being fetched."""
        for sequence in (self._plan, self._skeleton, self._content):
            if sequence:
                sequence.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "StoredStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, count: int) -> None:
        if count < 0:
            raise ValueError(f"cannot walk a stream back by {count} bytes")
        if count > self.size - self.position:
            raise StreamError(f"the stream ends after {self.size} bytes, where more are needed")

    def _part(self, count: int) -> int:
        if not self._left:
            self._next_range()
            if not self._left:
                raise DamageError("a stream's layout covers less than the stream")
        return min(count, self._left)

    def _next_range(self) -> None:
        while not self._left and (length := next(self._lengths, None)) is not None:
            self._in_content = not self._in_content
            self._left = length

    def _fill(self, count: int) -> None:
        """Fill the buffer with at least `count` bytes of skeleton."""
        pieces: list[bytes | memoryview] = [self._buffer[self._at :]]
        missing = count - len(pieces[0])
        self._check_skeleton(missing)
        try:
            for piece in self._skeleton.copy(min(self._unread, max(missing, _PIECE))):
                pieces.append(piece)
                self._unread -= len(piece)
        finally:
            self._buffer, self._at = b"".join(pieces), 0

    def _pass(self, count: int) -> None:
        """Drop bytes of skeleton."""
        held = len(self._buffer) - self._at
        if count > held:
            self._check_skeleton(count - held)
            self._skeleton.skip(count - held)
            self._unread -= count - held
            self._buffer, self._at = b"", 0
        else:
            self._at += count

    def _check_skeleton(self, count: int) -> None:
        if count > self._unread:
            raise DamageError("a stream's layout asks for more skeleton than there is")
