"""What is known of a stream beside its bytes: what is built is read again, what is ill-formed is as if not there."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dedupstore.errors import NotStoredError, StreamError
from dedupstore.format.run_records import Root, Stream
from pipelines.restore.get_all import GetAll
from pipelines.sources.kinds.afs.history import History
from pipelines.streams import chains, facts
from tests.pipelines.streams.hostile_facts import ABSURD, HOSTILE
from tests.pipelines.volumes import DAY, FIRST_DAY, facts_of, link_to, put, put_chain, sample, stream_of
from tests.store import World

PARENT = b"\xab" * 32
KNOWN = facts_of(sample(3), PARENT)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a writer store any facts, as one could that is not this program."""
    monkeypatch.setattr(
        "dedupstore.writing.session.dump", lambda facts, stream: msgspec.msgpack.encode(facts)
    )


def deep(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = [value]
    return value


def test_what_run_stores_of_a_volume_is_read_again(world: World) -> None:
    snapshot = put(world, {"v": sample(3)}, {"v": KNOWN})
    with world.open(world.admin) as repository:
        found = facts.volume_of(stream_of(repository, snapshot, "v"))
    assert found is not None
    assert ("samp", PARENT, False) == (found.name, found.parent, found.full)
    assert KNOWN == facts.wire(found)


def test_a_dump_that_is_put_has_what_its_header_says(world: World) -> None:
    snapshot = put(world, {"v": sample(3), "t": bytes(10240), "r": b"raw"})
    with world.open(world.admin) as repository:
        found = [facts.read(stream_of(repository, snapshot, name)) for name in "vtr"]
    since, until = KNOWN["since"], KNOWN["until"]
    assert isinstance(found[0], facts.Dump)
    assert ("samp.backup", since, until) == (found[0].name, found[0].since, found[0].until)
    assert found[0].volume == 536870949
    assert facts.Raw() == found[2]


def test_ill_formed_facts_are_none(world: World) -> None:
    hostile = {f"v{number}": KNOWN | changed for number, changed in enumerate(HOSTILE)}
    snapshot = put(world, dict.fromkeys(hostile, sample(3)), hostile)
    with world.open(world.admin) as repository:
        repository.snapshots()
        read = {stream.name: facts.read(stream) for stream in repository.streams(snapshot)}
    assert dict.fromkeys(hostile) == read


def test_fields_that_are_not_known_are_passed_over(world: World) -> None:
    snapshot = put(world, {"v": sample(3)}, {"v": KNOWN | {"newer": [1, {"x": deep(1)}]}})
    with world.open(world.admin) as repository:
        assert facts.volume_of(stream_of(repository, snapshot, "v")) is not None


def test_facts_of_another_kind_of_stream_are_none(world: World) -> None:
    snapshot = put(world, {"r": b"raw"}, {"r": KNOWN})
    with world.open(world.admin) as repository:
        assert facts.read(stream_of(repository, snapshot, "r")) is None


@pytest.mark.parametrize("changed", [{"until": ABSURD}, {"volume": 2**32}, {"name": "x" * 256}])
def test_what_no_reader_would_read_is_not_written(changed: dict[str, Any]) -> None:
    known = facts.volume_of(msgspec.structs.replace(_stream(), facts=msgspec.msgpack.encode(KNOWN)))
    assert known is not None
    with pytest.raises(StreamError, match="beyond its bounds"):
        facts.wire(msgspec.structs.replace(known, **changed))


def test_the_facts_of_the_largest_names_are_small() -> None:
    known = facts.volume_of(msgspec.structs.replace(_stream(), facts=msgspec.msgpack.encode(KNOWN)))
    assert known is not None
    long = "\U0001f600" * 255
    largest = facts.wire(
        msgspec.structs.replace(
            known, name=long, server=long, partition=long, source=long, unparsed=2**63 - 1
        )
    )
    assert len(msgspec.msgpack.encode(largest)) < 16 << 10


def test_hostile_facts_cost_a_restore_of_everything_only_their_streams(world: World, tmp_path: Path) -> None:
    full = put_chain(world)[0]
    hostile = {f"bad{i}": facts_of(sample(3), full.name) | changed for i, changed in enumerate(HOSTILE)}
    streams = {**dict.fromkeys(hostile, sample(3)), "good": sample(2), "raw": b"raw"}
    snapshot = put(world, streams, hostile, day=5)
    failed: dict[str, str] = {}
    folder = tmp_path / "out"
    folder.mkdir()
    with world.open(world.admin) as repository:
        repository.snapshots()
        GetAll(
            repository,
            folder,
            force=False,
            raw=False,
            failed=failed.__setitem__,
            progress=lambda what, done, of: None,
        ).run((snapshot, stream) for stream in repository.streams(snapshot))
    assert ["good", "raw"] == sorted(path.name for path in folder.iterdir())
    assert hostile.keys() == failed.keys()
    assert all("nothing says what it builds on" in why for why in failed.values())


def test_hostile_facts_of_our_own_are_passed_over_by_a_run(world: World) -> None:
    put(world, {"v": sample(2)}, {"v": facts_of(sample(2))})
    for day, changed in enumerate(HOSTILE, 1):
        put(world, {"v": sample(3)}, {"v": KNOWN | changed}, day=day)
    today = date(2023, 11, 14) + timedelta(days=len(HOSTILE))
    with world.open(world.writer) as repository:
        found = History(repository, today, 1000).newest("", KNOWN["volume"], "v")
    assert found is not None
    assert FIRST_DAY == found.snapshot.time


def test_a_date_at_the_end_of_time_is_told_and_crashes_nothing(world: World) -> None:
    known = KNOWN | {"since": ABSURD - 1 - DAY, "until": ABSURD - 1 - DAY}
    snapshot = put(world, {"user.samp": sample(3)}, {"user.samp": known})
    with world.open(world.admin) as repository, pytest.raises(NotStoredError, match="a backup of about 9999"):
        chains.chain(repository, *link_to(repository, snapshot))


def _stream() -> Any:
    return Stream(name="v", kind="afs", size=0, time=0, stored=0, new=0, content=Root())
