"""One run of a writer: streams go in, a snapshot comes out (docs/format.md 1 "Order of writing", 10, 11).

Invariant: the snapshot, and after it the done record, are written when all that they refer to is durable.
Leaving a session early leaves nothing that counts, and what was uploaded is indexed for the next one.  What a
stream that failed had new is stored all the same: others, written at the same time, may rely on it.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from dedupstore import catalogue, interrupted, layout, recipes, records
from dedupstore.access import Access
from dedupstore.chunker import Chunker, ChunkSizes
from dedupstore.errors import DamageError, DedupError, StreamError
from dedupstore.layout import Kind
from dedupstore.packing import PACK_SIZE, Account, PackWriter
from dedupstore.reading import Source, read_ahead
from dedupstore.records import Index, Root, Run, Snapshot, Stream
from dedupstore.sequences import BlockWriter, KnownChunks, NodeWriter, SequenceWriter
from dedupstore.splitting import Divider, Division, Splitter

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo

_MOST_DESCRIBED = layout.MAX_DESCRIBED


class Progress(NamedTuple):
    """Bytes of the stream so far: read, new before compression, stored."""

    read: int
    new: int
    stored: int


class RunDetails(NamedTuple):
    """What a snapshot says of its run, for humans and for dates (Unix seconds, seconds east of UTC)."""

    host: str
    program: str
    time: int
    utc_offset: int


class Session:
    """A run.  Use as a context manager; without `finish`, leaving it abandons the run.

    Several threads may `put` and `checkpoint` at once; `finish` comes when all of them are done.
    """

    def __init__(
        self, repository: "Repository", details: RunDetails, level: int, pack_size: int = PACK_SIZE
    ) -> None:
        access = repository.access
        self._repository = repository
        self._access: Access = access
        self._details = details
        self._run = secrets.token_bytes(16)
        self._started = int(time.time())
        self._streams: list[Stream] = []
        self._names: set[str] = set()
        self._open: set[_StreamWriter] = set()
        self._described = 0  # bytes
        self._lock = RLock()  # over what is noted as stored but not submitted yet, and over the fields above
        self._checkpointing = Lock()
        cache = repository.cache
        repository.refresh_snapshots()
        repository.refuse_if_rolled_back()
        record = Run(
            run=self._run,
            started=self._started,
            host=details.host,
            parents=[info.name for info in repository.heads().values()],
        )
        repository.backend.create(layout.run_file(self._run), catalogue.seal_record(access, Kind.RUN, record))
        repository.refresh_index()
        # what other processes add to the cache from here on was not seen in a listing by this run
        trusted = cache.next_pack()
        self._own: set[int] = set()
        self._known = KnownChunks(lambda ids: cache.known(access.domain, ids, trusted, self._own))
        repository.verify_recent_packs()
        self._packs = PackWriter(repository.backend, access, self._run, level, self._indexed, pack_size)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._packs.close()

    def put(
        self,
        name: str,
        source: Source,
        *,
        kind: str = "raw",
        splitter: Splitter | None = None,
        facts: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        allow_empty: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Stream:
        """Store one stream and return what the snapshot will say of it.

        `facts`, if it is a function, is called when the whole stream was read and split; what it raises gives
        the stream up.  Raises `StreamError` for an empty stream (unless allowed) and for a name given twice.
        """
        layout.check_stream_name(name)
        with self._lock:
            if name in self._names:
                raise StreamError(f"the stream {name} was stored already in this run")
            if len(self._names) >= layout.MAX_STREAMS:
                raise _no_room(name)
            self._names.add(name)
            writer = _StreamWriter(self._access, self._known, self._packs, self._lock, splitter)
            self._open.add(writer)
        began = int(time.time())
        try:
            size = writer.copy(source, progress)
            if size == 0 and not allow_empty:
                raise StreamError(
                    f"the stream {name} is empty, so nothing was stored",
                    "see why its source gave nothing; --allow-empty stores it as it is",
                )
            content, skeleton, plan = writer.finish()
            known = facts() if callable(facts) else facts or {}
            self._packs.settle()
            if progress is not None:
                progress(Progress(size, writer.account.new, writer.account.stored))
            stream = Stream(
                name=name,
                kind=kind,
                size=size,
                time=began,
                stored=writer.account.stored,
                new=writer.account.new,
                content=content,
                skeleton=skeleton,
                layout=plan,
                facts=known,
            )
            self._make_room(stream)
        except BaseException:
            with self._lock, suppress(Exception):  # the first error is the one to tell
                self._names.discard(name)
                writer.flush()
                self._open.discard(writer)  # otherwise what it has noted waits for a checkpoint, or the end
            raise
        with self._lock:
            self._open.discard(writer)
            self._streams.append(stream)
        return stream

    def _make_room(self, stream: Stream) -> None:
        """Refuse a stream with which no reader would read the snapshot: it must not spoil the others."""
        try:
            described = records.encode(stream)
            records.decode(described, Stream, "its description")
        except (DamageError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise StreamError(f"the stream {stream.name} cannot be described: {error}") from None
        with self._lock:
            if self._described + len(described) > _MOST_DESCRIBED:
                raise _no_room(stream.name)
            self._described += len(described)

    def checkpoint(self) -> None:
        """Make durable, and note in a checkpoint, the streams that are complete so far.

        Should this run be killed, `interrupted.complete` publishes them.
        """
        with self._checkpointing:  # the note must name the newest
            if not (streams := self._make_durable()):
                return
            data = catalogue.seal_record(self._access, Kind.CHECKPOINT, self._snapshot(streams, 0, {}))
            name = layout.sha256(data)
            self._repository.backend.create(layout.content_file(Kind.CHECKPOINT, name), data)
            interrupted.note(self._repository.state, self._run, name)

    def finish(self) -> "SnapshotInfo":
        """Make everything durable, publish the snapshot, and return it."""
        if not self._streams:
            raise DedupError("a run without streams has nothing to list")
        streams = self._make_durable()
        repository = self._repository
        with repository.publishing() as (sequence, heads):
            info = repository.publish(self._snapshot(streams, sequence, heads))
        interrupted.forget(repository.state, self._run)
        return info

    def _make_durable(self) -> list[Stream]:
        """Return the streams that are complete, when all that they refer to is durable."""
        with self._lock:
            for writer in self._open:
                writer.flush()  # a complete stream may rely on what another has found to be new
            streams = list(self._streams)
        if streams:
            self._packs.flush()
        return streams

    def _snapshot(
        self, streams: list[Stream], sequence: int, heads: dict[bytes, tuple[int, bytes]]
    ) -> Snapshot:
        details = self._details
        members = self._repository.members
        return Snapshot(
            run=self._run,
            domain=self._access.domain,
            sequence=sequence,
            heads=heads,
            time=details.time,
            utc_offset=details.utc_offset,
            started=self._started,
            finished=int(time.time()),
            host=details.host,
            program=details.program,
            roster=members.roster,
            streams=streams,
        )

    def _indexed(self, name: bytes, index: Index) -> None:
        self._own.update(self._repository.cache.add_index(name, index))
        for pack in index.packs:
            self._known.forget(pack.ids)


class _StreamWriter:
    """The three sequences of one stream."""

    def __init__(
        self, access: Access, known: KnownChunks, packs: PackWriter, lock: RLock, splitter: Splitter | None
    ) -> None:
        self.account = Account()
        nodes = BlockWriter(packs, known, lock, Kind.TREE, self.account)
        self._blocks = [nodes]
        self._nodes = NodeWriter(nodes)
        key = recipes.node_key(access.id_key)

        def sequence(sizes: ChunkSizes, *, wide: bool = False) -> SequenceWriter:
            self._blocks.append(BlockWriter(packs, known, lock, Kind.DATA, self.account))
            chunker = Chunker(access.chunker_key, sizes, wide=wide)
            return SequenceWriter(
                access.id_key, chunker, self._blocks[-1], recipes.ListWriter(key, self._nodes.store)
            )

        self._content = sequence(access.content_sizes)
        self._skeleton = sequence(access.skeleton_sizes, wide=True)
        self._layout = sequence(access.layout_sizes)
        self._divider = Divider(splitter) if splitter is not None else None

    def copy(self, source: Source, progress: Callable[[Progress], None] | None) -> int:
        """Read the source to its end; return its size in bytes."""
        size = 0
        for piece in read_ahead(source, self._prepare):
            cuts, division = piece.made
            self._content.store(piece.data, cuts)
            if division is not None:
                self._skeleton.write(division.skeleton)
                self._layout.write(division.layout)
            size += piece.size
            if progress is not None:
                progress(Progress(size, self.account.new, self.account.stored))
        return size

    def _prepare(
        self, buffer: memoryview, start: int, end: int, ended: bool
    ) -> tuple[int, int, tuple[list[int], Division | None]]:
        """Divide and cut new bytes, in the reading thread."""
        division = None
        if self._divider is not None:
            division = self._divider.divide(buffer, start, end, ended=ended)
            end = division.kept
        cuts = self._content.cut(buffer[:end], division.ends if division else b"", ended)
        return (cuts[-1] if cuts else 0), end, (cuts, division)

    def flush(self) -> None:
        """Submit all open blocks."""
        for blocks in self._blocks:
            blocks.flush()

    def finish(self) -> tuple[Root, Root, Root]:
        """End all sequences; return the roots of content, skeleton and layout."""
        content = self._content.finish()
        skeleton = self._skeleton.finish()
        if self._divider is not None:
            self._layout.write(self._divider.finish())
        plan = self._layout.finish()
        self._nodes.flush()
        self.flush()
        return content, skeleton, plan


def _no_room(name: str) -> StreamError:
    return StreamError(f"the stream {name} does not fit into this run's snapshot", "store it in another run")
