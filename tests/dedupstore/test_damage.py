"""Every kind of file, truncated, bit-flipped, missing or swapped: never wrong bytes, never a quiet check."""

import hashlib
import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.errors import DamageError
from dedupstore.maintenance.check import CheckResult
from tests.store import World, begin, flip_bit, noise, truncate

DATA = noise(3 << 20)


def check(world: World, *, read_data: bool = True) -> CheckResult:
    """Check as the admin, on a host that has seen everything."""
    with world.open(world.admin) as repository:
        return repository.check(read_data=read_data, report=lambda what, done, of: None)


@pytest.fixture
def stored(world: World) -> World:
    """Return a repository with two backups, which both hosts have seen and found sound."""
    world.put(DATA, "one", time=1_700_000_000)
    world.put(noise(100_000, 7), "two", time=1_700_086_400)
    assert world.get("one") == DATA
    assert check(world).damaged == []
    return world


def remove(path: Path) -> None:
    """Delete a file."""
    path.unlink()


def empty(path: Path) -> None:
    """Cut a file to nothing."""
    path.write_bytes(b"")


KINDS = ["data", "tree", "index", "snapshots", "runs"]


@pytest.mark.parametrize("folder", KINDS)
@pytest.mark.parametrize("break_it", [flip_bit, truncate, remove, empty])
def test_a_damaged_file_of_any_kind_is_found_and_never_believed(
    stored: World, folder: str, break_it: Callable[[Path], None]
) -> None:
    """A check names it; a restore on a new host gives the right bytes or none."""
    victim = max(stored.files(folder), key=lambda path: path.stat().st_size)
    break_it(victim)
    found = check(stored).damaged
    if break_it is remove and folder in ("index", "runs"):  # named by what misses it, not by its own name
        assert found
    else:
        assert any(victim.name[:16] in line for line in found), found
    with suppress(DamageError, LookupError):  # told, not guessed
        assert stored.get("one", host="new") == DATA


