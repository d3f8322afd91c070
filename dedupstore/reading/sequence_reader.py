"""Walk one sequence of a stream forward: what is copied is fetched ahead, in parallel; what is skipped is not.

Invariant: the bytes that `copy` yields are those of the sequence, in order, each verified.  Memory: a few steps.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain
from typing import NamedTuple

from dedupstore.errors import DamageError
from dedupstore.reading.chunk_reader import ChunkReader, Stretch

STEP_BLOCKS = 6
_BLOCK = 1 << 20
_NOTHING = memoryview(b"")
_PATIENCE = 3.0  # seconds
_FAR = 32 << 20  # to skip more, a walk down the tree costs less than all chunks on the way
_FIRST_STEP = 256 << 10  # after a jump: for one small file of a volume, no more is needed


class Ahead(NamedTuple):
    """How far a sequence is fetched ahead: about `step` bytes in each step, `most` in all of them."""

    step: int
    most: int


#: `walk(at)` returns where the chunk begins that holds the byte `at`, and yields chunks with their places from it on,
#: some at a time.
Walk = Callable[[int], tuple[int, Iterator[list[Stretch]]]]


class SequenceReader:
    """Walks one sequence.

    What `walk` yields is asked for no sooner than needed.  The threads of the pool fetch ahead: from now on if it is
    `eager`, otherwise when copying goes on for a while.
    """

    def __init__(
        self,
        walk: Walk,
        reader: ChunkReader,
        pool: ThreadPoolExecutor,
        ahead: Ahead,
        *,
        eager: bool,
    ) -> None:
        self._walk = walk
        _, stretches = walk(0)
        self._stretches = chain.from_iterable(stretches)
        self._reader = reader
        self._pool = pool
        self._step, self._most = ahead
        self._ahead = self._most if eager else 0  # bytes, at present
        self._next: Stretch | None = None
        self._ended = False
        self._steps: deque[tuple[Future[list[memoryview]], int]] = deque()
        self._waiting = 0  # bytes of the steps
        self._pieces: deque[memoryview] = deque()  # of the step before
        self._piece = _NOTHING
        self._at = 0  # in the piece
        self._skip = 0
        self.position = 0  # bytes yielded or skipped
        if eager:
            self._fill()

    def skip(self, count: int) -> None:
        """Move on by `count` bytes; nothing is fetched for it."""
        self._skip += count
        self.position += count

    def seek(self, position: int) -> None:
        """Go to any position, reading one list node a level; drop what was fetched for another."""
        self.close()
        self._steps.clear()
        self._pieces.clear()
        self._piece, self._at, self._waiting = _NOTHING, 0, 0
        self._ahead = min(self._ahead, _FIRST_STEP)
        self.position = position
        self._jump()

    def _jump(self) -> None:
        """Continue at the chunk that holds the next byte to copy."""
        start, stretches = self._walk(self.position)
        self._stretches = chain.from_iterable(stretches)
        self._next, self._ended = None, False
        self._skip = self.position - start

    def copy(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces; raises `DamageError` if there are not that many.

        After a `DamageError` or before the last piece it may be given up: `position` says where.
        """
        if count < len(self._piece) - self._at and not self._skip:  # a small file, nearly always
            start, self._at = self._at, self._at + count
            self.position += count
            return iter((self._piece[start : self._at],))
        return self._copy(count)

    def take(self, count: int, pieces: list[memoryview]) -> None:
        """Append the next `count` bytes to the pieces; raises as `copy` does."""
        if count < len(self._piece) - self._at and not self._skip:
            start, self._at = self._at, self._at + count
            self.position += count
            pieces.append(self._piece[start : self._at])
        else:
            pieces.extend(self._copy(count))

    def get(self, count: int) -> bytes:
        """Return the next `count` bytes; raises as `copy` does."""
        return b"".join(self.copy(count))

    def _copy(self, count: int) -> Iterator[memoryview]:
        while count:
            if self._at == len(self._piece):
                self._next_piece(count)
            left = len(self._piece) - self._at
            if self._skip:
                dropped = min(self._skip, left)
                self._skip -= dropped
                self._at += dropped
                continue
            start, self._at = self._at, self._at + min(count, left)
            count -= self._at - start
            self.position += self._at - start
            yield self._piece[start : self._at]

    def _next_piece(self, count: int) -> None:
        """Take the next piece; `count` bytes are to be copied."""
        self._piece, self._at = _NOTHING, 0
        if not self._pieces:
            self._advance(count)
        self._piece = self._pieces.popleft()

    def finish(self) -> None:
        """Raise `DamageError` unless all bytes were copied or skipped."""
        left = len(self._piece) - self._at + sum(map(len, self._pieces)) + self._waiting
        while (stretch := self._next_stretch()) is not None and left <= self._skip:
            left += stretch.size
        if left != self._skip:
            raise DamageError("a stream's layout does not use the bytes of its sequences exactly")

    def close(self) -> None:
        """Give up what is being fetched; what is on its way already is waited for, but not for long.

        A server that is silent is given up when the back end is closed.
        """
        wait([future for future, _ in self._steps if not future.cancel()], _PATIENCE)

    def _advance(self, count: int) -> None:
        """Get the pieces of the step that holds the next byte to copy."""
        while self._steps and self._steps[0][1] <= self._skip:
            future, size = self._steps.popleft()
            future.cancel()
            self._waiting -= size
            self._skip -= size
        if not self._steps:
            if self._skip > _FAR:
                self._jump()
            while self._skip and (stretch := self._next_stretch()) is not None:
                skipped, self._next = stretch.after(self._skip)
                if skipped:
                    self._ahead = min(self._ahead, _FIRST_STEP)  # a jump
                    self._skip -= skipped
                if self._next is not None:
                    break
            self._submit(min(self._step, max(self._skip + count, self._ahead)))
        self._fill()
        if not self._steps:
            raise DamageError("a stream's layout asks for more bytes than its sequences have")
        future, size = self._steps[0]
        self._pieces.extend(future.result())  # a step that fails stays: it may still be skipped, to the byte
        self._steps.popleft()
        self._waiting -= size
        self._fill()  # to be fetched while this step is worked on
        self._ahead = min(self._most, 2 * self._ahead + _FIRST_STEP)

    def _fill(self) -> None:
        least = max(_FIRST_STEP, min(self._step, self._ahead) // 2)  # many small steps cost more
        while self._waiting + least <= self._ahead and not self._ended:
            self._submit(min(self._step, self._ahead - self._waiting))

    def _submit(self, most: int) -> None:
        """Start fetching the next step: stretches of about `most` bytes, with a bound on their blocks.

        It ends where a block does if it can, as two steps at once would each fetch a block that they share.
        """
        step: list[Stretch] = []
        size = 0
        touched: set[tuple[int, int]] = set()
        while (stretch := self._next_stretch()) is not None:
            place = (stretch.pack, stretch.block)
            enough = size + _BLOCK > most or len(touched) >= STEP_BLOCKS
            full = (enough and place not in touched) or size + stretch.size > most + _BLOCK
            if step and full:
                self._next = stretch
                break
            step.append(stretch)
            size += stretch.size
            touched.add(place)
        if step:
            self._steps.append((self._pool.submit(self._reader.read, step), size))
            self._waiting += size

    def _next_stretch(self) -> Stretch | None:
        stretch = self._next if self._next is not None else next(self._stretches, None)
        self._next = None
        self._ended = stretch is None
        return stretch
