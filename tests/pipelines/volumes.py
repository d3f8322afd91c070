"""Volumes in a repository for tests: dumps stored with the facts that `dedup run` gives them."""

import io
from pathlib import Path
from typing import Any

from dedupstore.access import Access
from dedupstore.format.run_records import Stream
from dedupstore.repository import Repository, SnapshotInfo
from dedupstore.writing.session import Session
from pipelines.formats.detect import HEAD, detect
from pipelines.formats.splitters import AfsSplitter, TarSplitter
from pipelines.sources.put import store
from pipelines.streams.chains import Link
from pipelines.streams.facts import VolumeFacts, wire
from tests.afsdump import parse
from tests.store import World, begin

SAMPLES = Path(__file__).parents[1] / "data" / "afs"
DAY = 86400
FIRST_DAY = 1_700_000_000 // DAY * DAY  # 2023.11.14T00:00


def sample(number: int) -> bytes:
    """Return one of the dumps of a real volume, by the number that its name begins with."""
    (path,) = (path for path in SAMPLES.glob(f"{number}-*.dump") if "omitdirs" not in path.name)
    return path.read_bytes()


def facts_of(dump: bytes, parent: bytes = b"", source: str = "") -> dict[str, Any]:
    """Return the facts that `dedup run` stores with a dump."""
    parsed = parse(dump)
    since, until = parsed.span
    number = parsed.volume["p"] or parsed.volume["i"]
    assert isinstance(number, int)
    return wire(
        VolumeFacts(
            source=source,
            volume=number,
            dumped=number,
            name="samp",
            server="fs1",
            partition="/vicepa",
            since=since,
            until=until,
            creation=1,
            copy=1,
            update=1,
            backup=until,
            uniquifier=1,
            parent=parent,
        )
    )


def store_with(session: Session, name: str, data: bytes, facts: Any) -> Stream:
    """Store a stream as `put.store` does, but with these facts, whatever they are."""
    kind = detect(data[:HEAD])
    splitter: Any = {"afs": AfsSplitter, "tar": TarSplitter}.get(kind, lambda: None)()
    return session.put(name, io.BytesIO(data), kind=kind, splitter=splitter, facts=facts)


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
            if facts and name in facts:
                store_with(session, name, data, facts[name])
            else:
                store(session, name, io.BytesIO(data), warn=_fail)
        return session.finish()


def put_chain(world: World, name: str = "user.samp") -> list[SnapshotInfo]:
    """Store a full dump and two incrementals, on three days in a row."""
    snapshots: list[SnapshotInfo] = []
    for day, number in enumerate((2, 3, 4)):
        dump = sample(number)
        parent = snapshots[-1].name if snapshots else b""
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
