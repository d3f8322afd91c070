"""The run itself: retries, time, checkpoints, and what a failure costs."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pytest

from dedupstore.backends.contract import Backend, Buffer
from dedupstore.errors import DedupError, NoSpaceError, StreamError
from dedupstore.writing.session import RunDetails
from pipelines.config.run_settings import RunSettings
from pipelines.run import engine as engine_module
from pipelines.run.engine import Engine
from pipelines.sources.protocol import Job, JobContext, Line, Listing, Report
from pipelines.streams import facts
from tests.store import World, noise

DAY = 1_700_006_400  # midnight, so that a run and its next are of one day
LIMITS = RunSettings(parallel=3, retries=1, retry_wait=0)
SECONDS = 30.0


class Text:
    """A flow over a file in memory."""

    def __init__(self, data: bytes) -> None:
        self._descriptor = os.memfd_create("text")
        os.write(self._descriptor, data)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._open = True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: memoryview, /) -> int:
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._open:
            os.close(self._descriptor)
        self._open = False


@dataclass
class Fake:
    """A job whose tries do one thing after the other; the last one is repeated."""

    name: str
    tries: list[Callable[[], bytes]]
    count: int = 0
    line: Line = field(init=False)

    def __post_init__(self) -> None:
        self.line = Line("fake", self.name, "stored", "raw")

    def attempt(self, context: JobContext, *, last: bool) -> Line:
        do = self.tries[min(self.count, len(self.tries) - 1)]
        self.count += 1
        data = do()
        with context.watch(Text(data), self.name) as source:
            stream = context.session.put(self.name, source, facts=facts.wire(facts.Raw(source="fake")))
        return replace(self.line, size=stream.size, new=stream.new, stored=stream.stored)


class Fakes:
    """A source of such jobs."""

    name = "fake"

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = list(jobs)
        self.published = 0

    def listing(self, done: set[str]) -> Listing:
        found = Listing(published=self._publish)
        for job in self._jobs:
            found.add(job, done)
        return found

    def plan(self) -> list[Line]:
        return [replace(job.line, state="planned") for job in self._jobs]

    def _publish(self) -> None:
        self.published += 1


def give(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def fail(error: BaseException) -> Callable[[], bytes]:
    def do() -> bytes:
        raise error

    return do


def details(time: int = DAY) -> RunDetails:
    return RunDetails("h", "test", time, 0)


def run(
    world: World,
    *sources: Fakes,
    time: int = DAY,
    limits: RunSettings = LIMITS,
    backend: Backend | None = None,
) -> Report:
    with world.open(world.writer, backend=backend) as repository:
        return Engine(repository, sources, limits, details(time)).run()


def states(report: Report) -> dict[str, str]:
    return {line.name: line.state for line in report.lines}


def stored(world: World) -> list[list[str]]:
    """Return the names in each snapshot."""
    with world.open(world.admin) as repository:
        return [sorted(stream.name for stream in repository.streams(info)) for info in repository.snapshots()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_run_is_one_snapshot_with_all_streams(world: World) -> None:
    source = Fakes(Fake(f"s{n}", [give(noise(100_000, n))]) for n in range(20))
    report = run(world, source)
    assert 20 == len(report.of("stored"))
    assert [sorted(f"s{n}" for n in range(20))] == stored(world)
    assert noise(100_000, 7) == world.get("s7")
    assert 1 == source.published
    assert date(2023, 11, 15) == report.today


def test_a_stream_that_fails_is_tried_again_after_all_others(world: World) -> None:
    order: list[str] = []

    def note(name: str, what: Callable[[], bytes]) -> Callable[[], bytes]:
        def do() -> bytes:
            order.append(name)
            return what()

        return do

    jobs = [Fake("a", [note("a", fail(StreamError("busy"))), note("a", give(b"now"))])]
    jobs += [Fake(name, [note(name, give(name.encode()))]) for name in "bcd"]
    report = run(world, Fakes(jobs), limits=replace(LIMITS, parallel=1))
    assert ["a", "b", "c", "d", "a"] == order
    assert {"a": "stored", "b": "stored", "c": "stored", "d": "stored"} == states(report)
    assert b"now" == world.get("a")


def test_what_keeps_failing_is_reported_and_costs_the_others_nothing(world: World) -> None:
    bad = Fake("bad", [fail(StreamError("the volume is busy", "wait"))])
    bug = Fake("bug", [fail(ZeroDivisionError("oops"))])
    report = run(world, Fakes([bad, bug, Fake("good", [give(b"x")])]), limits=replace(LIMITS, retries=2))
    assert {"bad": "failed", "bug": "failed", "good": "stored"} == states(report)
    assert (3, 3) == (bad.count, bug.count)
    errors = {line.name: line.error for line in report.of("failed")}
    assert "the volume is busy; wait" == errors["bad"]
    assert errors["bug"].startswith("ZeroDivisionError: oops (test_engine.py, line ")
    assert [["good"]] == stored(world)


def test_a_source_that_cannot_be_listed_is_reported_and_the_others_go_on(world: World) -> None:
    class Broken(Fakes):
        name = "broken"

        def listing(self, done: set[str]) -> Listing:
            raise StreamError("no server answers")

    report = run(world, Broken([]), Fakes([Fake("good", [give(b"x")])]))
    (line,) = report.of("failed")
    assert ("broken", "", "no server answers") == (line.source, line.name, line.error)
    assert [["good"]] == stored(world)


def test_nothing_is_listed_when_everything_failed(world: World) -> None:
    report = run(world, Fakes([Fake("bad", [fail(StreamError("no"))])]))
    assert report.snapshot is None
    assert [] == stored(world)


def test_two_streams_of_one_name_are_not_confused(world: World) -> None:
    one, other = Fake("a", [give(b"one")]), Fake("a", [give(b"other")])
    report = run(world, Fakes([one]), Fakes([other]))
    assert ["fake has a stream of the same name, which was stored"] == [
        line.error for line in report.of("failed")
    ]
    assert b"one" == world.get("a")


def test_only_so_many_streams_are_read_at_a_time(world: World) -> None:
    meeting = threading.Barrier(3, timeout=SECONDS)
    now, most, lock = 0, 0, threading.Lock()

    def work() -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        meeting.wait()  # only three at a time get through
        with lock:
            now -= 1
        return b"x"

    run(world, Fakes(Fake(f"s{n}", [work]) for n in range(9)), limits=replace(LIMITS, parallel=3, retries=0))
    assert 3 == most


def killed_after(world: World, jobs: list[Fake], kept: int) -> None:
    """Run these jobs and one that does not end, and stop when all the others are stored."""
    stopped = threading.Event()

    def wait() -> bytes:
        assert stopped.wait(SECONDS)
        raise StreamError("it was stopped")

    def explode(what: str, done: int, of: int) -> None:
        if what == "storing" and done == len(jobs):
            stopped.set()
            raise KeyboardInterrupt

    endless = Fake("endless", [wait])

    with world.open(world.writer) as repository:
        engine = Engine(repository, [Fakes([*jobs, endless])], LIMITS, details(), progress=explode)
        with pytest.raises(KeyboardInterrupt):
            engine.run()
        assert kept == engine.kept


def test_the_next_run_of_the_day_takes_up_what_an_interrupted_one_has(world: World) -> None:
    killed_after(world, [Fake(f"s{n}", [give(noise(50_000, n))]) for n in range(5)], 5)
    assert [] == stored(world)

    again = [Fake(f"s{n}", [give(noise(50_000, n))]) for n in range(5)]
    report = run(world, Fakes([*again, Fake("last", [give(b"last")])]), time=DAY + 3600)
    assert [["s0", "s1", "s2", "s3", "s4"], ["last"]] == stored(world)
    assert [0, 0, 0, 0, 0] == [job.count for job in again]
    assert {**dict.fromkeys((f"s{n}" for n in range(5)), "kept"), "last": "stored"} == states(report)
    assert [5] == [info.streams for info in report.taken_up]


def test_a_run_of_another_day_stores_everything_again(world: World) -> None:
    killed_after(world, [Fake("a", [give(b"old")])], 1)
    report = run(world, Fakes([Fake("a", [give(b"new")])]), time=DAY + 86400)
    assert {"a": "stored"} == states(report)
    assert [["a"], ["a"]] == stored(world)


def test_checkpoints_come_after_so_many_streams(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_STREAMS", 10)
    run(
        world,
        Fakes(Fake(f"s{n}", [give(noise(1000, n))]) for n in range(35)),
        limits=replace(LIMITS, parallel=1),
    )
    assert 3 == len(world.files("checkpoints"))


def test_checkpoints_come_after_some_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_SECONDS", 0.0)
    run(
        world,
        Fakes(Fake(f"s{n}", [give(noise(1000, n))]) for n in range(3)),
        limits=replace(LIMITS, parallel=1),
    )
    assert 3 == len(world.files("checkpoints"))


def test_a_stop_reaches_flows_that_give_nothing(world: World) -> None:
    ours, theirs = os.pipe()

    class Silent(Text):
        def __init__(self) -> None:
            self._descriptor, self._open = ours, True

    reading = threading.Event()

    class Waiting(Fake):
        def attempt(self, context: JobContext, *, last: bool) -> Line:
            with context.watch(Silent(), self.name) as source:
                reading.set()
                context.session.put(self.name, source)
            raise AssertionError("it never ends by itself")

    def explode(what: str, done: int, of: int) -> None:
        if what == "storing":
            assert reading.wait(SECONDS)
            raise KeyboardInterrupt

    with world.open(world.writer) as repository:
        source = Fakes([Waiting("silent", [])])
        engine = Engine(repository, [source], LIMITS, details(), progress=explode)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            engine.run()
        assert SECONDS > time.monotonic() - began
    with pytest.raises(BrokenPipeError):
        os.write(theirs, b"x")
    os.close(theirs)
    assert "" == engine.resumed_next()


class Full:
    """A back end whose disk is full, for packs, after so many bytes."""

    def __init__(self, backend: Backend, room: int) -> None:
        self._backend = backend
        self.room = room

    def create(self, name: str, data: Buffer) -> None:
        if name.startswith("data/"):
            self.room -= len(data)
            if self.room < 0:
                raise NoSpaceError("the disk is full", "make room")
        self._backend.create(name, data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)


def test_a_store_that_fails_ends_the_run_and_is_not_blamed_on_streams(world: World) -> None:
    backend = Full(world.backend(), 3_000_000)
    jobs = [Fake(f"s{n}", [give(noise(30_000_000, n))]) for n in range(12)]
    with pytest.raises(DedupError, match="the disk is full; make room"):
        run(world, Fakes(jobs), backend=backend)  # type: ignore[arg-type]
    assert all(job.count <= 1 for job in jobs)
    assert [] == stored(world)


def test_a_cache_that_is_found_damaged_ends_the_run_and_the_next_one_is_well(world: World) -> None:
    data = noise(1_000_000)
    run(world, Fakes([Fake("before", [give(data)])]))

    def spoil() -> bytes:
        for path in (world.folder / "state" / "writer" / "cache").glob("columns.*"):
            path.write_bytes(bytes(path.stat().st_size))
        return data

    jobs = [Fake(f"s{n}", [spoil]) for n in range(3)]
    with pytest.raises(DedupError, match="has been discarded; run it again"):
        run(world, Fakes(jobs), limits=replace(LIMITS, retry_wait=3600))
    assert all(job.count <= 1 for job in jobs)
    report = run(world, Fakes([Fake(f"s{n}", [give(data)]) for n in range(3)]))
    assert 3 == len(report.of("stored"))
    assert data == world.get("s2")


class Stalling(Full):
    """A back end that takes no pack until `go` is set."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, 1 << 40)
        self.go = threading.Event()

    def create(self, name: str, data: Buffer) -> None:
        if name.startswith("data/"):
            assert self.go.wait(SECONDS)
        super().create(name, data)


