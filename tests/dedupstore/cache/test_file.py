"""The cache's file: shared, private, and thrown away at the first doubt."""

import os
import random
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dedupstore.cache.file import CacheFile
from dedupstore.cache.index_cache import IndexCache
from dedupstore.cache.row_formats import SCHEMA, TABLES, DescribedIndex
from dedupstore.errors import StateError
from tests.dedupstore.cache.broken import cut, damage_page, heads, lost_pages, noise, nothing, zeros
from tests.dedupstore.cache.caches import (
    REPOSITORY,
    check_consistency,
    chunk_ids,
    digest,
    index_files,
    known,
    numbered,
    simple,
)
from tests.dedupstore.cache.other_process import finish, run, start


def test_a_scope_tells_what_was_seen_in_it(cache: IndexCache, folder: Path) -> None:
    ids = chunk_ids("a", 10_000)
    for _ in range(2):
        with cache.seen_scope() as seen:
            assert all(seen.add(id_ + b"domain") for id_ in ids)
            assert not any(seen.add(id_ + b"domain") for id_ in ids)
            assert seen.add(ids[0])
            known(cache, "here", ids[:1])
        assert not list(folder.glob("seen*"))


def test_two_scopes_are_apart(cache: IndexCache) -> None:
    with cache.seen_scope() as one, cache.seen_scope() as two:
        assert one.add(b"a")
        assert two.add(b"a")


