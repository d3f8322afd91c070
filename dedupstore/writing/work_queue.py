"""A queue of work for several threads, with marks that tell when everything put before them is done.

Invariant: a mark is handed on only after the work on every item that was put before it has ended well.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mark:
    """Travels through queues; it is `done` when everything before it is."""

    def __init__(self, *, flush: bool) -> None:
        self.flush = flush  # also finish the open packs and write the index
        self.done = threading.Event()
        self.after: set[int] = set()  # the numbers of the items that it waits for


class WorkQueue(Generic[T]):
    """A queue of at most `size` items (0: any number), and what its threads took from it and have not done."""

    def __init__(self, threads: int, size: int) -> None:
        self._threads = threads  # at most as many as `size`
        self._queue: queue.Queue[T | Mark | None] = queue.Queue(size)
        self._taking = threading.Lock()  # so that items are noted in the order in which they are taken
        self._lock = threading.Lock()  # over the rest
        self._taken = 0
        self._going: set[int] = set()
        self._marks: list[Mark] = []

    def put(self, item: T | Mark, timeout: float | None = None) -> None:
        """Append an item or a mark; raises `queue.Full` if there is no room for it in that many seconds."""
        self._queue.put(item, timeout=timeout)

    def close(self) -> None:
        """End `work` in all threads, and drop as many items as that takes."""
        for _ in range(self._threads):
            while True:
                try:
                    self._queue.put_nowait(None)
                    break
                except queue.Full:
                    try:
                        self._queue.get_nowait()
                    except queue.Empty:
                        continue

    def work(self, do: Callable[[T], None], passed: Callable[[Mark], None]) -> None:
        """Do items and pass marks on until the queue is closed; an error in `do` ends it for this thread."""
        while (number := self._do_next(do)) is not None:
            for mark in self._end(number):
                passed(mark)

    def _do_next(self, do: Callable[[T], None]) -> int | None:
        """Do the next item and return its number; keep no reference to it while waiting for the one after."""
        with self._taking:
            item = self._queue.get()
            with self._lock:
                self._taken = number = self._taken + 1
                if isinstance(item, Mark):
                    item.after = set(self._going)
                    self._marks.append(item)
                elif item is not None:
                    self._going.add(number)
        if item is None:
            return None
        if not isinstance(item, Mark):
            do(item)
        return number

    def _end(self, number: int) -> list[Mark]:
        """Note that an item is done, and return the marks that waited only for it."""
        with self._lock:
            self._going.discard(number)
            for mark in self._marks:
                mark.after.discard(number)
            ready = [mark for mark in self._marks if not mark.after]
            self._marks = [mark for mark in self._marks if mark.after]
        return ready
