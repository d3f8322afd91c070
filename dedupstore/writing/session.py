"""One run of a writer: streams go in, a snapshot comes out (docs/format.md 1 "Order of writing", 10).

Invariant: nothing is published before all that it refers to is durable (see `writer_run`).
Leaving a session early leaves nothing that counts, and what was uploaded is indexed for the next one.  New chunks of
a stream that failed are stored all the same: others, written at the same time, may rely on them.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from dedupstore.access import Access
from dedupstore.chunks.splitting import Splitter
from dedupstore.errors import DamageError, DedupError, StreamError
from dedupstore.format import layout, record_files, records
from dedupstore.format.facts import dump
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import Index
from dedupstore.format.run_records import Snapshot, Stream
from dedupstore.history.index_files import describe as describe_index
from dedupstore.history.snapshots import Turn
from dedupstore.writing import checkpoints
from dedupstore.writing.pack_writer import PACK_SIZE, PackWriter
from dedupstore.writing.read_ahead import Readable
from dedupstore.writing.sequence_writer import KnownChunks
from dedupstore.writing.stream_writer import StreamProgress, StreamWriter
from dedupstore.writing.writer_run import ParentOf, WriterRun

__all__ = ["RunDetails", "Session", "StreamProgress"]

if TYPE_CHECKING:
    from dedupstore.core import Core
    from dedupstore.history.snapshots import SnapshotInfo


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
        self,
        repository: "Core",
        details: RunDetails,
        level: int,
        pack_size: int = PACK_SIZE,
        parent_of: ParentOf = lambda stream: b"",
    ) -> None:
        access = repository.access
        self._repository = repository
        self._access: Access = access
        self._details = details
        self._parent_of = parent_of
        self._started = int(time.time())
        self._streams: list[Stream] = []
        self._names: set[str] = set()
        self._open: set[StreamWriter] = set()
        self._index: list[bytes] = []
        self._checkpoints: list[bytes] = []
        self._finished = False
        self._lock = RLock()  # over what is noted as stored but not submitted yet, and over the fields above
        self._checkpointing = Lock()
        self._run = WriterRun(repository, details.host)
        self._known = KnownChunks(self._run.known)
        self._packs = PackWriter(repository.backend, access, self._run.id, level, self._indexed, pack_size)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._packs.close()
        if not self._finished:
            self._run.end(error)

    def put(
        self,
        name: str,
        source: Readable,
        *,
        kind: str = "raw",
        splitter: Splitter | None = None,
        facts: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        allow_empty: bool = False,
        progress: Callable[[StreamProgress], None] | None = None,
    ) -> Stream:
        """Store one stream and return its record.

        `facts`, if it is a function, is called when the whole stream was read and split; if it raises, the stream is
        given up.  Raises `StreamError` for an empty stream (unless allowed) and for a name given twice.
        """
        layout.check_stream_name(name)
        with self._lock:
            if name in self._names:
                raise StreamError(f"the stream {name} was already stored in this run")
            self._names.add(name)
            writer = StreamWriter(self._access, self._known, self._packs, self._lock, splitter)
            self._open.add(writer)
        began = int(time.time())
        try:
            size = writer.copy(source, progress)
            if size == 0 and not allow_empty:
                raise StreamError(
                    f"the stream {name} is empty, so nothing was stored",
                    "check why its source gave nothing; --allow-empty stores it as it is",
                )
            content, skeleton, plan = writer.finish()
            known = dump((facts() if callable(facts) else facts) or {}, name)
            self._packs.settle()
            if progress is not None:
                progress(StreamProgress(size, writer.account.new, writer.account.stored))
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
            _refuse_indescribable(stream)
        except BaseException:
            with self._lock, suppress(Exception):  # the first error is the one to report
                self._names.discard(name)
                writer.flush()
                self._open.discard(writer)  # otherwise what it has noted waits for a checkpoint, or the end
            raise
        with self._lock:
            self._open.discard(writer)
            self._streams.append(stream)
        return stream

    def checkpoint(self) -> None:
        """Make durable, and note in checkpoints, the streams that are complete so far.

        If this run is killed, `checkpoints.complete` publishes them.
        """
        with self._checkpointing:  # the note must name the newest
            if not (streams := self._make_durable()):
                return
            first = self._run.ids[0]
            snapshots = self._snapshots(streams, first, Turn(0, {}))
            backend = self._repository.backend
            self._checkpoints = [
                record_files.publish_record(backend, self._access, Kind.CHECKPOINT, snapshot)
                for snapshot in snapshots
            ]
            self._note()

    def finish(self) -> "SnapshotInfo":
        """Make everything durable, publish it, and return the snapshot; of several, the last one."""
        if not self._streams:
            raise DedupError("no stream was stored in this run, so there is no backup to record")
        streams = self._make_durable()

        def look_again() -> None:
            self._note()  # under this id, too, the run may be done when the note is read
            for name, problem in self._run.problems(streams, self._parent_of).items():
                raise DamageError(f"a pruner passed this run over, and {name} lost something: {problem}")

        def describe(run: bytes, turn: Turn) -> list[Snapshot]:
            return self._snapshots(streams, run, turn)

        infos = self._run.publish(describe, self._index, look_again)
        self._finished = True
        checkpoints.forget(self._repository.state, self._run.ids[0])
        return infos[-1]

    def _note(self) -> None:
        if self._checkpoints:
            run = self._run
            checkpoints.note(self._repository.state, run.ids[0], self._checkpoints, self._index, run.ids)

    def _make_durable(self) -> list[Stream]:
        """Return the streams that are complete, when all that they refer to is durable."""
        with self._lock:
            for writer in self._open:
                writer.flush()  # a complete stream may rely on what another has found to be new
            streams = list(self._streams)
        if streams:
            self._packs.flush()
        return streams

    def _snapshots(self, streams: list[Stream], run: bytes, turn: Turn) -> list[Snapshot]:
        """Return what lists these streams: one snapshot, or as many as they need; checkpoints all have number 0."""
        details = self._details
        members = self._repository.members
        return [
            Snapshot(
                run=run,
                domain=self._access.domain,
                sequence=turn.sequence and turn.sequence + number,
                heads=turn.heads,
                time=details.time,
                utc_offset=details.utc_offset,
                started=self._started,
                finished=int(time.time()),
                host=details.host,
                program=details.program,
                roster=members.roster,
                streams=some,
            )
            for number, some in enumerate(_portions(streams))
        ]

    def _indexed(self, name: bytes, index: Index) -> None:
        described = describe_index(self._access, name, self._repository.signer, index)
        self._run.own.update(self._repository.cache.add_index(name, described))
        self._index.append(name)
        for pack in described.packs:
            self._known.forget(pack.ids)


def _refuse_indescribable(stream: Stream) -> None:
    """Refuse a stream that would make the snapshot unreadable, and so spoil the others."""
    try:
        described = records.encode(stream)
        records.decode(described, Stream, "its description")
    except (DamageError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise StreamError(f"the stream {stream.name} cannot be described: {error}") from None


def _portions(streams: list[Stream]) -> Iterator[list[Stream]]:
    """Yield as many streams as a snapshot can list, and so on."""
    some: list[Stream] = []
    described = 0  # bytes
    for stream in streams:
        size = len(records.encode(stream))
        if len(some) == layout.MAX_STREAMS or described + size > layout.MAX_DESCRIBED:
            yield some
            some, described = [], 0
        some.append(stream)
        described += size
    yield some
