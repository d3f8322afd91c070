"""Volumes in a repository for tests: dumps stored with the facts that `dedup run` gives them."""

import io
from pathlib import Path
from typing import Any

from dedupstore.access import Access
from dedupstore.records import Stream
from dedupstore.repository import Repository, SnapshotInfo
from pipelines.chains import Link
from pipelines.put import store
from tests.afsdump import parse
from tests.store import World, begin

SAMPLES = Path(__file__).parents[1] / "data" / "afs"
DAY = 86400
FIRST_DAY = 1_700_000_000 // DAY * DAY  # 2023.11.14T00:00


def sample(number: int) -> bytes:
    """Return one of the dumps of a real volume, by the number that its name begins with."""
    (path,) = (path for path in SAMPLES.glob(f"{number}-*.dump") if "omitdirs" not in path.name)
    return path.read_bytes()


def facts_of(dump: bytes, parent: str = "") -> dict[str, Any]:
    """Return the facts that `dedup run` stores with a dump."""
    parsed = parse(dump)
    since, until = parsed.span
    assert isinstance(parsed.volume["p"], int)
    return {
        "afs": {
            "volume": parsed.volume["p"] or parsed.volume["i"],
            "since": since,
            "until": until,
            "parent": parent,
            "full": since == 0,
        }
    }


def put(
    world: World,
    streams: dict[str, bytes],
    facts: dict[str, dict[str, Any]] | None = None,
    *,
    day: int = 0,
    access: Access | None = None,
) -> SnapshotInfo:
    """Store streams in a run of the writer, so many days after the first."""
    with (
        world.open(access or world.writer) as repository,
        begin(repository, FIRST_DAY + day * DAY) as session,
    ):
        for name, data in streams.items():
            store(session, name, io.BytesIO(data), facts=(facts or {}).get(name), warn=_fail)
        return session.finish()


def put_chain(world: World, name: str = "user.samp") -> list[SnapshotInfo]:
    """Store a full dump and two incrementals, on three days in a row."""
    snapshots: list[SnapshotInfo] = []
    for day, number in enumerate((2, 3, 4)):
        dump = sample(number)
        parent = snapshots[-1].name.hex() if snapshots else ""
        snapshots.append(put(world, {name: dump}, {name: facts_of(dump, parent)}, day=day))
    return snapshots


def stream_of(repository: Repository, snapshot: SnapshotInfo, name: str = "user.samp") -> Stream:
    """Return the stream of that name."""
    repository.snapshots()  # reads those that are new
    return next(stream for stream in repository.streams(snapshot) if stream.name == name)


def link_to(repository: Repository, snapshot: SnapshotInfo, name: str = "user.samp") -> Link:
    """Return the stream of that name with its snapshot."""
    return Link(snapshot, stream_of(repository, snapshot, name))


def _fail(warning: str) -> None:
    raise AssertionError(warning)
