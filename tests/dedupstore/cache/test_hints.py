"""Every hint is found, until its pack is gone."""

import random
from pathlib import Path

import pytest

from dedupstore.cache import hint_files
from dedupstore.cache.index_cache import IndexCache
from dedupstore.errors import StateError
from tests.dedupstore.cache.caches import (
    REPOSITORY,
    THROWN_AWAY,
    chunk_ids,
    known,
    numbered,
    simple,
)
from tests.dedupstore.cache.other_process import run


@pytest.mark.parametrize("count", [0, 1, 41, 42, 43, 5000])
@pytest.mark.parametrize("spread", ["even", "one bucket", "the last bucket"])
def test_every_hint_in_a_file_is_found(tmp_path: Path, count: int, spread: str) -> None:
    source = random.Random(count)
    begin = {"even": b"", "one bucket": b"abcdef", "the last bucket": b"\xff\xff\xff"}[spread]
    hints = sorted(begin + source.randbytes(12 - len(begin)) for _ in range(count))
    parts = [hints[n::3] for n in range(3)]
    sources = [iter([part[at : at + 77] for at in range(0, len(part), 77)] + [[]]) for part in parts]
    made = hint_files.write(tmp_path / "hints", hint_files.merge(sources), count)
    assert (count, (tmp_path / "hints").stat().st_size) == (made[2], made[1])
    file = hint_files.HintFile(tmp_path / "hints", made[0], made[1])
    assert hints == [hint for some in file.read() for hint in some]
    for hint in source.sample(hints, min(count, 100)):
        assert [other for other in hints if other[:6] == hint[:6]] == file.find(hint[:6])
        assert file.find(source.randbytes(6)) == []


def test_hints_of_packs_that_are_gone_do_not_pile_up(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(*simple("kept", chunk_ids("kept", 100)))
    for _ in range(12):
        cache.add_index(name, index)
        cache.drop_index({name})
    cache.add_index(name, index)
    assert sum(path.stat().st_size for path in folder.glob("hints.*")) < 200_000
    assert sum(path.stat().st_size for path in folder.glob("columns.*")) < 500_000
    assert all(known(cache, "here", ids + chunk_ids("kept", 100)))


def test_hints_of_packs_that_cannot_be_cost_one_run(folder: Path) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    for path in folder.glob("hints.*"):
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 512):
            data[at + 6 : at + 10] = b"\xff" * 4
        path.write_bytes(data)
    cache = IndexCache(folder, REPOSITORY)
    cache.drop_index([numbered(1)[0]])
    cache.add_index(*numbered(3)[:2])
    with pytest.raises(StateError, match=THROWN_AWAY):
        cache.add_index(*numbered(4)[:2])
    cache.close()
    assert (0, "right\n") == run("use everything", folder, 1, 2)


def test_hints_that_are_missing_when_they_are_merged_cost_one_run(folder: Path) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    cache = IndexCache(folder, REPOSITORY)
    for path in folder.glob("hints.*"):
        path.unlink()
    cache.add_index(*numbered(3)[:2])
    with pytest.raises(StateError, match=THROWN_AWAY):
        cache.add_index(*numbered(4)[:2])
    cache.close()
    assert (0, "right\n") == run("use everything", folder, 1, 2)
