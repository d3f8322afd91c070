"""The state of an open repository: what is listed, indexed, condemned and lost.

Invariant: `alarms` and `damage` collect what refreshing found; nothing here writes to the repository but closing lists.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from threading import Lock

from dedupstore.access import Access, Membership
from dedupstore.backends.contract import Backend
from dedupstore.format.run_records import Stream
from dedupstore.history import closings, deletion, index_files
from dedupstore.history.closings import CountingContext
from dedupstore.history.snapshots import SnapshotInfo, Snapshots, Turn
from dedupstore.state.folder import StateFolder


class Core(CountingContext):
    """An open repository; all that writes, reads and checks works on it.

    `condemned` is what a run that goes on must not rely on.
    """

    def __init__(
        self, backend: Backend, members: Membership, unlock: Callable[[], Access], state: StateFolder
    ) -> None:
        super().__init__(backend, members, unlock, state)
        self.condemned = deletion.CondemnedNames()
        self._snapshots = Snapshots(self)
        self.index_is_read = False
        self._listed: dict[str, int] = {}
        self._folders: set[str] = set()
        self._listing = Lock()  # over these two

    # -- what is listed

    @property
    def alarms(self) -> list[str]:
        """What is wrong with the history of snapshots."""
        return self._snapshots.alarms

    def snapshots(self) -> list[SnapshotInfo]:
        """Return the snapshots that count, the oldest date first."""
        return self._snapshots.counting()

    def reliable(self) -> list[SnapshotInfo]:
        """Return those of them that another backup may build on: they are not going to be deleted."""
        return [info for info in self._snapshots.counting() if info.name not in self.condemned.snapshots]

    def has_done(self, runs: Iterable[bytes]) -> bool:
        """Return whether one of these runs of this member has published, as far as was seen last."""
        return self._snapshots.has_done(self.signer, runs)

    def streams(self, snapshot: SnapshotInfo) -> list[Stream]:
        """Return a snapshot's streams, in the order in which they were stored."""
        return self._snapshots.streams(snapshot)

    def heads(self) -> dict[bytes, SnapshotInfo]:
        """Return the newest snapshot that counts of each present member."""
        return self._snapshots.heads()

    def unfinished(self) -> int:
        """Return how many snapshots are there that do not count."""
        return self._snapshots.unfinished()

    # -- keeping the cache true

    def refresh_snapshots(self) -> None:
        """Read the snapshots that are new, drop those that are gone, and compare with what was seen before."""
        self._snapshots.refresh()
        self.index_is_read = False

    def refresh_index(self) -> set[bytes]:
        """Read the index files that are new, drop the rows of those that are gone, and compare with done records.

        Return those that were listed.
        """
        listed = index_files.refresh(self)
        self._snapshots.check_index(listed)
        self.index_is_read = True
        return listed

    def look_for_what_is_condemned(self) -> None:
        """List what must not be relied on; before what is, is listed."""
        self.condemned = deletion.condemned(self)

    def renew_cache(self) -> None:
        """Begin with an empty cache."""
        self.cache.renew()
        self.index_is_read = False

    def verify_recent_packs(self) -> None:
        """List and size the packs of index files not verified yet: a server may lose what it acknowledged."""
        index_files.verify_recent_packs(self)

    def pack_sizes(self, folders: Iterable[str]) -> dict[str, int]:
        """Return the files in these folders of packs, with their sizes."""
        return index_files.pack_sizes(self, folders)

    def listed_sizes(self, folders: Iterable[str]) -> dict[str, int]:
        """Return the same as `pack_sizes`, and perhaps more; each folder is listed once while this is open.

        Several threads may call it.
        """
        with self._listing:
            if new := set(folders) - self._folders:
                self._listed = self._listed | index_files.pack_sizes(self, new)  # others read the last one
                self._folders |= new
            return self._listed

    def publishing(self) -> AbstractContextManager[Turn]:
        """Hold this host's turn to publish snapshots: see `Snapshots.publishing`."""
        self.index_is_read = False  # what is read afterwards may rely on what was stored meanwhile
        with self._listing:
            self._listed, self._folders = {}, set()
        return self._snapshots.publishing()

    def keep_snapshots(self, rows: Iterable[tuple[SnapshotInfo, bytes]]) -> None:
        """Note snapshots that were just written, with their payloads; only within `publishing`."""
        self._snapshots.keep(rows)

    def published(self, infos: Iterable[SnapshotInfo]) -> None:
        """Note that snapshots count that were just written; only within `publishing`."""
        self._snapshots.published(infos)

    def closing_of(self, signer: bytes) -> bytes:
        """Publish a closing list of all that counts of a signer now; return its SHA-256, or nothing if nothing does."""
        self.refresh_snapshots()
        self.refuse_if_rolled_back(signer)
        self.refresh_index()
        return closings.publish(self, signer, *self._snapshots.named_by(signer, closings.ROOM))

    def refuse_if_rolled_back(self, signer: bytes = b"") -> None:
        """Raise `TrustError` if the repository lost what this host has seen of a signer, by default itself."""
        self._snapshots.refuse_if_rolled_back(signer or self.signer)


def now_offset(when: float | None = None) -> int:
    """Return this machine's offset from UTC at that time, in seconds east."""
    return time.localtime(when).tm_gmtoff
