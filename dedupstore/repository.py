"""The store's one public face: what is listed, runs that write, streams that come back.

Layers, each calling only those below it:

    repository          this module
    session, interrupted    one run; what killed ones left
    runs, check         how a run publishes; looks at everything (check_packs, check_recipes)
    reader, stored, random_access    one stream comes back: whole, walked, in parts (sequence_reader, fetching)
    snapshots, index    which there are and count (alarms); kept true in the cache
    finished, deletion, closings    what the small records say (verified: each is read once; opened: what all share)
    sequences, recipes  cut, hash, look up; lists of chunks (stream_writer: all of one; splitting: what formats know)
    packing, packs      the cold path (stage: work that threads share); files of blocks
    catalogue, cache    signed record files; the local, disposable index of them
    blocks, sealing, compression, records, layout    bytes of format 1
    backends            where the files lie
"""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from dedupstore import deletion, index
from dedupstore.access import Access, Membership
from dedupstore.backends.contract import Backend
from dedupstore.localstate import StateFolder
from dedupstore.opened import Opened
from dedupstore.records import Stream
from dedupstore.snapshots import SnapshotInfo, Snapshots, Turn

if TYPE_CHECKING:
    from dedupstore.check import CheckResult
    from dedupstore.random_access import RandomReader
    from dedupstore.reader import StreamReader
    from dedupstore.runs import ParentOf
    from dedupstore.session import RunDetails, Session
    from dedupstore.stored import StoredStream

__all__ = ["Repository", "SnapshotInfo", "now_offset"]


