"""An empty cache, in which a few thousand chunks are many."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupstore.cache.index_cache import IndexCache
from tests.dedupstore.cache.caches import REPOSITORY, SMALL


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few thousand chunks be many."""
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the cache is."""
    return tmp_path / "state" / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[IndexCache]:
    """Return an empty cache."""
    cache = IndexCache(folder, REPOSITORY)
    yield cache
    cache.close()
