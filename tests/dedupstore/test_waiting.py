"""Waits: what ends them."""

import signal
import threading
from queue import Queue, SimpleQueue
from types import FrameType

import pytest

from dedupstore.waiting import take


class SignalError(Exception):
    """The handler ran."""


def handle(number: int, frame: FrameType | None) -> None:
    raise SignalError


@pytest.mark.parametrize("kind", [Queue, SimpleQueue])
def test_takes_what_is_there_and_what_comes_later(kind: type[Queue[int]]) -> None:
    queue = kind()
    queue.put(1)
    assert 1 == take(queue)
    timer = threading.Timer(0.6, queue.put, [2])
    timer.start()
    assert 2 == take(queue)
    timer.join()


@pytest.mark.parametrize("kind", [Queue, SimpleQueue])
def test_a_signal_that_does_not_wake_the_wait_ends_it_all_the_same(kind: type[Queue[int]]) -> None:
    before = signal.signal(signal.SIGUSR1, handle)
    # in another thread's context: noted for the main thread, whose wait goes on
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(SignalError):
            take(kind())
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
