"""Memory for look-ups is bounded."""

import os
import random
from pathlib import Path

import pytest

from dedupstore.cache import all_hints, pages, row_formats
from dedupstore.cache.index_cache import IndexCache
from tests.dedupstore.cache.caches import (
    chunk_ids,
    known,
    simple,
)


def test_memory_for_look_ups_does_not_grow_with_the_cache(
    cache: IndexCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of the mapped file are handed back, and reading goes on."""
    monkeypatch.setattr(all_hints, "MOST_RECENT", 1 << 30)
    monkeypatch.setattr(pages, "MOST", 1 << 18)
    monkeypatch.setattr(row_formats, "BATCH_ROWS", 8192)
    ids = chunk_ids("a", 200_000)
    for at in range(0, len(ids), 50_000):
        cache.add_index(*simple(at, ids[at : at + 50_000]))
    assert (folder / "data.mdb").stat().st_size > 3 << 20
    random.Random(1).shuffle(ids)
    before = mapped()
    most = 0
    for at in range(0, 10_000, 10):
        assert all(known(cache, "here", ids[at : at + 10]))
        most = max(most, mapped() - before)
    assert most < 2 << 20


def mapped() -> int:
    """Return the bytes of mapped files in this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")