def test_a_store_that_stalls_does_not_hold_a_source_and_gets_the_stream_later(world: World) -> None:
    backend = Stalling(world.backend())
    data = os.urandom(120 << 20)

    class Watched(Text):
        def close(self) -> None:
            super().close()
            backend.go.set()  # it went on only because the source was let go

    class Large(Fake):
        def attempt(self, context: JobContext, *, last: bool) -> Line:
            self.count += 1
            with context.watch(Watched(data), self.name) as source:
                stream = context.session.put(self.name, source)
            return replace(self.line, size=stream.size)

    job = Large("large", [])
    limits = replace(LIMITS, stall_timeout=1)
    report = run(world, Fakes([job]), limits=limits, backend=backend)  # type: ignore[arg-type]
    assert {"large": "stored"} == states(report)
    assert 2 == job.count
    assert data == world.get("large")


def test_a_plan_refuses_the_names_that_a_run_refuses(world: World) -> None:
    jobs = [Fake(name, [give(b"x")]) for name in ("a", "b", "a", "b\x07ad")]
    with world.open(world.writer) as repository:
        lines = Engine(repository, [Fakes(jobs)], LIMITS, details()).plan().lines
    assert ["planned", "planned", "failed", "failed"] == [line.state for line in lines]
    assert "fake has a stream of the same name" == lines[2].error
    assert "the name " in lines[3].error


def test_a_plan_changes_nothing(world: World) -> None:
    with world.open(world.writer) as repository:
        engine = Engine(repository, [Fakes([Fake("a", [give(b"x")])])], LIMITS, details())
        assert {"a": "planned"} == states(engine.plan())
    assert not world.path.exists() or [] == world.files("")
