"""What is stored of each volume, as the next run finds it."""

from datetime import date
from pathlib import Path

import pytest

from dedupstore.repository import SnapshotInfo
from pipelines.sources.kinds.afs.history import History, Stored
from pipelines.streams import dates
from pipelines.streams.chains import chain
from tests.pipelines.volumes import facts_of, link_to, put, sample
from tests.store import World

FULL, INCREMENTAL = sample(2), sample(3)
VOLUME = facts_of(FULL)["volume"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def run(world: World, day: int, *streams: tuple[str, str, bytes]) -> SnapshotInfo:
    """Store a dump of each (source, name, parent): a full one if there is no parent."""
    dumps = {name: INCREMENTAL if parent else FULL for _, name, parent in streams}
    facts = {name: facts_of(dumps[name], parent, source) for source, name, parent in streams}
    return put(world, dumps, facts, day=day)


def newest(world: World, snapshot: SnapshotInfo, source: str, name: str) -> Stored | None:
    today: date = dates.local(snapshot).date()
    with world.open(world.writer) as repository:
        return History(repository, today, 30).newest(source, VOLUME, name)


def test_volumes_of_two_cells_with_one_number_are_two(world: World) -> None:
    snapshot = run(world, 0, ("a", "a.vol", b""), ("b", "b.vol", b""))
    found = [newest(world, snapshot, *which) for which in (("a", "a.vol"), ("b", "b.vol"), ("c", "a.vol"))]
    assert ["a.vol", "b.vol", None] == [stored and stored.name for stored in found]


def test_a_renamed_volume_of_one_of_two_cells_still_finds_its_full(world: World) -> None:
    first = run(world, 0, ("a", "a.vol", b""), ("b", "b.vol", b""))
    second = run(world, 1, ("a", "a.renamed", first.name))
    with world.open(world.admin) as repository:
        links = chain(repository, *link_to(repository, second, "a.renamed"))
        assert ["a.vol", "a.renamed"] == [link.stream.name for link in links]


def test_the_dumps_of_a_chain_are_counted(world: World) -> None:
    counted = []
    snapshot = run(world, 0, ("a", "a.vol", b""))
    for day, full in enumerate((False, False, True, False), 1):
        snapshot = run(world, day, ("a", "a.vol", b"" if full else snapshot.name))
        stored = newest(world, snapshot, "a", "a.vol")
        assert stored is not None
        counted.append(stored.dumps)
    assert [2, 3, 1, 2] == counted
