"""One sequence of a stream, walked forward: what is copied is fetched, ahead of time and in parallel; what is
skipped is not.

Invariant: the bytes that `copy` yields are those of the sequence, in order, each verified.  Memory: a few steps.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

from dedupstore.errors import DamageError
from dedupstore.fetching import ChunkReader, Wanted

STEP_BYTES = 4 << 20
STEP_BLOCKS = 8
_BLOCK = 1 << 20
_FIRST_STEP = 256 << 10  # after a jump: who takes one small file out of a volume wants no more


class SequenceReader:
    """Walks one sequence.

    `wanted` yields its chunks with their places, some at a time, and is asked no sooner than needed; `threads`
    steps are fetched ahead, from the first one on if it is `eager`, otherwise when copying goes on for a while.
    """

    def __init__(
        self,
        wanted: Iterable[list[Wanted]],
        reader: ChunkReader,
        pool: ThreadPoolExecutor,
        threads: int,
        *,
        eager: bool,
    ) -> None:
        self._chunks = chain.from_iterable(wanted)
        self._reader = reader
        self._pool = pool
        self._most = STEP_BYTES * threads  # bytes ahead
        self._ahead = self._most if eager else 0
        self._next: Wanted | None = None
        self._ended = False
        self._steps: deque[tuple[Future[list[memoryview]], int]] = deque()
        self._waiting = 0  # bytes of the steps
        self._pieces: deque[memoryview] = deque()
        self._skip = 0
        self.position = 0  # bytes yielded or skipped

    def skip(self, count: int) -> None:
        """Move on by `count` bytes; nothing is fetched for it."""
        self._skip += count
        self.position += count

    def copy(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces; raises `DamageError` if there are not that many.

        After a `DamageError` or before the last piece it may be given up: `position` says where.
        """
        if self._pieces and not self._skip and len(self._pieces[0]) > count:  # a small file, nearly always
            piece = self._pieces[0]
            self._pieces[0] = piece[count:]
            self.position += count
            return iter((piece[:count],))
        return self._copy(count)

    def _copy(self, count: int) -> Iterator[memoryview]:
        while count:
            if not self._pieces:
                self._advance(count)
            piece = self._pieces.popleft()
            if self._skip:
                dropped = min(self._skip, len(piece))
                self._skip -= dropped
                piece = piece[dropped:]
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            if piece:
                count -= len(piece)
                self.position += len(piece)
                yield piece

    def finish(self) -> None:
        """Raise `DamageError` unless all bytes were copied or skipped."""
        left = sum(map(len, self._pieces)) + self._waiting
        while (chunk := self._take_chunk()) is not None and left <= self._skip:
            left += chunk.length
        if left != self._skip:
            raise DamageError("a stream's layout does not use the bytes of its sequences exactly")

    def close(self) -> None:
        """Give up what is being fetched."""
        for future, _ in self._steps:
            future.cancel()

    def _advance(self, count: int) -> None:
        """Get the pieces of the step that holds the next byte to copy."""
        while self._steps and self._steps[0][1] <= self._skip:
            future, size = self._steps.popleft()
            future.cancel()
            self._waiting -= size
            self._skip -= size
        if not self._steps:
            while self._skip and (chunk := self._take_chunk()) is not None:
                if chunk.length > self._skip:
                    self._next = chunk
                    break
                self._skip -= chunk.length
                self._ahead = min(self._ahead, _FIRST_STEP)  # a jump
            self._submit(min(STEP_BYTES, max(self._skip + count, self._ahead)))
        while self._waiting + _FIRST_STEP <= self._ahead and not self._ended:
            self._submit(min(STEP_BYTES, self._ahead - self._waiting))
        if not self._steps:
            raise DamageError("a stream's layout asks for more bytes than its sequences have")
        self._ahead = min(self._most, 2 * self._ahead + _FIRST_STEP)
        future, size = self._steps[0]
        self._pieces.extend(future.result())  # a step that fails stays: it may still be skipped, to the byte
        self._steps.popleft()
        self._waiting -= size

    def _submit(self, most: int) -> None:
        """Let the next step be fetched: chunks of about `most` bytes, with a bound on their blocks.

        It ends where a block does if it can, as two steps at once would each fetch a block that they share.
        """
        step: list[Wanted] = []
        size = 0
        touched: set[tuple[int, int]] = set()
        while (chunk := self._take_chunk()) is not None:
            place = (chunk.places[0].pack, chunk.places[0].block)
            enough = size + _BLOCK > most or len(touched) >= STEP_BLOCKS
            full = (enough and place not in touched) or size + chunk.length > most + _BLOCK
            if step and full:
                self._next = chunk
                break
            step.append(chunk)
            size += chunk.length
            touched.add(place)
        if step:
            self._steps.append((self._pool.submit(self._reader.read_joined, step), size))
            self._waiting += size

    def _take_chunk(self) -> Wanted | None:
        chunk = self._next if self._next is not None else next(self._chunks, None)
        self._next = None
        self._ended = chunk is None
        return chunk
