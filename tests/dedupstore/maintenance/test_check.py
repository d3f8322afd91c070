"""A check reads several packs at once, and says the same as if it read one after the other."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.maintenance.check import CheckResult
from tests.store import World, begin, flip_bit, noise, truncate

PACKS = 12


@pytest.fixture
def packs(world: World) -> World:
    """Return a repository with a dozen backups, each with a data pack of its own."""
    for number in range(PACKS):
        world.put(noise(300_000, number), f"stream {number}", time=1_700_000_000 + number)
    return world


def check(world: World, backend: LocalBackend | None = None) -> CheckResult:
    with world.open(world.admin, backend=backend) as repository:
        return repository.check(read_data=True, report=lambda what, done, of: None)


def in_order(world: World) -> list[str]:
    """Return the data packs in the order in which the index files name them."""
    with world.open(world.admin) as repository:
        repository.refresh_index()
        cache = repository.cache
        found = (pack for name in sorted(cache.index_files()) for _, pack in cache.packs_of([name]))
        return [layout.content_file(Kind.DATA, pack.name) for pack in found if pack.kind == "D"]


class Overtaken(LocalBackend):
    """Answers who first reads a data pack only after the second reader."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._lock = threading.Lock()
        self._second = threading.Event()
        self._readers = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if not name.startswith("data/"):
            return super().read(name, offset, length)
        with self._lock:
            self._readers += 1
            number = self._readers
        if number == 1:
            assert self._second.wait(60)
        data = super().read(name, offset, length)
        if number == 2:
            self._second.set()
        return data


def test_findings_are_told_in_the_order_of_the_index_whichever_pack_is_read_first(packs: World) -> None:
    names = in_order(packs)
    breaks: list[Callable[[Path], None]] = [flip_bit, flip_bit, truncate, Path.unlink]
    for name, break_it in zip(names, breaks * (PACKS // 4), strict=True):
        break_it(packs.path / name)
    found = check(packs, Overtaken(packs.path)).damaged
    assert names == [line.split()[0] for line in found if line.startswith("data/")]


class Counting(LocalBackend):
    """Counts the data packs that are read at one time: a read ends when so many wait, or no more can come."""

    def __init__(self, root: Path, remote: bool, expected: int) -> None:
        super().__init__(root)
        self.properties = self.properties._replace(remote=remote)
        self._all_here = threading.Barrier(expected)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith("data/"):
            self._all_here.wait(60)
        return super().read(name, offset, length)


@pytest.mark.parametrize(("remote", "at_once"), [(False, 3), (True, 6)], ids=["near", "far"])
def test_over_a_long_way_more_packs_are_read_at_once(packs: World, remote: bool, at_once: int) -> None:
    assert (
        [] == check(packs, Counting(packs.path, remote, at_once)).damaged
    )  # 12 packs: no reader is left over


def test_a_large_pack_is_read_in_parts_of_one_size(world: World) -> None:
    with world.open(world.writer) as repository, begin(repository, pack_size=16 << 20) as session:
        session.put("s", io.BytesIO(noise(9 << 20)))
        session.finish()
    reads = []

    class Noting(LocalBackend):
        def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name.startswith("data/"):
                reads.append((offset, length))
            return super().read(name, offset, length)

    result = check(world, Noting(world.path))
    assert [] == result.damaged
    (path,) = world.files("data")
    size = path.stat().st_size
    assert [(at, 2 << 20) for at in range(0, 8 << 20, 2 << 20)] + [(8 << 20, size - (8 << 20))] == sorted(
        reads
    )
    flip_bit(path, 5 << 20)
    assert "SHA-256" in check(world).damaged[0]


def test_chunks_missing_in_one_domain_are_not_missed_in_another(world: World) -> None:
    other = world.member("other")
    data = noise(500_000)
    world.put(data, "mine")
    before = set(world.files("data"))
    world.put(data, "theirs", other, time=1_700_000_100)
    (theirs,) = set(world.files("data")) - before
    theirs.unlink()
    found = "\n".join(check(world).damaged)
    assert "the backup of theirs" in found
    assert "the backup of mine" not in found


def test_what_is_read_after_a_check_is_looked_for_in_the_new_cache(packs: World) -> None:
    with packs.open(packs.admin) as repository:
        repository.refresh_snapshots()
        backups = [(each, stream) for each in repository.snapshots() for stream in repository.streams(each)]
        before = [b"".join(repository.read(*backup)) for backup in backups]
        reader = repository._reader(backups[0][0])
        assert [] == repository.check(read_data=True, report=lambda what, done, of: None).damaged
        assert before == [b"".join(repository.read(*backup)) for backup in backups]
        assert reader is not repository._reader(backups[0][0])
