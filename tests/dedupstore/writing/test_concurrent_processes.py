"""Not alone, and not always lucky: other processes of the host, streams that fail, packs that go and come back."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dedupstore.access import Access
from dedupstore.backends.contract import Entry
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import DamageError, StreamError
from dedupstore.writing.read_ahead import READ_SIZE
from tests.store import Range, World, begin, column, noise

DATA = noise(200_000)
LONG = noise(READ_SIZE + 300_000)  # a first part of it is stored before its end was read


def elsewhere(world: World, access: Access, data: bytes = b"") -> None:
    """In another process of the member's host, store a stream `other`, or just read the index files."""
    program = (
        "import pickle, sys\n"
        "world, access, data = pickle.load(sys.stdin.buffer)\n"
        "if data:\n"
        "    world.put(data, 'other', access)\n"
        "else:\n"
        "    with world.open(access) as repository:\n"
        "        repository.refresh_index()\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((world, access, data)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
        timeout=120,
    )


class Meanwhile(LocalBackend):
    """A back end in whose listing of one folder something else happens, once."""

    def __init__(
        self, world: World, folder: str, action: Callable[[], None], *, before: bool = False
    ) -> None:
        super().__init__(world.path)
        self.folder, self.action, self.before = folder, action, before
        self.happened = False

    def list(self, folder: str) -> Iterator[Entry]:
        now = folder == self.folder and not self.happened
        self.happened |= now
        if now and self.before:
            self.action()
        entries = super().list(folder)
        if now and not self.before:
            self.action()
        return entries

    def names(self, folder: str) -> Iterator[str]:
        return (entry.name for entry in self.list(folder))


def check(world: World, access: Access) -> list[str]:
    """Return what a check with all contents finds."""
    with world.open(access) as repository:
        return repository.check(read_data=True, report=lambda *_: None).damaged


# -- streams that fail


class Failing(io.BytesIO):
    """A source that gives its bytes and then fails, as a dump does whose server went away."""

    def readinto(self, buffer: object, /) -> int:
        count = super().readinto(buffer)  # type: ignore[arg-type]
        if not count:
            raise StreamError("the dump failed")
        return count


class Careless:
    """A splitter that loses a byte of what it is given last."""

    def split(self, data: memoryview, ended: bool) -> bytes:
        return column([Range(len(data) - ended, content=True)])


@pytest.mark.parametrize("what", ["source", "splitter", "caller"])
def test_after_a_stream_that_failed_another_of_the_same_bytes_is_restorable(world: World, what: str) -> None:
    """No chunk of the failed one is taken for stored unless it was."""

    def progress(_: object) -> None:
        if what == "caller":
            raise StreamError("no more")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError):
            session.put(
                "failed",
                Failing(LONG) if what == "source" else io.BytesIO(LONG),
                splitter=Careless() if what == "splitter" else None,
                progress=progress,
            )
        session.put("good", io.BytesIO(LONG))
        session.finish()
    assert LONG == world.get("good")
    with pytest.raises(LookupError):
        world.get("failed")
    assert [] == check(world, world.admin)


