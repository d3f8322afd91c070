"""The cold path: what waits for what, with several threads in each stage."""

import io
import mmap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from queue import Full, Queue
from threading import Barrier, Event

import pytest

from dedupstore.backends.contract import Buffer, Properties
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import NoSpaceError
from dedupstore.format.packs import pack_buffer
from dedupstore.writing.pack_writer import INDEX_PACKS, PACKS, TREE_SHARE
from dedupstore.writing.work_queue import Mark, WorkQueue
from tests.store import World, begin, noise

PATIENCE = 60.0  # seconds


@contextmanager
def at_work(stage: WorkQueue[Event], begun: "Queue[Event]", passed: "Queue[Mark]") -> Iterator[None]:
    """Two threads, in which the work on an item is to wait for it."""

    def do(item: Event) -> None:
        begun.put(item)
        assert item.wait(PATIENCE)

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(stage.work, do, passed.put) for _ in range(2)]
        try:
            yield
        finally:
            stage.close()
        for thread in working:
            thread.result(PATIENCE)


def test_a_mark_passes_when_all_before_it_is_done_and_no_sooner() -> None:
    stage, begun, passed = WorkQueue[Event](2, 0), Queue[Event](), Queue[Mark]()
    first, second, third, later = Event(), Event(), Event(), Event()
    marks = [Mark(flush=False) for _ in range(3)]
    with at_work(stage, begun, passed):
        for item in (marks[0], first, second, third, marks[1], later, marks[2]):
            stage.put(item)
        assert marks[0] is passed.get(timeout=PATIENCE)
        assert {first, second} == {begun.get(timeout=PATIENCE) for _ in range(2)}
        second.set()
        assert third is begun.get(timeout=PATIENCE)
        third.set()
        assert later is begun.get(timeout=PATIENCE)  # so the mark was taken before, and waits for the first
        assert passed.empty()
        first.set()
        assert marks[1] is passed.get(timeout=PATIENCE)
        later.set()
        assert marks[2] is passed.get(timeout=PATIENCE)


def test_a_stage_that_is_full_takes_nothing_more_and_still_closes() -> None:
    stage, begun = WorkQueue[Event](2, 2), Queue[Event]()
    items = [Event() for _ in range(4)]
    with at_work(stage, begun, Queue()):
        for item in items:
            stage.put(item, timeout=PATIENCE)
        assert {*items[:2]} == {begun.get(timeout=PATIENCE) for _ in range(2)}
        with pytest.raises(Full):
            stage.put(Event(), timeout=0.01)
        stage.close()
        for item in items:
            item.set()
    assert begun.empty()  # what waited was dropped


class Remote(LocalBackend):
    """A back end for which two packs at once are worth while."""

    properties = Properties(lambda: True, parallel=2, remote=True)

    def __init__(self, world: World, room: int = 100) -> None:
        super().__init__(world.path)
        self.done: list[str] = []  # the kinds of what was stored, in order
        self._room = room  # for data packs
        self._together = Barrier(2)
        self._begun = count()
        self._turn = threading.Lock()

    def create(self, name: str, data: Buffer) -> None:
        kind = name.split("/")[0]
        if kind == "data" and next(self._begun) < 2:
            self._together.wait(PATIENCE)  # for the other of the first two
        with self._turn:
            if self._room == self.done.count("data") and kind == "data":
                raise NoSpaceError("the disk is full")
            super().create(name, data)
            self.done.append(kind)


def test_packs_are_uploaded_as_many_at_once_as_the_back_end_likes_and_indexed_when_all_are_there(
    world: World,
) -> None:
    data = noise(5_000_000)
    backend = Remote(world)
    with world.open(world.writer, backend=backend) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(data))
        session.finish()
    kinds = [kind for kind in backend.done if kind in ("data", "tree", "index")]
    assert INDEX_PACKS >= len(kinds) - 1 > 2
    assert "index" == kinds.pop()
    assert "index" not in kinds
    assert data == world.get()


def test_of_two_uploads_at_once_the_one_that_came_is_indexed_when_the_other_fails(world: World) -> None:
    with world.open(world.writer, backend=Remote(world, room=1)) as repository:
        with begin(repository) as session, pytest.raises(NoSpaceError, match="the disk is full"):
            session.put("s", io.BytesIO(noise(30_000_000)))
        packs = [pack for _, pack in repository.cache.packs_of(repository.cache.index_files())]
    assert [path.name for path in world.files("data")] == [pack.name.hex() for pack in packs]
    assert 1 == len(packs)


@pytest.mark.parametrize(
    ("elapsed", "waited", "due"),
    [(5, 9, False), (5, 11, True), (480, 29, False), (480, 31, True), (1e6, 149, False), (1e6, 151, True)],
)
def test_packs_wait_for_an_index_file_a_sixteenth_of_the_run_within_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch, elapsed: float, waited: float, due: bool
) -> None:
    now = 0.0
    monkeypatch.setattr("dedupstore.writing.pack_writer.time.monotonic", lambda: now)
    with world.open(world.writer) as repository, begin(repository) as session:
        writer = session._packs
        now = elapsed
        writer._oldest = elapsed - waited
        assert due == writer._is_due()


def test_two_packs_of_a_kind_are_in_memory_however_many_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def buffer(size: int) -> mmap.mmap:
        made.append(size)
        return pack_buffer(size)

    monkeypatch.setattr("dedupstore.writing.pack_writer.pack_buffer", buffer)
    with (
        world.open(world.writer, backend=Remote(world)) as repository,
        begin(repository, pack_size=1 << 20) as session,
    ):
        session.put("s", io.BytesIO(noise(10_000_000)))
        session.finish()
    assert 4 < len(world.files("data"))
    assert PACKS == made.count(1 << 20)
    assert {1 << 20, (1 << 20) // TREE_SHARE} == {*made}


class Stuck(LocalBackend):
    """A back end that stores one data pack, and has no answer for others until it may."""

    properties = Properties(lambda: True, parallel=2, remote=True)

    def __init__(self, world: World) -> None:
        super().__init__(world.path)
        self.go = Event()
        self.waiting = threading.Semaphore(0)
        self._numbers = count()

    def create(self, name: str, data: Buffer) -> None:
        if name.startswith("data/") and next(self._numbers):
            self.waiting.release()
            assert self.go.wait(PATIENCE)
        super().create(name, data)


def test_what_is_stored_is_indexed_though_other_uploads_do_not_end(world: World) -> None:
    backend = Stuck(world)
    with (
        world.open(world.writer, backend=backend) as repository,
        begin(repository) as session,
        ThreadPoolExecutor(1) as pool,
    ):
        putting = pool.submit(session.put, "s", io.BytesIO(noise(6_600_000)))
        for _ in range(2):  # so the first is there
            assert backend.waiting.acquire(timeout=PATIENCE)
        session._packs.close(patience=0.5)
        packs = [pack for _, pack in repository.cache.packs_of(repository.cache.index_files())]
        backend.go.set()
        assert putting.exception(PATIENCE) is not None
    assert 1 == len(packs)
