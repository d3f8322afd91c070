"""Damage to the files beside LMDB's costs one run at most."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dedupstore.cache.index_cache import IndexCache
from dedupstore.errors import StateError
from tests.dedupstore.cache.broken import (
    blank,
    cut,
    endless,
    nothing,
)
from tests.dedupstore.cache.caches import (
    REPOSITORY,
    THROWN_AWAY,
    check_consistency,
    chunk_ids,
    index_files,
    known,
    numbered,
    simple,
)
from tests.dedupstore.cache.other_process import run


@pytest.mark.parametrize("kind", ["hints", "columns"])
@pytest.mark.parametrize("break_it", [cut, nothing, None])
def test_a_file_beside_that_is_missing_or_cut_short_is_noticed_while_opening(
    folder: Path, kind: str, break_it: Callable[[bytearray, random.Random], None] | None
) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    for path in folder.glob(f"{kind}.*"):
        data = bytearray(path.read_bytes())
        path.unlink()
        if break_it is not None:
            break_it(data, random.Random(1))
            path.write_bytes(data)
    assert (0, "right\n") == run("use everything", folder, 1, 2)
    check_consistency(folder)


@pytest.mark.parametrize(("kind", "break_it"), [("columns", blank), ("hints", endless)])
def test_a_file_beside_of_the_right_size_that_is_damaged_costs_one_run(
    folder: Path, kind: str, break_it: Callable[[bytearray], None]
) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    for path in folder.glob(f"{kind}.*"):
        data = bytearray(path.read_bytes())
        break_it(data)
        path.write_bytes(data)
    cache = IndexCache(folder, REPOSITORY)
    with pytest.raises(StateError, match=THROWN_AWAY):
        known(cache, "here", numbered(1)[2] + chunk_ids("none of them", 1000))
    cache.close()
    assert (0, "right\n") == run("use everything", folder, 1, 2)


def test_a_copy_of_a_file_beside_is_in_nobodys_way(cache: IndexCache, folder: Path) -> None:
    name, index, _ = numbered(1)
    cache.add_index(name, index)
    for path in [*folder.glob("columns.*"), *folder.glob("hints.*")]:
        path.with_name(f"{path.name}~").write_bytes(b"")
    cache.drop_index([name])
    assert cache.index_files() == set()


@pytest.mark.parametrize("size", [0, 2399, None])
def test_columns_that_are_missing_or_cut_short_are_never_written_on(
    cache: IndexCache, folder: Path, size: int | None
) -> None:
    cache.add_index(*simple("before", chunk_ids("before", 100)))
    (columns,) = folder.glob("columns.*")
    if size is None:
        columns.unlink()
    else:
        os.truncate(columns, size)
    with pytest.raises(StateError, match=THROWN_AWAY):
        cache.add_index(*simple("behind", chunk_ids("behind", 100)))
    assert size == (columns.stat().st_size if columns.exists() else None)
    cache.close()
    assert index_files(folder) == set()