def test_everything_is_there_when_it_is_opened_again(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    cache.mark_verified({name})
    cache.add_snapshots([(digest(2), b"header", b"payload")])
    cache.close()
    again = IndexCache(folder, REPOSITORY)
    assert again.index_files() == {name}
    assert again.unverified() == set()
    assert all(known(again, "here", ids))
    assert again.snapshot_payload(digest(2)) == b"payload"
    again.add_index(*simple("more", ids[:2], time=5))
    assert [2, 2, 1] == [len(places) for places in again.locate("here", ids[:3])]
    again.close()


@pytest.mark.parametrize("identity", [b"%d:%s" % (SCHEMA, bytes(16)), b"%d:%s" % (SCHEMA + 1, REPOSITORY)])
def test_a_cache_of_another_repository_or_version_is_made_anew(folder: Path, identity: bytes) -> None:
    other = CacheFile(folder, identity, TABLES)
    with other.environment.begin(write=True) as txn:
        txn.put(digest(1), b"another meaning", db=other.tables["headers"])
    other.close()
    cache = IndexCache(folder, REPOSITORY)
    assert cache.snapshot_names() == set()
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.close()
    assert len(index_files(folder)) == 1


def test_the_folder_is_private(cache: IndexCache, folder: Path) -> None:
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    with pytest.raises(StateError, match="other users may enter"):
        IndexCache(folder, REPOSITORY)


def test_files_that_are_not_ours_are_replaced(cache: IndexCache, folder: Path) -> None:
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.close()
    os.chown(folder / "data.mdb", 65534, 65534)
    assert index_files(folder) == set()
    assert (folder / "data.mdb").stat().st_uid == os.geteuid()


def test_a_link_in_place_of_the_file_is_replaced(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / "data.mdb").symlink_to(victim)
    (folder / "lock.mdb").symlink_to(victim)
    assert index_files(folder) == set()
    assert victim.read_bytes() == b"precious"


def test_one_process_opens_a_cache_once(cache: IndexCache, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for path in (folder, tmp_path / "link"):
        with pytest.raises(StateError, match=r"already open in this process; close it first"):
            IndexCache(path, REPOSITORY)
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.close()
    cache.close()
    with pytest.raises(StateError, match="cannot be used"):
        cache.index_files()
    assert len(index_files(folder)) == 1


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(StateError, match=r"/proc/cache cannot be used"):
        IndexCache(Path("/proc/cache"), REPOSITORY)


def test_a_full_disk_is_an_error_that_names_the_folder(folder: Path) -> None:
    """A limit on file sizes stands for the disk: at each size, what is there stays right."""
    said = set()
    for limit in (10_000, 70_000, 150_000, 280_000):
        status, output = run("add under a limit", folder, limit)
        said.add(output.count("added"))
        assert (0, 1) == (status, output.count(f"the index cache {folder} cannot be used: ")), output
        check_consistency(folder)
    assert len(said) > 1  # while making the folder's files, and while adding to them


def test_a_small_address_space_is_enough(folder: Path) -> None:
    assert (0, "known\n") == run("add in a small address space", folder, 3 << 30)


def test_processes_share_a_cache(folder: Path) -> None:
    """Writers add, some of them the same files, and one drops; what is listed is always whole."""
    writers = [start("add", folder, *range(first, first + 4)) for first in (0, 3, 6)]
    dropper = start("add and drop", folder, *range(100, 104))
    readers = [start("look", folder, *range(10)) for _ in range(2)]
    for process in (*writers, dropper):
        assert (0, "added\n" * 4 + "done\n") == finish(process)
    for process in readers:
        assert (0, "saw all\n") == finish(process)
    cache = IndexCache(folder, REPOSITORY)
    assert cache.index_files() == {numbered(seed)[0] for seed in range(10)}
    cache.close()
    check_consistency(folder)


def test_a_killed_process_leaves_a_cache_that_tells_the_truth(folder: Path) -> None:
    """Killed while adding and dropping, at any moment: nothing is thrown away and no row lacks its file."""
    source = random.Random(7)
    cache = IndexCache(folder, REPOSITORY)
    name, index, _ = numbered(10_000)
    cache.add_index(name, index)
    cache.close()
    for attempt in range(12):
        process = start("add and drop", folder, *range(100 * attempt, 100 * attempt + 50))
        assert process.stdout is not None
        for _ in range(source.randrange(3)):
            process.stdout.readline()
        time.sleep(source.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL
        assert name in index_files(folder)
        check_consistency(folder)


def test_a_process_killed_while_opening_harms_nothing(folder: Path) -> None:
    for attempt in range(8):
        process = start("add", folder, attempt)
        time.sleep(0.12 + attempt * 0.02)
        process.kill()
        finish(process)
        check_consistency(folder)


def test_damage_is_found_after_a_process_died(folder: Path) -> None:
    """Whatever ended it, perhaps the damage itself: every row is read before the file is used again."""
    assert run("add", folder, 1, 2) == (0, "added\nadded\ndone\n")
    assert run("add and die", folder, 3)[0] == -signal.SIGSEGV
    assert len(index_files(folder)) == 3
    assert run("add and die", folder, 4)[0] == -signal.SIGSEGV
    for number in range(-20, 0):
        damage_page(folder, number)
    assert index_files(folder) == set()
    check_consistency(folder)


def test_damage_seen_in_use_throws_the_cache_away(folder: Path) -> None:
    assert run("add", folder, 1)[0] == 0
    status, output = run("damage in use", folder)
    assert status == 0
    assert f"the index cache {folder} was damaged (" in output
    assert "has been discarded; run it again" in output
    assert index_files(folder) == set()


@pytest.mark.parametrize("break_it", [cut, nothing, noise, zeros, lost_pages, heads])
def test_a_damaged_file_costs_one_run_at_most(
    folder: Path, break_it: Callable[[bytearray, random.Random], None]
) -> None:
    """The first process may be told (or, at worst, ended) by the damage; the second one works.

    Damage that hits just the bytes of some rows is not noticed: their chunks are not found, or not where they
    are said to be.  Readers verify, and then doubt the cache.
    """
    assert run("add", folder, 1, 2)[0] == 0
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    for seed in range(2):
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        data = bytearray((whole / "data.mdb").read_bytes())
        break_it(data, random.Random(seed))
        (folder / "data.mdb").write_bytes(data)
        first = run("use everything", folder, 1, 2)
        second = run("use everything", folder, 1, 2)
        if break_it in (cut, nothing, noise):  # noticed before LMDB could stumble
            assert (0, "right\n") == first
        if break_it is lost_pages:
            assert second in [(0, "right\n"), (0, "forgot\n")], first
            cache = IndexCache(folder, REPOSITORY)
            cache.discard()
            cache.close()
            assert (0, "right\n") == run("use everything", folder, 1, 2)
        else:
            assert (0, "right\n") == second, first
        check_consistency(folder)


def test_a_cache_that_is_at_odds_with_the_repository_can_be_thrown_away(
    cache: IndexCache, folder: Path
) -> None:
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.discard()
    assert all(known(cache, "here", chunk_ids("a", 10)))  # until it is opened again
    cache.close()
    assert index_files(folder) == set()
    assert [] == [*folder.glob("columns.*"), *folder.glob("hints.*")]


def test_who_has_a_cache_that_is_thrown_away_keeps_it(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    assert (0, "new\n") == run("take for another repository", folder)
    cache.add_index(*simple("more", chunk_ids("more", 10)))
    assert all(known(cache, "here", ids + chunk_ids("more", 10)))


def test_who_makes_a_cache_anew_does_not_disturb_others(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    assert (0, "empty\nfull\n") == run("renew", folder, 2)
    cache.add_index(*simple("more", chunk_ids("more", 10)))
    assert all(known(cache, "here", ids + chunk_ids("more", 10)))
    cache.close()
    assert {numbered(2)[0]} == index_files(folder)
    check_consistency(folder)


def test_closing_while_a_thread_adds_leaves_it_whole(folder: Path) -> None:
    for attempt in range(5):
        cache = IndexCache(folder, REPOSITORY)
        files = [numbered(seed) for seed in range(10 * attempt, 10 * attempt + 10)]
        told: list[str] = []
        thread = threading.Thread(target=add_until_told, args=(cache, files, told))
        thread.start()
        time.sleep(attempt * 0.05)
        cache.close()
        thread.join()
        assert [True] == ["cannot be used" in text for text in told]
        check_consistency(folder)


def add_until_told(
    cache: IndexCache, files: list[tuple[bytes, DescribedIndex, list[bytes]]], told: list[str]
) -> None:
    """Add index files, over and over, until an error says to stop."""
    while not told:
        try:
            for name, index, _ in files:
                cache.add_index(name, index)
            cache.drop_index({name for name, _, _ in files})
        except StateError as error:
            told.append(str(error))
