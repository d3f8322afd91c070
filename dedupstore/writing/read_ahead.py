"""Read a source ahead, in a thread of its own, while what was read before is worked on.

Invariant: every byte of the source is yielded once, in order; an error of the source is raised where the next
bytes would have been yielded.  Memory: three buffers at most.
"""

import mmap
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from typing import Generic, NamedTuple, Protocol, TypeVar

from dedupstore.errors import StreamError
from dedupstore.waiting import take

READ_SIZE = 2 << 20
_BUFFERS = 3  # one is filled, one waits, one is worked on

# of streams that have ended, as the kernel clears new ones
_spare: deque[memoryview] = deque(maxlen=2 * _BUFFERS)

T = TypeVar("T")

#: `prepare(buffer, start, end, ended)` is given a buffer whose bytes up to `start` it has kept before, up to `end`
#: new ones; returns how many bytes from the front are done with, up to where the rest reaches, and what it made.
Prepare = Callable[[memoryview, int, int, bool], tuple[int, int, T]]


class SourcePiece(NamedTuple, Generic[T]):
    """What was made of some bytes of a source: `size` of them were read for it, `data` is what is done with."""

    size: int
    data: memoryview
    made: T


class Readable(Protocol):
    """Where a stream comes from, e.g. an unbuffered binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill some of the buffer and return how many bytes; 0 at the end."""
        ...


def read_ahead(source: Readable, prepare: Prepare[T]) -> Iterator[SourcePiece[T]]:
    """Yield the source's bytes in large pieces, each with what `prepare` made of it.

    `prepare` is called in the reading thread; what it keeps comes again, in front of what follows.  A piece is
    good until the next one is asked for.
    """
    ready: queue.Queue[SourcePiece[T] | BaseException | None] = queue.Queue(1)
    stopped = threading.Event()

    def hand_over(item: SourcePiece[T] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    buffers: list[memoryview] = []

    def read() -> None:
        try:
            rest = memoryview(b"")
            for turn in cycle(range(_BUFFERS)):
                if turn == len(buffers):  # a short stream needs one, and of its memory only the beginning
                    buffers.append(_buffer())
                buffer = buffers[turn]
                if stopped.is_set():
                    return
                start = len(rest)
                buffer[:start] = rest
                count = _fill(source, buffer[start:])
                end = start + count
                ended = end < READ_SIZE
                taken, kept, made = prepare(buffer, start, end, ended)
                hand_over(SourcePiece(count, buffer[:taken], made))
                rest = buffer[taken:kept]
                if ended:
                    hand_over(None)
                    return
        except BaseException as error:
            hand_over(error)

    # a daemon: a source that never answers must not keep a stopped program alive
    threading.Thread(target=read, name="read", daemon=True).start()
    try:
        while (item := take(ready)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        _spare.extend(buffers)  # the thread is done with them, and no piece is used any more
    finally:
        stopped.set()


def _buffer() -> memoryview:
    """Return a buffer that no stream uses."""
    with suppress(IndexError):
        return _spare.pop()
    return memoryview(mmap.mmap(-1, READ_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def _fill(source: Readable, buffer: memoryview) -> int:
    """Read until the buffer is full or the source ends; return how many bytes."""
    held = 0
    while held < len(buffer):
        count = source.readinto(buffer[held:])
        if count is None:
            raise StreamError(
                "the source does not block, so its end cannot be detected",
                "use a file or a blocking pipe",
            )
        if not count:
            break
        held += count
    return held