def test_a_source_that_does_not_wait_is_refused(world: World) -> None:
    """`None` says that there is nothing yet; to take it for the end would store half a stream."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        os.write(writing, DATA[:1000])
        with (
            world.open(world.writer) as repository,
            begin(repository) as session,
            io.FileIO(reading) as source,
            pytest.raises(StreamError, match="does not block"),
        ):
            session.put("s", source)
    finally:
        os.close(writing)
    assert [] == world.files("snapshots")


# -- other processes of the same host


def test_what_another_process_notes_during_a_run_is_not_trusted_by_it(world: World) -> None:
    """The shared cache may then name packs that the server has lost since, and that this run did not look for."""
    world.put(b"first")
    with world.open(world.writer) as repository, begin(repository) as session:
        before = {*world.files("data"), *world.files("tree")}
        world.put(DATA, "t", host="another")
        for path in {*world.files("data"), *world.files("tree")} - before:
            path.unlink()
        elsewhere(world, world.writer)
        stream = session.put("u", io.BytesIO(DATA))
        session.finish()
    assert stream.new >= len(DATA)
    assert DATA == world.get("u")


def test_what_another_process_notes_while_a_run_begins_is_not_trusted_by_it(world: World) -> None:
    """It may have listed it long before, and a pruner deleted it since: index files first, then packs."""
    world.put(b"first")
    index, packs = world.files("index"), {*world.files("data"), *world.files("tree")}

    def deleted_but_noted() -> None:
        world.put(DATA, "t", host="another")
        elsewhere(world, world.writer)
        for path in set(world.files("index")) - set(index):
            path.unlink()

    backend = Meanwhile(world, "index", deleted_but_noted)
    with world.open(world.writer, backend=backend) as repository, begin(repository) as session:
        for path in {*world.files("data"), *world.files("tree")} - packs:
            path.unlink()
        stream = session.put("u", io.BytesIO(DATA))
        session.finish()
    assert stream.new >= len(DATA)
    assert DATA == world.get("u")


def test_a_run_knows_what_it_stored_itself(world: World) -> None:
    """Also when it is indexed and in the shared cache already."""
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("one", io.BytesIO(DATA))
        session.checkpoint()
        elsewhere(world, world.writer)
        assert 0 == session.put("two", io.BytesIO(DATA)).new


@pytest.mark.parametrize("folder", ["runs", "snapshots"])
def test_a_backup_published_while_listing_is_no_going_back(world: World, folder: str) -> None:
    """What this host has seen is read before the listing, not after it."""
    world.put(DATA)
    backend = Meanwhile(world, folder, lambda: elsewhere(world, world.writer, b"other"))
    with world.open(world.writer, backend=backend) as repository, begin(repository) as session:
        assert backend.happened
        assert [] == repository.alarms
        session.put("s", io.BytesIO(DATA + b"2"))
        session.finish()
    with world.open(world.writer) as repository:
        assert [1, 2, 3] == sorted(info.sequence for info in repository.snapshots())
        assert [] == repository.alarms


def test_rows_that_another_process_adds_are_not_dropped(world: World) -> None:
    """An index file that is newer than this process's listing is not one that is gone."""
    world.put(DATA)
    backend = Meanwhile(world, "index", lambda: elsewhere(world, world.writer, b"other"))
    with world.open(world.writer, backend=backend) as repository:
        repository.refresh_index()
        assert backend.happened
        assert {path.name for path in world.files("index")} == {
            name.hex() for name in repository.cache.index_files()
        }


def test_snapshots_that_another_process_adds_are_not_dropped(world: World) -> None:
    world.put(DATA)
    backend = Meanwhile(world, "snapshots", lambda: elsewhere(world, world.writer, b"other"))
    with world.open(world.writer, backend=backend) as repository:
        repository.refresh_snapshots()
        assert backend.happened
        assert 2 == len(repository.cache.snapshot_names())


def test_a_backup_made_during_a_check_is_no_damage(world: World) -> None:
    """Packs that came after the listing are not looked for in it, and none is forgotten for it."""
    world.put(DATA, access=world.admin)
    other = noise(100_000, "other")
    backend = Meanwhile(world, "tree/ff", lambda: elsewhere(world, world.admin, other), before=True)
    with world.open(world.admin, backend=backend) as repository:
        assert [] == repository.check(read_data=False, report=lambda *_: None).damaged
    assert backend.happened
    assert other == world.get("other")
    assert [] == check(world, world.admin)
    assert 0 == world.put(other, "again", access=world.admin).new


# -- packs that are away for a while


def only_pack(world: World) -> Path:
    (pack,) = world.files("data")
    return pack


@pytest.mark.parametrize("look", ["get", "check", "put"])
def test_a_pack_that_was_away_and_is_back_is_used_again(world: World, look: str) -> None:
    """A disk that was not mounted for an hour must not leave this host blind to what is on it."""
    world.put(DATA, access=world.admin)
    pack, away = only_pack(world), world.folder / "away"
    pack.rename(away)
    if look == "get":
        with pytest.raises(DamageError):
            world.get()
    elif look == "check":
        assert check(world, world.admin)
    else:
        world.put(b"small", "small", access=world.admin)
    away.rename(pack)
    assert DATA == world.get()
    assert [] == check(world, world.admin)
    assert 0 == world.put(DATA, "again", access=world.admin).new


def test_while_a_pack_is_away_its_chunks_are_stored_anew(world: World) -> None:
    """The next backup does not rely on it."""
    world.put(DATA, access=world.admin)
    only_pack(world).unlink()
    assert len(DATA) <= world.put(DATA, "again", access=world.admin).new
    assert DATA == world.get("again")
    assert DATA == world.get("s")
