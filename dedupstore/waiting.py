"""Waits of the main thread that signals can end.

Invariant: a signal is acted on within half a second.  Python runs handlers between two steps of the main thread: one
that comes just before a wait begins does not end it.
"""

from queue import Empty, Queue, SimpleQueue
from typing import TypeVar

_LOOK_UP = 0.5  # seconds

T = TypeVar("T")


def take(queue: "Queue[T] | SimpleQueue[T]") -> T:
    """Wait for the next item, and take it."""
    while True:
        try:
            return queue.get(timeout=_LOOK_UP)
        except Empty:
            continue
