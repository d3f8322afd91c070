"""A damaged index cache tells nothing wrong of the repository: every file beside LMDB's, every kind of damage."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dedupstore.cache import all_hints, column_files
from dedupstore.errors import DamagedStateError
from tests.store import World, begin, noise

RUNS = 4
HOST = "host"  # the one whose cache is damaged: it writes, reads and checks

Damage = Callable[[Path], None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few chunks be many: several files of each kind."""
    monkeypatch.setattr(all_hints, "MOST_RECENT", 10)
    monkeypatch.setattr(column_files, "MOST", 900)


@pytest.fixture
def stored(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a repository with some backups, and a cache that has all of it."""
    with monkeypatch.context() as patch:
        patch.setattr(all_hints, "GROWTH", 0)  # nothing is merged yet
        for number in range(RUNS):
            put(world, number)
    assert len(beside(world, "hints")) > 1
    assert len(beside(world, "columns")) > 1
    return world


def put(world: World, number: int) -> None:
    world.put(noise(300_000, number), f"s{number}", time=1_700_000_000 + number, host=HOST)


def read_all(world: World, count: int) -> list[bool]:
    """Tell for each of the first streams whether its bytes come back, through the cache that was damaged."""
    return [noise(300_000, number) == world.get(f"s{number}", host=HOST) for number in range(count)]


def check(world: World) -> list[str]:
    with world.open(world.admin, host=HOST) as repository:
        result = repository.check(read_data=True, report=lambda what, done, of: None)
        return [*result.damaged, *result.warnings, *repository.damage]


def beside(world: World, kind: str) -> list[Path]:
    return sorted((world.folder / "state" / HOST / "cache").glob(f"{kind}.*"))


def again(work: Callable[[], object]) -> None:
    """Do it; if it says that the cache was damaged, do it once more."""
    try:
        work()
    except DamagedStateError:
        work()


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def ones(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(path.stat().st_size).randbytes(path.stat().st_size))


def one_byte_in_a_hundred(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in random.Random(3).sample(range(len(data)), len(data) // 100):
        data[at] ^= 0x55
    path.write_bytes(data)


def turned(path: Path) -> None:
    """Put what was written elsewhere in the file."""
    data = path.read_bytes()
    path.write_bytes(data[512:] + data[:512])


KINDS = pytest.mark.parametrize("kind", ["hints", "columns"])
OF_ANOTHER_SIZE = pytest.mark.parametrize("damage", [remove, empty, shorten])
ANY = pytest.mark.parametrize(
    "damage", [remove, empty, shorten, zeros, ones, garbage, one_byte_in_a_hundred, turned]
)


@KINDS
@OF_ANOTHER_SIZE
def test_a_file_that_is_missing_or_short_is_made_anew_at_once(
    stored: World, kind: str, damage: Damage
) -> None:
    """One file of several, in one command: nobody is told to run it again."""
    for number in range(3):
        path = beside(stored, kind)[number % len(beside(stored, kind))]
        damage(path)
        put(stored, RUNS + number)
        assert path not in beside(stored, kind)
        assert read_all(stored, RUNS + number + 1) == [True] * (RUNS + number + 1)
    damage(beside(stored, kind)[0])
    assert read_all(stored, RUNS) == [True] * RUNS


@KINDS
@ANY
def test_what_comes_back_is_right_and_all_is_stored_whatever_is_damaged(
    stored: World, kind: str, damage: Damage
) -> None:
    for path in beside(stored, kind):
        damage(path)
    again(lambda: read_all(stored, RUNS))
    assert read_all(stored, RUNS) == [True] * RUNS
    for path in beside(stored, kind):
        damage(path)
    before = stored.stored()
    again(lambda: put(stored, 0))
    assert stored.stored() < before + 50_000  # found again, not stored anew
    assert noise(300_000, 0) == stored.get("s0")
    again(lambda: put(stored, RUNS))
    assert check(stored) == []


@KINDS
@ANY
def test_a_check_says_nothing_of_the_cache_and_heals_it(stored: World, kind: str, damage: Damage) -> None:
    for path in beside(stored, kind):
        damage(path)
    assert check(stored) == []
    assert read_all(stored, RUNS) == [True] * RUNS


def test_a_check_does_not_believe_a_cache_that_looks_whole(stored: World) -> None:
    """Rows of LMDB that are right in form, but of packs that are not lost."""
    with stored.open(stored.writer, host=HOST) as repository:
        cache = repository.cache
        cache.mark_lost([number for number, _ in cache.packs_of(cache.index_files())])
        cache.add_snapshots([(name, header, b"") for name, header in cache.snapshot_headers()])
    assert check(stored) == []
    assert read_all(stored, RUNS) == [True] * RUNS


def test_an_older_copy_of_a_file_of_columns_is_noticed_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_files, "MOST", 1 << 20)
    put(world, 0)
    (columns,) = beside(world, "columns")
    older = columns.read_bytes()
    put(world, 1)
    assert (len(older), [columns]) != (columns.stat().st_size, beside(world, "columns"))
    columns.write_bytes(older)
    put(world, 2)
    assert read_all(world, 3) == [True] * 3
    assert check(world) == []


def test_older_copies_of_all_files_are_as_good_as_a_cache_that_was_not_used_since(world: World) -> None:
    put(world, 0)
    folder = world.folder / "state" / HOST / "cache"
    older = {path: path.read_bytes() for path in folder.iterdir()}
    put(world, 1)
    for path, data in older.items():
        path.write_bytes(data)
    put(world, 2)
    assert read_all(world, 3) == [True] * 3
    assert check(world) == []


@KINDS
def test_damage_in_the_middle_of_a_run_ends_it_and_the_next_one_is_right(stored: World, kind: str) -> None:
    def run() -> None:
        with stored.open(stored.writer, host=HOST) as repository, begin(repository) as session:
            for path in beside(stored, kind):
                garbage(path)
            for number in range(RUNS + 1):
                session.put(f"again{number}", io.BytesIO(noise(300_000, number)))

    with pytest.raises(DamagedStateError, match="has been discarded; run it again"):
        run()
    put(stored, RUNS)
    assert read_all(stored, RUNS + 1) == [True] * (RUNS + 1)
    assert check(stored) == []
