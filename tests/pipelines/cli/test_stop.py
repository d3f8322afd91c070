"""Signals: what an error that one has caused is told as."""

import threading

import pytest

from dedupstore.errors import DedupError
from pipelines.cli.stop import Interrupted, interruption


def interrupted_in_a_lock() -> None:
    """Do what happens if a signal comes while `threading` takes its lock back."""
    lock = threading.Lock()
    with lock:
        lock.release()
        raise Interrupted(15)


def failing() -> None:
    try:
        raise OSError(5, "read error")
    except OSError as error:
        raise DedupError("cannot read") from error


def test_an_error_that_a_signal_caused_is_told_as_the_signal() -> None:
    with pytest.raises(RuntimeError) as raised:
        interrupted_in_a_lock()
    found = interruption(raised.value)
    assert found is not None
    assert 15 == found.number


def test_a_signal_is_told_as_itself() -> None:
    signal = Interrupted(2)
    assert signal is interruption(signal)


def test_other_errors_are_no_signals() -> None:
    with pytest.raises(DedupError) as raised:
        failing()
    assert interruption(raised.value) is None
    assert interruption(None) is None
