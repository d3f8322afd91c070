"""What this writer has stored of each AFS volume: what an incremental can build on, and what is gone.

Invariant: it comes from the repository's snapshots, in the order of this writer's own numbering: no clock and no local
file can replace the parent by another dump.
"""

from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pipelines.streams import dates, facts
from pipelines.streams.facts import VolumeFacts
from pipelines.streams.names import order

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo


class Stored(NamedTuple):
    """A volume's newest dump: the snapshot that lists it, its stream's name and its facts.

    `full_of` is the day of the full that it builds on, None if the chain is broken; `dumps` is the length of that
    chain.
    """

    snapshot: "SnapshotInfo"
    name: str
    facts: VolumeFacts
    full_of: date | None
    dumps: int


class History:
    """The newest dump of each volume, of the last `days` days.

    A volume is known by its source and the id of the read-write volume: ids are those of a cell, and most cells
    begin with the same ones.
    """

    def __init__(self, repository: "Repository", today: date, days: int) -> None:
        mine = repository.signer
        horizon = today - timedelta(days=days)
        self._newest: dict[tuple[str, int], Stored] = {}
        chains: dict[tuple[bytes, str, int], Stored] = {}  # each dump, by its snapshot and volume
        found = (
            info
            for info in repository.reliable()
            if info.signer == mine and dates.local(info).date() >= horizon
        )
        for info in sorted(found, key=lambda info: info.sequence):
            for stream in repository.streams(info):
                if (known := facts.volume_of(stream)) is None:
                    continue
                source, volume = known.source, known.volume
                parent = None if known.full else chains.get((known.parent, source, volume))
                full_of = dates.local(info).date() if known.full else parent and parent.full_of
                dumps = parent.dumps + 1 if parent else 1
                stored = Stored(info, stream.name, known, full_of, dumps)
                chains[info.name, source, volume] = self._newest[source, volume] = stored

    def newest(self, source: str, volume: int, name: str) -> Stored | None:
        """Return the newest dump of the volume, else of another one of that name, which it may have replaced."""
        if (source, volume) in self._newest:
            return self._newest[source, volume]
        others = [
            stored for stored in self._newest.values() if (stored.facts.source, stored.name) == (source, name)
        ]
        return max(others, key=lambda stored: stored.snapshot.sequence, default=None)

    def states(self) -> dict[tuple[str, int], str]:
        """Return the digest of the vnodes in each volume's newest dump, by source and id."""
        return {key: stored.facts.state.hex() for key, stored in self._newest.items()}

    def gone(self, source: str, present: set[int], names: set[str], since: date) -> list[Stored]:
        """Return what the source had on that day or later, and has now neither by id nor by name; sorted by name."""
        lost = (
            stored
            for (owner, volume), stored in self._newest.items()
            if owner == source
            and volume not in present
            and stored.name not in names
            and dates.local(stored.snapshot).date() >= since
        )
        return sorted(lost, key=lambda stored: order(stored.name))
