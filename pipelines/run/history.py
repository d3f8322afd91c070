"""What this writer has stored of each AFS volume: what an incremental can rest on, and what is gone.

Invariant: it is read from the repository's snapshots, in the order of this writer's own numbering: no clock and
no local file can put another dump in the parent's place.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines import dates

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo


class Stored(NamedTuple):
    """A volume's newest dump: the snapshot that lists it, its stream's name and its `facts["afs"]`.

    `full_of` is the day of the full that it rests on, None if the chain is broken; `source` is whose it is.
    """

    snapshot: "SnapshotInfo"
    name: str
    facts: Mapping[str, Any]
    full_of: date | None
    source: str


class History:
    """The newest dump of each volume, by the id of the read-write volume, of at most so many days ago."""

    def __init__(self, repository: "Repository", today: date, days: int) -> None:
        mine = repository.signer
        horizon = today - timedelta(days=days)
        self._newest: dict[int, Stored] = {}
        fulls: dict[tuple[str, int], date | None] = {}  # of each dump, by its snapshot and volume
        found = (
            info
            for info in repository.snapshots()
            if info.signer == mine and dates.local(info).date() >= horizon
        )
        for info in sorted(found, key=lambda info: info.sequence):
            for stream in repository.streams(info):
                facts = stream.facts.get("afs")
                if not isinstance(facts, Mapping) or not isinstance(facts.get("volume"), int):
                    continue
                volume: int = facts["volume"]
                full_of = (
                    dates.local(info).date()
                    if facts.get("full")
                    else fulls.get((str(facts.get("parent")), volume))
                )
                fulls[info.name.hex(), volume] = full_of
                source = str(stream.facts.get("source", ""))
                self._newest[volume] = Stored(info, stream.name, facts, full_of, source)

    def newest(self, volume: int, name: str) -> Stored | None:
        """Return the newest dump of the volume; or of another one of that name, which it may have replaced."""
        if volume in self._newest:
            return self._newest[volume]
        others = [stored for stored in self._newest.values() if stored.name == name]
        return max(others, key=lambda stored: stored.snapshot.sequence, default=None)

    def states(self) -> dict[int, str]:
        """Return for each volume the digest of the vnodes of its newest dump."""
        return {volume: str(stored.facts.get("state")) for volume, stored in self._newest.items()}

    def gone(self, source: str, present: set[int], names: set[str], since: date) -> list[Stored]:
        """Return what the source had on that day or later, but is there neither by id nor by name; by name."""
        lost = (
            stored
            for volume, stored in self._newest.items()
            if stored.source == source
            and volume not in present
            and stored.name not in names
            and dates.local(stored.snapshot).date() >= since
        )
        return sorted(lost, key=lambda stored: stored.name)
