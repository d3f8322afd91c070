"""Several streams of one run are stored at once: what one relies on is there, whatever becomes of the others."""

import io
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from linecache import getline
from types import FrameType
from typing import Any

import pytest

from dedupstore.errors import StreamError
from dedupstore.format import facts
from dedupstore.writing import checkpoints, sequence_writer
from dedupstore.writing.sequence_writer import BlockWriter
from dedupstore.writing.session import Session, StreamProgress
from tests.store import World, begin, noise

SHARED = noise(900_000, "shared")  # less than a block: it stays open until something flushes it


class Gated:
    """A source that, before it ends, lets others go on and waits for them."""

    def __init__(self, data: bytes, then: Callable[[], object]) -> None:
        self._file = io.BytesIO(data)
        self._then = then

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._file.readinto(buffer)
        if not count:
            self._then()
        return count


def test_streams_stored_at_once_come_back(world: World) -> None:
    streams = {f"s{n}": noise(200_000 + n, n % 3) + noise(50_000, n) for n in range(12)}
    with world.open(world.writer) as repository, begin(repository) as session:
        with ThreadPoolExecutor(4) as pool:
            stored = list(pool.map(lambda item: session.put(item[0], io.BytesIO(item[1])), streams.items()))
        session.finish()
    assert streams == {name: world.get(name) for name in streams}
    # what several have in common is stored about once
    assert sum(stream.new for stream in stored) < 1.3 * (3 * 200_000 + 12 * 50_000)


@pytest.mark.parametrize("fails", [True, False])
def test_a_checkpoint_holds_what_a_complete_stream_shares_with_one_that_goes_on(
    world: World, fails: bool
) -> None:
    """The chunks of `second` are in a block that `first` has open, and which it may never fill."""
    seen, done = threading.Event(), threading.Event()

    def wait() -> None:
        seen.set()
        assert done.wait(60)
        if fails:
            raise StreamError("the dump failed")

    with world.open(world.writer) as repository:
        session = begin(repository)
        with ThreadPoolExecutor(1) as pool:
            # long enough that its first chunks are noted before its end is asked for
            first = pool.submit(session.put, "first", Gated(SHARED + noise(9_000_000), wait))
            assert seen.wait(60)
            session.put("second", io.BytesIO(SHARED))
            session.checkpoint()
            done.set()
            assert fails == (first.exception() is not None)
        session.put("third", io.BytesIO(SHARED + b"!"))
        session.__exit__(None, None, None)
    with world.open(world.writer) as repository:
        (info,) = repository.complete_interrupted()
        assert ["second"] == [stream.name for stream in repository.streams(info)]
    assert SHARED == world.get("second")


def test_a_stream_that_failed_leaves_its_name_free_and_its_chunks_usable(world: World) -> None:
    def fail() -> None:
        raise StreamError("the dump failed")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match="the dump failed"):
            session.put("s", Gated(SHARED, fail))
        session.put("s", io.BytesIO(SHARED))
        session.finish()
    assert SHARED == world.get("s")


def test_one_name_is_refused_while_it_is_being_stored(world: World) -> None:
    seen, done = threading.Event(), threading.Event()

    def wait() -> None:
        seen.set()
        assert done.wait(60)

    with world.open(world.writer) as repository, begin(repository) as session, ThreadPoolExecutor(1) as pool:
        first = pool.submit(session.put, "s", Gated(SHARED, wait))
        assert seen.wait(60)
        with pytest.raises(StreamError, match="already stored"):
            session.put("s", io.BytesIO(b"other"))
        done.set()
        first.result()
        session.finish()
    assert SHARED == world.get("s")


def test_facts_are_asked_for_at_the_end_and_may_give_the_stream_up(world: World) -> None:
    source = io.BytesIO(SHARED)

    def refuse() -> dict[str, int]:
        raise StreamError(f"not good after {source.tell()} bytes")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match=f"after {len(SHARED)} bytes"):
            session.put("bad", source, facts=refuse)
        good = session.put("good", io.BytesIO(SHARED), facts=lambda: {"n": 7})
        session.finish()
    assert {"n": 7} == facts.load(good.facts)
    with pytest.raises(LookupError):
        world.get("bad")