@pytest.mark.parametrize("folder", KINDS)
def test_a_bit_flipped_anywhere_is_found(stored: World, folder: str) -> None:
    """First byte, last byte, header, footer: no byte of a file is free."""
    victim = max(stored.files(folder), key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    for at in (0, 5, 6, 10, 26, 40, 61, len(whole) - 1, len(whole) - 9, len(whole) - 17, len(whole) - 300):
        flip_bit(victim, at)
        assert any(victim.name[:16] in line for line in check(stored).damaged), at
        victim.write_bytes(whole)
    assert check(stored).damaged == []


@pytest.mark.parametrize("folder", ["data", "tree", "index", "snapshots"])
def test_two_files_swapped_are_found(stored: World, folder: str) -> None:
    """A file in the place of another of its kind is not what its name says."""
    one, two = stored.files(folder)[:2]
    keep = one.with_suffix(".keep")
    one.rename(keep)
    two.rename(one)
    keep.rename(two)
    found = check(stored).damaged
    assert any(one.name[:16] in line for line in found)
    assert any(two.name[:16] in line for line in found)


def test_a_file_of_another_repository_is_refused(stored: World, tmp_path: Path) -> None:
    """Files bear the id of their repository."""
    other = World(tmp_path / "other")
    other.put(b"other")
    shutil.copy(other.files("snapshots")[0], stored.path / "snapshots")
    assert any("another repository" in line for line in check(stored).damaged)


def test_a_file_of_another_kind_is_refused(stored: World) -> None:
    """An index file is no snapshot."""
    shutil.copy(stored.files("index")[0], stored.path / "snapshots")
    assert any("is not a snapshot file" in line for line in check(stored).damaged)


def test_a_file_of_a_newer_format_is_neither_damage_nor_a_reason_to_stop(stored: World) -> None:
    """It needs a newer program, if it has the hash that its name says; a flipped bit in the version is damage."""
    data = bytearray(stored.files("snapshots")[0].read_bytes())
    data[5] = 2
    (stored.path / "snapshots" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    found = check(stored)
    assert [] == found.damaged
    assert any("has repository format 2" in line for line in found.warnings)
    assert stored.get("one") == DATA


def test_a_second_copy_is_used_when_the_first_is_gone(world: World) -> None:
    """A pack that the server lost is stored anew by the next run, and restores use the new copy."""
    world.put(DATA, "one")
    pack = max(world.files("data"), key=lambda path: path.stat().st_size)
    pack.unlink()
    with world.open(world.writer) as repository:
        repository.cache.close()
    again = world.put(DATA, "one", host="another host of the writer")
    assert again.new > 0
    assert world.get("one") == DATA


def test_every_backup_that_lost_something_is_named(world: World) -> None:
    """Backups share most chunks: what is missing is missing in all of them."""
    for name in ("one", "two", "three"):
        world.put(DATA, name)
    world.put(noise(100_000, 9), "whole")
    max(world.files("data"), key=lambda path: path.stat().st_size).unlink()
    found = "\n".join(check(world, read_data=False).damaged)
    assert [name for name in ("one", "two", "three", "whole") if f"backup of {name} " in found] == [
        *("one", "two", "three")
    ]


class Counting(LocalBackend):
    """Counts the reads of data packs."""

    reads = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads += name.startswith("data/")
        return super().read(name, offset, length)


def test_a_first_copy_that_is_bad_is_not_fetched_for_each_of_its_chunks(world: World) -> None:
    world.put(DATA, "one")
    packs = world.files("data")
    with world.open(world.writer, host="2") as repository, begin(repository, 1_700_086_400) as session:
        session._known = session._known.__class__(lambda ids: [False] * len(ids))  # all is stored again
        session.put("two", io.BytesIO(DATA))
        session.finish()
    for pack in packs:
        flip_bit(pack, 2000)
    backend = Counting(world.path)
    with world.open(world.admin, backend=backend) as repository:
        snapshot = repository.snapshots()[0]
        (stream,) = repository.streams(snapshot)
        assert DATA == b"".join(repository.read(snapshot, stream))
    assert backend.reads < 20  # of three blocks, with some two hundred chunks


def biggest(world: World) -> Path:
    return max(world.files("data"), key=lambda path: path.stat().st_size)


def test_after_a_check_the_next_run_stores_anew_what_was_lost(world: World) -> None:
    """Also on a host that has long verified the pack, and so trusts it."""
    for number in range(3):
        world.put(DATA if number == 0 else noise(1000, number), "one" if number == 0 else "x")
    biggest(world).unlink()
    with world.open(world.writer) as repository:
        assert [] != repository.check(read_data=False, report=lambda what, done, of: None).damaged
    assert world.put(DATA, "one").new > 1 << 20
    assert DATA == world.get("one")


@pytest.mark.parametrize("folder", ["data", "tree"])
def test_a_missing_pack_whose_chunks_are_elsewhere_is_a_warning(world: World, folder: str) -> None:
    world.put(DATA, "one")
    pack = max(world.files(folder), key=lambda path: path.stat().st_size)
    pack.unlink()
    assert [] != check(world).damaged
    world.put(DATA, "one")
    found = check(world)
    assert [] == found.damaged
    name = pack.relative_to(world.path)
    assert [
        f"{name} is missing, but no backup needs it any more: its contents are stored elsewhere"
    ] == found.warnings
    assert DATA == world.get("one")


def test_a_missing_pack_of_which_a_backup_needs_one_chunk_is_damage(world: World) -> None:
    world.put(DATA[:500_000] + noise(100_000, 7), "one")
    (pack,) = world.files("data")
    pack.unlink()
    world.put(DATA[:500_000], "two")  # nearly all of it
    found = check(world)
    assert f"{pack.relative_to(world.path)} is missing" in found.damaged
    assert [] == found.warnings


def test_a_missing_pack_is_damage_if_a_run_to_come_could_need_it(world: World) -> None:
    """No backup lists what it held, but another host may know it from the index, and not store it again."""
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("one", io.BytesIO(DATA))
        session.checkpoint()
    world.put(noise(1000), "x", host="another")
    pack = biggest(world)
    pack.unlink()
    assert [f"{pack.relative_to(world.path)} is missing"] == check(world).damaged


@pytest.mark.parametrize("folder", ["data", "index", "snapshots"])
def test_a_missing_pack_is_damage_while_anything_else_is(world: World, folder: str) -> None:
    world.put(DATA, "one")
    pack = biggest(world)
    pack.unlink()
    old = set(world.files(folder))
    world.put(DATA, "one")
    flip_bit(next(path for path in world.files(folder) if path not in old))
    found = check(world)
    assert f"{pack.relative_to(world.path)} is missing" in found.damaged
    assert len(found.damaged) > 1
