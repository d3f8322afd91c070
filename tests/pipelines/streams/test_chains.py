"""From an incremental dump back to its full one: by facts that are checked, and never to another writer's data."""

from pathlib import Path
from typing import Any

import pytest

from dedupstore.errors import DedupError, NotStoredError, StreamError
from dedupstore.format import facts as plain
from dedupstore.repository import SnapshotInfo
from pipelines.streams import chains
from pipelines.streams.chains import chain
from tests.afsdump import make_dump, parse, same_volume
from tests.pipelines.streams.hostile_facts import HOSTILE
from tests.pipelines.volumes import facts_of, link_to, put, put_chain, sample
from tests.store import World

KNOWN = facts_of(sample(3), b"\xab" * 32)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put_changed(world: World, parent: SnapshotInfo, day: int = 1, **changes: Any) -> SnapshotInfo:
    """Store the first incremental, with facts that are changed."""
    facts = facts_of(sample(3), parent.name) | changes
    return put(world, {"user.samp": sample(3)}, {"user.samp": facts}, day=day)


def find_chain(world: World, snapshot: SnapshotInfo, name: str = "user.samp") -> list[chains.Link]:
    with world.open(world.admin) as repository:
        return chain(repository, *link_to(repository, snapshot, name))


def test_a_chain_goes_from_the_full_dump_to_the_date(world: World) -> None:
    snapshots = put_chain(world)
    for count in (1, 2, 3):
        links = find_chain(world, snapshots[count - 1])
        assert [info.name for info in snapshots[:count]] == [link.snapshot.name for link in links]


def test_a_merged_dump_is_the_volume_of_that_date(world: World) -> None:
    snapshots = put_chain(world)
    with world.open(world.admin) as repository:
        links = chain(repository, *link_to(repository, snapshots[2]))
        with chains.full_dump(repository, links) as pieces:
            merged = b"".join(pieces)
    assert (0, 1795191403) == parse(merged).span
    assert parse(sample(6)).vnodes == parse(merged).vnodes
    assert [] == same_volume(sample(6), merged)


def test_a_full_dump_comes_as_it_was_stored(world: World) -> None:
    snapshot = put_chain(world)[0]
    links = find_chain(world, snapshot)
    with world.open(world.admin) as repository, chains.full_dump(repository, links) as pieces:
        assert sample(2) == b"".join(pieces)


def test_a_full_dump_with_long_headers_comes_as_it_was_stored(world: World) -> None:
    dump = (
        sample(1)
        .replace(b"nsamp.empty", b"n" + b"long" * 150_000, 1)
        .replace(b"O\0M", b"O" + b"x" * 600_000 + b"\0M", 1)
    )
    assert 1_200_000 < len(dump)
    snapshot = put(world, {"user.samp": dump})
    links = find_chain(world, snapshot)
    with world.open(world.admin) as repository, chains.full_dump(repository, links) as pieces:
        assert dump == b"".join(pieces)


def test_a_chain_follows_a_renamed_volume(world: World) -> None:
    full = put(world, {"old": sample(2), "o": b"x"}, {"old": facts_of(sample(2))})
    incremental = put(world, {"new": sample(3)}, {"new": facts_of(sample(3), full.name)}, day=1)
    assert ["old", "new"] == [link.stream.name for link in find_chain(world, incremental, "new")]


def test_of_two_dumps_of_a_volume_the_name_tells(world: World) -> None:
    streams = {"user.samp": sample(2), "user.samp.readonly": sample(2)}
    full = put(world, streams, {name: facts_of(dump) for name, dump in streams.items()})
    incremental = put_changed(world, full)
    assert ["user.samp", "user.samp"] == [link.stream.name for link in find_chain(world, incremental)]


def test_a_missing_parent_is_told_with_its_date(world: World) -> None:
    facts = facts_of(sample(3), b"\xab" * 32)
    alone = put(world, {"user.samp": sample(3)}, {"user.samp": facts})
    with pytest.raises(
        NotStoredError,
        match=r"user.samp of 2023.11.14T00:00 builds on a backup of about 2026.11.20T\d\d:16:39",
    ):
        find_chain(world, alone)


def test_a_parent_without_the_volume_is_told_with_its_date(world: World) -> None:
    other = make_dump("other", 5, {"a": b""})
    parent = put(world, {"other": other}, {"other": facts_of(other)})
    with pytest.raises(NotStoredError, match=r"a dump that the backup of 2023.11.14T00:00 does not hold"):
        find_chain(world, put_changed(world, parent))


def test_a_gap_in_time_is_told(world: World) -> None:
    full = put_chain(world)[0]
    late = put_changed(world, full, since=1795191400)
    with pytest.raises(StreamError, match="the one between is missing"):
        find_chain(world, late)


def test_an_overlap_is_no_gap(world: World) -> None:
    full = put_chain(world)[0]
    assert 2 == len(find_chain(world, put_changed(world, full, since=1795191000)))


def test_a_chain_never_leads_to_another_writers_data(world: World) -> None:
    full = put_chain(world)[0]
    for other in (world.member("mallory"), world.member("twin", domain=world.writer.domain)):
        facts = facts_of(sample(3), full.name)
        snapshot = put(world, {"user.samp": sample(3)}, {"user.samp": facts}, day=3, access=other)
        with pytest.raises(StreamError, match="another writer's backup"):
            find_chain(world, snapshot)


def test_a_chain_that_leads_to_itself_or_on_is_refused(world: World) -> None:
    first = put_chain(world)[0]
    with world.open(world.admin) as repository:
        link = link_to(repository, first)
        facts = (plain.load(link.stream.facts) or {}) | {"since": 1, "parent": first.name}
        import msgspec

        circular = msgspec.structs.replace(link.stream, facts=plain.dump(facts, "s"))
        with pytest.raises(StreamError, match="none before it"):
            chain(repository, first, circular)


def test_a_dump_that_was_not_understood_is_not_merged(world: World) -> None:
    full = put_chain(world)[0]
    with pytest.raises(
        StreamError, match=r"was not understood from byte 77 on: it cannot be merged; .*--raw"
    ):
        find_chain(world, put_changed(world, full, unparsed=77))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"v": 1},
        {"v": 1, "is": "volume"},
        KNOWN | HOSTILE[0],
    ],
)
def test_facts_that_are_none_lead_nowhere(world: World, facts: dict[str, Any]) -> None:
    snapshot = put(world, {"user.samp": sample(3)}, {"user.samp": facts})
    links = find_chain(world, snapshot)
    assert [snapshot.name] == [link.snapshot.name for link in links]
    with (
        world.open(world.admin) as repository,
        pytest.raises(DedupError, match="nothing says what it builds on"),
        chains.full_dump(repository, links),
    ):
        pass


def test_what_is_no_volume_has_no_chain(world: World) -> None:
    snapshot = put(world, {"s": b"text"}, {"s": facts_of(sample(3), b"\xab" * 32)})
    assert 1 == len(find_chain(world, snapshot, "s"))