def test_what_a_failed_stream_could_not_hand_on_is_handed_on_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had noted as stored waits in its open blocks; others rely on it."""
    real = BlockWriter.flush

    def no_memory(writer: BlockWriter) -> None:
        raise MemoryError

    def fail() -> None:
        monkeypatch.setattr(BlockWriter, "flush", no_memory)
        raise StreamError("the dump failed")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match="the dump failed"):
            # long enough that its first chunks are noted before its end is asked for
            session.put("bad", Gated(SHARED + bytes(5_000_000), fail))
        monkeypatch.setattr(BlockWriter, "flush", real)
        session.put("good", io.BytesIO(SHARED))
        session.finish()
    assert SHARED == world.get("good")


class StopError(BaseException):
    """What a signal raises."""


def stop_at_line(number: int, file: str) -> Callable[..., Any]:
    """Return a trace function (sys.settrace) that raises at that line, counted, of what is called in a file."""
    left = number

    def line(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
        nonlocal left
        # at the end of a `with` a trace, but no signal, would come before the lock is given back
        left -= event == "line" and not getline(file, frame.f_lineno).lstrip().startswith("with ")
        if event == "line" and not left:
            raise StopError
        return line

    return lambda frame, event, arg: line if frame.f_code.co_filename == file else None


def stop_a_checkpoint(session: Session, name: str, data: bytes, line: int) -> bool:
    """Have a signal end a checkpoint at that line, while a stream goes on; tell whether it came so far."""
    seen, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        source = Gated(data, lambda: done.wait(60))
        putting = pool.submit(session.put, name, source, progress=lambda progress: seen.set())
        assert seen.wait(60)
        tracing = sys.gettrace()
        sys.settrace(stop_at_line(line, sequence_writer.__file__))
        try:
            session.checkpoint()
            return False
        except StopError:
            return True
        finally:
            sys.settrace(tracing)
            done.set()
            putting.result()


def test_a_checkpoint_that_a_signal_ends_at_any_line_leaves_blocks_whole(world: World) -> None:
    """The stream that has them open goes on, others rely on it, and so does the run."""
    stored: dict[str, bytes] = {}
    stopped = True
    with world.open(world.writer) as repository, begin(repository) as session:
        while stopped:
            name = f"s{len(stored)}"
            # what comes first is in an open block when the checkpoint comes, the last is added to it later
            data = stored[name] = noise(50_000, name) + bytes(5_000_000) + noise(50_000, name * 2)
            stopped = stop_a_checkpoint(session, name, data, len(stored))
        for name, data in stored.items():
            session.put(f"{name} again", io.BytesIO(data))
        session.finish()
    assert len(stored) > 10
    with world.open(world.admin) as repository:
        assert [] == repository.check(read_data=True, report=lambda what, done, of: None).damaged
        (snapshot,) = repository.snapshots()
        for stream in repository.streams(snapshot):
            assert stored[stream.name.split()[0]] == b"".join(repository.read(snapshot, stream))


def test_of_two_checkpoints_at_once_the_newer_one_is_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, done = threading.Event(), threading.Event()
    real = checkpoints.note

    def late(*note: Any) -> None:
        if not seen.is_set():
            seen.set()
            assert done.wait(60)
        real(*note)

    monkeypatch.setattr("dedupstore.writing.checkpoints.note", late)
    with world.open(world.writer) as repository, begin(repository) as session, ThreadPoolExecutor(2) as pool:
        session.put("one", io.BytesIO(b"1"))
        first = pool.submit(session.checkpoint)
        assert seen.wait(60)
        session.put("two", io.BytesIO(b"2"))
        second = pool.submit(session.checkpoint)
        wait([second], timeout=0.3)  # it may go on, or wait for the first
        done.set()
        first.result()
        second.result()
    with world.open(world.writer) as repository:
        (info,) = repository.complete_interrupted()
        assert ["one", "two"] == [stream.name for stream in repository.streams(info)]


def test_a_stream_given_up_at_its_very_end_leaves_its_name_free(world: World) -> None:
    def give_up(progress: StreamProgress) -> None:
        if progress.stored:  # known when all of it was packed
            raise StreamError("stopped")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match="stopped"):
            session.put("s", io.BytesIO(SHARED), progress=give_up)
        session.put("s", io.BytesIO(SHARED))
        session.finish()
    assert SHARED == world.get("s")
