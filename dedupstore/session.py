"""One run of a writer: streams go in, a snapshot comes out (docs/format.md 1 "Order of writing", 10, 11).

Invariant: the snapshot, and after it the done record, are written when all that they refer to is durable.
Leaving a session early leaves nothing that counts, and what was uploaded is indexed for the next one.
"""

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from dedupstore import catalogue, layout, recipes
from dedupstore.access import Access
from dedupstore.chunker import Chunker, ChunkSizes
from dedupstore.errors import DedupError, StreamError
from dedupstore.layout import Kind
from dedupstore.packing import PACK_SIZE, Account, PackWriter
from dedupstore.reading import Source, read_ahead
from dedupstore.records import Done, Index, Root, Run, Snapshot, Stream
from dedupstore.sequences import BlockWriter, KnownChunks, NodeStore, SequenceWriter
from dedupstore.splitting import LayoutWriter, Splitter

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo


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
    """A run.  Use as a context manager; without `finish`, leaving it abandons the run."""

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
        facts: Mapping[str, Any] | None = None,
        allow_empty: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Stream:
        """Store one stream and return what the snapshot will say of it.

        Raises `StreamError` for an empty stream (unless allowed) and for a name given twice.
        """
        layout.check_stream_name(name)
        if any(stream.name == name for stream in self._streams):
            raise StreamError(f"the stream {name} was stored already in this run")
        began = int(time.time())
        writer = _StreamWriter(self._access, self._known, self._packs)
        try:
            size = writer.copy(source, splitter, progress)
            if size == 0 and not allow_empty:
                raise StreamError(
                    f"the stream {name} is empty, so nothing was stored",
                    "see why its source gave nothing; --allow-empty stores it as it is",
                )
            content, skeleton, plan = writer.finish()
        except BaseException:
            writer.forget()
            raise
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
            facts=facts or {},
        )
        self._streams.append(stream)
        return stream

    def checkpoint(self) -> None:
        """Make durable, and note in a checkpoint, the streams that are complete so far."""
        self._packs.flush()
        snapshot = self._snapshot(0, {})
        data = catalogue.seal_record(self._access, Kind.CHECKPOINT, snapshot)
        self._repository.backend.create(layout.content_file(Kind.CHECKPOINT, layout.sha256(data)), data)

    def finish(self) -> "SnapshotInfo":
        """Make everything durable, publish the snapshot, and return it."""
        if not self._streams:
            raise DedupError("a run without streams has nothing to list")
        self._packs.flush()
        repository = self._repository
        with repository.publishing():
            heads = repository.heads()
            snapshot = self._snapshot(
                repository.next_sequence(),
                {signer: (info.sequence, info.name) for signer, info in heads.items()},
            )
            data = catalogue.seal_record(self._access, Kind.SNAPSHOT, snapshot)
            name = layout.sha256(data)
            repository.backend.create(layout.content_file(Kind.SNAPSHOT, name), data)
            done = catalogue.seal_record(
                self._access, Kind.DONE, Done(run=self._run, snapshot=name, finished=snapshot.finished)
            )
            repository.backend.create(layout.done_file(self._run, layout.sha256(done)), done)
            return repository.published(name, snapshot)

    def _snapshot(self, sequence: int, heads: dict[bytes, tuple[int, bytes]]) -> Snapshot:
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
            streams=self._streams,
        )

    def _indexed(self, name: bytes, index: Index) -> None:
        self._own.update(self._repository.cache.add_index(name, index))
        for pack in index.packs:
            self._known.forget(pack.ids)


class _StreamWriter:
    """The three sequences of one stream."""

    def __init__(self, access: Access, known: KnownChunks, packs: PackWriter) -> None:
        self.account = Account()
        self._known = known
        self._nodes = BlockWriter(packs, Kind.TREE, self.account)
        self._writers = [self._nodes]
        store = NodeStore(known, self._nodes)
        key = recipes.node_key(access.id_key)

        def sequence(sizes: ChunkSizes) -> SequenceWriter:
            self._writers.append(BlockWriter(packs, Kind.DATA, self.account))
            return SequenceWriter(
                access.id_key,
                Chunker(access.chunker_key, sizes),
                known,
                self._writers[-1],
                recipes.ListWriter(key, store),
            )

        self._content = sequence(access.content_sizes)
        self._skeleton = sequence(access.skeleton_sizes)
        self._layout = sequence(access.layout_sizes)
        self._plan = LayoutWriter()

    def copy(
        self, source: Source, splitter: Splitter | None, progress: Callable[[Progress], None] | None
    ) -> int:
        """Read the source to its end; return its size in bytes."""
        size = 0
        pieces: Iterator[tuple[memoryview, list[int]]]
        if splitter is None:
            pieces = read_ahead(source, self._content.cut)
        else:
            pieces = read_ahead(source, lambda data, ended: (len(data), []))
        for data, cuts in pieces:
            if splitter is None:
                self._content.store(data, cuts)
            else:
                self._split(splitter, data)
            size += len(data)
            if progress is not None:
                progress(Progress(size, self.account.new, self.account.stored))
        return size

    def _split(self, splitter: Splitter, data: memoryview) -> None:
        at = 0
        for part in splitter.split(data):
            piece = data[at : at + part.length]
            at += part.length
            (self._content if part.content else self._skeleton).write(piece, final=part.ends)
            self._layout.write(self._plan.add(part.content, part.length))
        if at != len(data):
            raise StreamError("the splitter did not account for every byte of the stream")

    def forget(self) -> None:
        """Give the stream up: its chunks that were not submitted are not this run's any more."""
        for blocks in self._writers:
            self._known.forget(blocks.drop())

    def finish(self) -> tuple[Root, Root, Root]:
        """End all sequences; return the roots of content, skeleton and layout."""
        content = self._content.finish()
        skeleton = self._skeleton.finish()
        self._layout.write(self._plan.finish())
        plan = self._layout.finish()
        self._nodes.flush()
        return content, skeleton, plan


def this_host() -> str:
    """Return a name for this machine, for humans."""
    with suppress(OSError):
        return socket.gethostname()
    return "unknown"
