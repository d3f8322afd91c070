"""A stream on its way: who stalls is noticed, and the source is closed in bounded time."""

import os
import threading
from dataclasses import replace

import pytest

from dedupstore.errors import StreamError
from pipelines.config.run_settings import RunSettings
from pipelines.sources.transfer import StoppedError, Transfer

LIMITS = RunSettings(idle_timeout=0, total_timeout=0, stall_timeout=0)
SECONDS = 20.0  # for what takes milliseconds


class Pipe:
    """A flow whose other end is `give`."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()
        self.closed = threading.Event()

    def give(self, data: bytes) -> None:
        if data:
            os.write(self._theirs, data)
        else:
            os.close(self._theirs)

    def fileno(self) -> int:
        return self._ours

    def readinto(self, buffer: memoryview, /) -> int:
        data = os.read(self._ours, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed.is_set():
            os.close(self._ours)
            self.closed.set()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def read(transfer: Transfer) -> bytes:
    buffer = memoryview(bytearray(100))
    return bytes(buffer[: transfer.readinto(buffer)])


def reading(transfer: Transfer) -> "list[BaseException]":
    """Read in a thread; return the list in which its error will be, and wait until it waits."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            read(transfer)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    transfer.thread = thread  # type: ignore[attr-defined]
    return errors


def test_what_the_flow_gives_comes_through_to_its_end() -> None:
    pipe = Pipe()
    with Transfer(pipe, "x", LIMITS) as transfer:
        pipe.give(b"one")
        assert b"one" == read(transfer)
        pipe.give(b"")
        assert b"" == read(transfer)
        transfer.stop(StoppedError("too late"))
    assert pipe.closed.is_set()


def test_a_source_that_gives_nothing_is_given_up() -> None:
    pipe = Pipe()
    with (
        Transfer(pipe, "user.x", replace(LIMITS, idle_timeout=1)) as transfer,
        pytest.raises(StreamError, match=r"user\.x: its source sent nothing for 1 s; check its server"),
    ):
        read(transfer)
    assert pipe.closed.is_set()
    pipe.give(b"")


def test_a_source_that_drips_is_given_up_in_the_end() -> None:
    pipe, clock = Pipe(), Clock()
    with Transfer(pipe, "user.x", replace(LIMITS, idle_timeout=60, total_timeout=100), now=clock) as transfer:
        pipe.give(b"a")
        assert b"a" == read(transfer)
        clock.now += 101
        with pytest.raises(
            StreamError, match=r"user.x took longer than 100 s; raise total_timeout in \[run\]"
        ):
            read(transfer)
    pipe.give(b"")


def test_a_store_that_stalls_does_not_hold_the_source() -> None:
    pipe, clock = Pipe(), Clock()
    with Transfer(pipe, "user.x", replace(LIMITS, stall_timeout=60), now=clock) as transfer:
        pipe.give(b"a")
        read(transfer)
        clock.now += 59
        transfer.look()
        assert not pipe.closed.is_set()
        clock.now += 2
        transfer.look()
        assert pipe.closed.wait(SECONDS)
        with pytest.raises(
            StreamError, match=r"user\.x: the store accepted nothing for 61 s; its source was closed"
        ):
            read(transfer)
    pipe.give(b"")


def test_a_source_that_has_ended_is_not_blamed_for_a_slow_store() -> None:
    pipe, clock = Pipe(), Clock()
    limits = RunSettings(idle_timeout=1, total_timeout=1, stall_timeout=1)
    with Transfer(pipe, "user.x", limits, now=clock) as transfer:
        pipe.give(b"")
        assert b"" == read(transfer)
        clock.now += 1000
        transfer.look()
        assert not pipe.closed.is_set()


def test_a_stop_wakes_a_reader_and_closes_the_source() -> None:
    pipe = Pipe()
    with Transfer(pipe, "x", LIMITS) as transfer:
        errors = reading(transfer)
        transfer.stop(StoppedError("asked to"))
        assert pipe.closed.wait(SECONDS)
        transfer.thread.join(SECONDS)  # type: ignore[attr-defined]
        assert ["asked to"] == [str(error) for error in errors]
    pipe.give(b"")


def test_leaving_it_ends_a_reader_that_still_waits() -> None:
    pipe = Pipe()
    with Transfer(pipe, "x", LIMITS) as transfer:
        errors = reading(transfer)
    transfer.thread.join(SECONDS)  # type: ignore[attr-defined]
    assert [StoppedError] == [type(error) for error in errors]
    assert pipe.closed.is_set()
    with pytest.raises(StoppedError):
        read(transfer)
    pipe.give(b"")


def test_its_end_is_reported_once_the_flow_is_closed() -> None:
    pipe = Pipe()
    ended: list[Transfer] = []
    with Transfer(pipe, "x", LIMITS, ended=ended.append) as transfer:
        pass
    assert [transfer] == ended
    pipe.give(b"")