class Repository(Opened):
    """A repository that is open; a context manager.  `alarms` and `damage` collect what refreshing found.

    `condemned` is what a run that goes on must not rely on.
    """

    def __init__(
        self, backend: Backend, members: Membership, unlock: Callable[[], Access], state: StateFolder
    ) -> None:
        super().__init__(backend, members, unlock, state)
        self.condemned = deletion.Condemned()
        self._snapshots = Snapshots(self)
        self._index_is_read = False
        self._listed: dict[str, int] = {}
        self._folders: set[str] = set()
        self._readers: dict[str, StreamReader] = {}

    def __enter__(self) -> "Repository":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the cache and the back end."""
        self.cache.close()
        self.backend.close()

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
        """Tell whether one of these runs of this member has published, as far as was seen last."""
        return self._snapshots.has_done(self.signer, runs)

    def streams(self, snapshot: SnapshotInfo) -> list[Stream]:
        """Return a snapshot's streams, in the order in which they were stored."""
        return self._snapshots.streams(snapshot)

    def heads(self) -> dict[bytes, SnapshotInfo]:
        """Return the newest snapshot that counts of each signer who is in."""
        return self._snapshots.heads()

    def unfinished(self) -> int:
        """Return how many snapshots are there that do not count."""
        return self._snapshots.unfinished()

    # -- keeping the cache true

    def refresh_snapshots(self) -> None:
        """Read the snapshots that are new, drop those that are gone, and compare with what was seen before."""
        self._snapshots.refresh()
        self._index_is_read = False

    def refresh_index(self) -> None:
        """Read the index files that are new, drop the rows of those that are gone, and compare with done records."""
        self._snapshots.check_index(index.refresh(self))
        self._index_is_read = True

    def look_for_what_is_condemned(self) -> None:
        """List what must not be relied on; before what is, is listed."""
        self.condemned = deletion.condemned(self)

    def renew_cache(self) -> None:
        """Begin with an empty cache, and forget what was learned of the last one, where packs had other numbers."""
        self.cache.renew()
        self._readers.clear()
        self._index_is_read = False

    def verify_recent_packs(self) -> None:
        """List and size the packs of index files not verified yet: a server may lose what it acknowledged."""
        index.verify_recent_packs(self)

    def pack_sizes(self, folders: Iterable[str]) -> dict[str, int]:
        """Return the files in these folders of packs, with their sizes."""
        return index.pack_sizes(self, folders)

    def listed_sizes(self, folders: Iterable[str]) -> dict[str, int]:
        """Return the same as `pack_sizes`, and perhaps more; each folder is listed once while this is open."""
        if new := set(folders) - self._folders:
            self._listed |= index.pack_sizes(self, new)
            self._folders |= new
        return self._listed

    # -- writing and reading

    def session(
        self, details: "RunDetails", *, level: int = 3, parent_of: "ParentOf" = lambda stream: b""
    ) -> "Session":
        """Begin a run.  `level` is Zstandard's; `parent_of` tells which snapshot a stream builds on, if any."""
        from dedupstore.session import Session

        return Session(self, details, level, parent_of=parent_of)

    def read(self, snapshot: SnapshotInfo, stream: Stream) -> Generator[bytes | memoryview, None, None]:
        """Yield the stream's bytes, each verified; whoever gives up before the end closes it.

        Before the first, everything that can be checked without reading contents is checked.
        Raises `DamageError`; `KeyAccessError` if this member may not read.
        """
        reader = self._reader(snapshot)
        reader.preflight(stream)
        return reader.read(stream)

    def open_stream(self, snapshot: SnapshotInfo, stream: Stream, *, contents: bool = True) -> "StoredStream":
        """Return the stream to walk through; its contents are fetched only where they are asked for.

        Checks beforehand what `read` checks, and raises the same; without `contents`, nothing that only
        contents need.
        """
        from dedupstore.stored import StoredStream

        reader = self._reader(snapshot)
        reader.preflight(stream, contents=contents)
        return StoredStream(reader, stream)

    def random_reader(self, snapshot: SnapshotInfo, stream: Stream) -> "RandomReader":
        """Return what reads the stream at any place; only what it reads is checked."""
        from dedupstore.random_access import RandomReader

        return RandomReader(self._reader(snapshot), stream)

    def check(self, *, read_data: bool, report: Callable[[str, int, int], None]) -> "CheckResult":
        """Look at everything; with `read_data`, at every byte.  `report(what, done, of)` is called as it goes on."""
        from dedupstore.check import Checker

        return Checker(self, report).run(read_data=read_data)

    def _reader(self, snapshot: SnapshotInfo) -> "StreamReader":
        """Return what reads the streams of the snapshot's domain; they share the keys of packs, and blocks.

        The cache then holds what the snapshots that were listed rely on.
        """
        from dedupstore.reader import StreamReader

        if not self._index_is_read:
            self.refresh_index()
        reader = self._readers.get(snapshot.domain)
        if reader is None:
            reader = self._readers[snapshot.domain] = StreamReader(self, snapshot.domain)
        return reader

    def complete_interrupted(self, parent_of: "ParentOf" = lambda stream: b"") -> list[SnapshotInfo]:
        """Publish what runs of this host that were killed had checkpointed; none of them may be going on."""
        from dedupstore import interrupted

        return interrupted.complete(self, parent_of)

    def publishing(self) -> AbstractContextManager[Turn]:
        """Hold this host's turn to publish snapshots: see `Snapshots.publishing`."""
        self._index_is_read = False  # what is read afterwards may rely on what was stored meanwhile
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
        from dedupstore import closings

        self.refresh_snapshots()
        self.refuse_if_rolled_back(signer)
        self.refresh_index()
        return closings.publish(
            self, signer, [info.name for info in self.snapshots() if info.signer == signer]
        )

    def refuse_if_rolled_back(self, signer: bytes = b"") -> None:
        """Raise `TrustError` if the repository lost what this host has seen of a signer, by default itself."""
        self._snapshots.refuse_if_rolled_back(signer or self.signer)


def now_offset(when: float | None = None) -> int:
    """Return this machine's offset from UTC at that time, in seconds east."""
    return time.localtime(when).tm_gmtoff
