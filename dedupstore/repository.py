"""The store's public face: list snapshots, store streams, read and check them.

Invariant: it only joins what other modules do: `core` holds the state, `writing` publishes runs, `reading` reads
streams, `maintenance` checks everything.  Each is loaded when it is first needed.
"""

from collections.abc import Callable, Generator
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING

from dedupstore.access import Access, Membership
from dedupstore.backends.contract import Backend
from dedupstore.core import Core, now_offset
from dedupstore.format.run_records import Stream
from dedupstore.history.snapshots import SnapshotInfo
from dedupstore.state.folder import StateFolder

if TYPE_CHECKING:
    from dedupstore.maintenance.check import CheckResult
    from dedupstore.reading.forward_stream import StoredStream
    from dedupstore.reading.random_access import RandomReader
    from dedupstore.reading.stream_reader import StreamReader
    from dedupstore.writing.session import RunDetails, Session
    from dedupstore.writing.writer_run import ParentOf

__all__ = ["Repository", "SnapshotInfo", "now_offset"]


class Repository(Core):
    """An open repository; a context manager.

    Several threads may call `read`, `open_stream` and `random_reader`, and use what these return, each its own.
    A `Session` takes streams from several threads, too.  All else is for one thread at a time.
    """

    def __init__(
        self, backend: Backend, members: Membership, unlock: Callable[[], Access], state: StateFolder
    ) -> None:
        super().__init__(backend, members, unlock, state)
        self._readers: dict[str, StreamReader] = {}
        self._making_readers = Lock()

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

    def session(
        self, details: "RunDetails", *, level: int = 3, parent_of: "ParentOf" = lambda stream: b""
    ) -> "Session":
        """Begin a run.  `level` is Zstandard's; `parent_of` returns the snapshot that a stream builds on, if any."""
        from dedupstore.writing.session import Session

        return Session(self, details, level, parent_of=parent_of)

    def read(self, snapshot: SnapshotInfo, stream: Stream) -> Generator[bytes | memoryview, None, None]:
        """Yield the stream's bytes, each verified; close the generator to give up before the end.

        Before the first, everything that can be checked without reading contents is checked.
        Raises `DamageError`; `KeyAccessError` if this member may not read.
        """
        reader = self._reader(snapshot)
        reader.preflight(stream)
        return reader.read(stream)

    def open_stream(self, snapshot: SnapshotInfo, stream: Stream, *, contents: bool = True) -> "StoredStream":
        """Return the stream to walk through; contents are fetched only where they are asked for.

        Checks beforehand what `read` checks, and raises the same; without `contents`, nothing that only
        contents need.
        """
        from dedupstore.reading.forward_stream import StoredStream

        reader = self._reader(snapshot)
        reader.preflight(stream, contents=contents)
        return StoredStream(reader, stream)

    def random_reader(self, snapshot: SnapshotInfo, stream: Stream) -> "RandomReader":
        """Return what reads the stream at any place; only what it reads is checked."""
        from dedupstore.reading.random_access import RandomReader

        return RandomReader(self._reader(snapshot), stream)

    def check(self, *, read_data: bool, report: Callable[[str, int, int], None]) -> "CheckResult":
        """Check everything; with `read_data`, every byte.  `report(what, done, of)` is called as it goes on."""
        from dedupstore.maintenance.check import Checker

        return Checker(self, report).run(read_data=read_data)

    def complete_interrupted(self, parent_of: "ParentOf" = lambda stream: b"") -> list[SnapshotInfo]:
        """Publish what killed runs of this host had checkpointed; none of them may be going on."""
        from dedupstore.writing import checkpoints

        return checkpoints.complete(self, parent_of)

    def renew_cache(self) -> None:
        """Start with an empty cache, and drop all readers: in the last one, packs had other numbers."""
        super().renew_cache()
        self._readers.clear()

    def _reader(self, snapshot: SnapshotInfo) -> "StreamReader":
        """Return the reader for the snapshot's domain; its streams share the keys of packs, and blocks.

        The cache then holds what the snapshots that were listed rely on.
        """
        from dedupstore.reading.stream_reader import StreamReader

        with self._making_readers:
            if not self.index_is_read:
                self.refresh_index()
            reader = self._readers.get(snapshot.domain)
            if reader is None:
                reader = self._readers[snapshot.domain] = StreamReader(self, snapshot.domain)
            return reader
