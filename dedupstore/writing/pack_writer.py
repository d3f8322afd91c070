"""The cold path: compress, encrypt, pack, upload and index new chunks, beside the threads that read.

    submit ─▶ compress, encrypt and pack (a thread a core) ─▶ upload and index (a thread for each upload at once)

Invariant: an index file is written only when all packs that it names are durable, and chunks enter the local
cache only when their index file is.  Memory is bounded by the queue, a few blocks, and `PACKS` packs of a kind.
"""

import mmap
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dedupstore.access import Access
from dedupstore.backends.contract import Backend, Buffer
from dedupstore.format import blocks, layout, record_files
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import Index, IndexedPack
from dedupstore.format.packs import PackBuilder, SealedPack, pack_buffer
from dedupstore.writing.work_queue import Mark, WorkQueue

PACK_SIZE = 16 << 20
PACKS = 2  # of a kind in memory: one is filled while the other is uploaded, or both are
TREE_SHARE = 4  # a pack of lists has a quarter of that: it is filled slowly, and in memory all the while
PACK_CHUNKS = 64 << 10  # keeps tables and index files small where data compress well
PACK_BLOCKS = 8 << 10  # and where streams are tiny
MOST_UPLOADS = 2  # at once, to a back end that is far
INDEX_PACKS = 8  # go into an index file, or as many as have
INDEX_CHUNKS = 64 << 10  # chunks: until then these are held in memory
INDEX_BLOCKS = 8 << 10
MOST_THREADS = 8  # that compress: each holds a few MiB, and one at a time encrypts
INDEX_SECONDS = 10.0  # that a pack waits for its index file at first
MOST_INDEX_SECONDS = 150.0  # in a long run: every run of every host lists all index files


@dataclass
class Account:
    """Bytes that one stream added: `new` before compression, `stored` after."""

    new: int = 0
    stored: int = 0


@dataclass
class _Block:
    kind: Kind
    data: Buffer
    ids: bytes
    lengths: bytes
    account: Account


class PackWriter:
    """Stores blocks of new chunks.  `indexed(name, index)` is called, in a thread, with each durable index file."""

    def __init__(
        self,
        backend: Backend,
        access: Access,
        run: bytes,
        level: int,
        indexed: Callable[[bytes, Index], None],
        pack_size: int = PACK_SIZE,
    ) -> None:
        self._backend = backend
        self._access = access
        self._run = run
        self._level = level
        self._indexed = indexed
        self._pack_size = pack_size
        threads = min(os.cpu_count() or 1, MOST_THREADS)
        uploads = min(backend.properties.parallel, MOST_UPLOADS)
        self._blocks: WorkQueue[_Block] = WorkQueue(threads, threads)
        self._packs: WorkQueue[SealedPack] = WorkQueue(uploads, 0)  # `_room` bounds it
        self._room = {kind: threading.Semaphore(PACKS) for kind in (Kind.DATA, Kind.TREE)}
        self._packing = threading.Lock()  # over the builders, and what is taken from `_spare`
        self._builders: dict[Kind, PackBuilder] = {}
        self._spare: list[mmap.mmap] = []  # buffers that were uploaded: the next packs are built in them
        self._indexing = threading.Lock()  # held while an index file is written
        self._noting = threading.Lock()  # over what follows, up to the error
        self._pending: list[IndexedPack] = []
        self._pending_chunks = self._pending_blocks = 0
        self._oldest = self._began = time.monotonic()
        self._error: BaseException | None = None
        # daemons: a back end that hangs must not keep a stopped program alive
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for work, name, count in (
                (self._compress, "compress", threads),
                (self._upload, "upload", uploads),
            )
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, kind: Kind, data: Buffer, ids: bytes, lengths: bytes, account: Account) -> None:
        """Queue a block for storing; waits while the queue is full.  Raises the error that any thread failed with."""
        self._put(_Block(kind, data, ids, lengths, account))
        account.new += len(data)

    def fail(self, error: BaseException) -> None:
        """Make every later call raise this error, as if a thread had failed with it."""
        if self._error is None:
            self._error = error

    def settle(self) -> None:
        """Wait until all submitted blocks are packed, so that their accounts are right."""
        self._wait(Mark(flush=False))

    def flush(self) -> None:
        """Wait until all submitted blocks are durable and indexed."""
        self._wait(Mark(flush=True))

    def close(self, patience: float = 30.0) -> None:
        """End the threads.  Packs that were uploaded are indexed, so that a next run need not repeat them.

        Waits `patience` seconds at most; what then still hangs ends with the program.
        """
        until = time.monotonic() + patience
        self.fail(_ClosedError())
        for work in (self._blocks, self._packs):
            work.close()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _wait(self, mark: Mark) -> None:
        self._put(mark)
        while not mark.done.wait(0.2):
            self._raise()
        self._raise()

    def _put(self, item: _Block | Mark) -> None:
        while True:
            self._raise()
            with suppress(queue.Full):
                self._blocks.put(item, timeout=0.2)
                return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _guard(self, work: Callable[[], None]) -> None:
        """Work, and in the end index what is durable: the last uploads may take longer than `close` waits."""
        for step in (work, self._write_index):
            try:
                step()
            except BaseException as error:
                self.fail(error)  # the first error is the one to report

    # -- the first stage

    def _compress(self) -> None:
        self._blocks.work(self._pack, self._packed)

    def _pack(self, block: _Block) -> None:
        plaintext = blocks.compress_block(block.data, self._level)
        with self._packing:
            self._raise()
            builder = self._builders.get(block.kind)
            if builder is None:
                builder = self._builders[block.kind] = self._builder(block.kind)
            block.account.stored += builder.add(plaintext, block.ids, block.lengths)
            if builder.size >= self._full_size(block.kind) or (
                builder.chunks >= PACK_CHUNKS or builder.blocks >= PACK_BLOCKS
            ):
                self._finish(block.kind)

    def _builder(self, kind: Kind) -> PackBuilder:
        while not self._room[kind].acquire(timeout=0.2):
            self._raise()
        # few packs are of another kind: theirs would keep as much memory as data packs' do
        again = kind is Kind.DATA and self._spare
        buffer = self._spare.pop() if again else pack_buffer(self._full_size(kind))
        return PackBuilder(self._access, kind, buffer)

    def _full_size(self, kind: Kind) -> int:
        """Return with how many bytes a pack is finished."""
        return self._pack_size if kind is Kind.DATA else self._pack_size // TREE_SHARE

    def _finish(self, kind: Kind) -> None:
        self._packs.put(self._builders.pop(kind).finish())

    def _packed(self, mark: Mark) -> None:
        if not mark.flush:
            mark.done.set()
            return
        with self._packing:
            for kind in list(self._builders):
                self._finish(kind)
        self._packs.put(mark)

    # -- the second stage

    def _upload(self) -> None:
        self._packs.work(self._store, self._durable)

    def _store(self, pack: SealedPack) -> None:
        entry = self._publish(pack)
        builder = pack.builder
        with self._noting:
            if not self._pending:
                self._oldest = time.monotonic()
            self._pending.append(entry)
            self._pending_chunks += builder.chunks
            self._pending_blocks += builder.blocks
            due = self._is_due()
        kind = entry.file_kind
        if kind is Kind.DATA:
            self._spare.append(pack.buffer)
        self._room[kind].release()
        if due:
            self._write_index()

    def _publish(self, pack: SealedPack) -> IndexedPack:
        """Store a pack; if its name is taken by other bytes, with fresh randomness."""
        kind = pack.entry.file_kind
        made: list[SealedPack] = []

        def make() -> tuple[bytes, memoryview]:
            made.append(pack.builder.finish() if made else pack)
            return made[-1].entry.name, made[-1].data

        record_files.publish(self._backend, lambda digest: layout.content_file(kind, digest), make)
        return made[-1].entry

    def _is_due(self) -> bool:
        """Return whether waiting packs are to be indexed: until then, a killed run has stored them in vain."""
        now = time.monotonic()
        seconds = min(max(INDEX_SECONDS, (now - self._began) / 16), MOST_INDEX_SECONDS)
        return (
            len(self._pending) >= INDEX_PACKS
            or now - self._oldest > seconds
            or self._pending_chunks >= INDEX_CHUNKS
            or self._pending_blocks >= INDEX_BLOCKS
        )

    def _durable(self, mark: Mark) -> None:
        self._write_index()
        if self._error is None:
            mark.done.set()

    def _write_index(self) -> None:
        with self._indexing:
            try:
                with self._noting:
                    packs, self._pending = self._pending, []
                    self._pending_chunks = self._pending_blocks = 0
                if packs:
                    self._index(packs)
            except BaseException as error:
                self.fail(error)  # before others may find that nothing is pending
                raise

    def _index(self, packs: list[IndexedPack]) -> None:
        index = Index(run=self._run, domain=self._access.domain, time=int(time.time()), packs=packs)
        digest = record_files.publish_record(self._backend, self._access, Kind.INDEX, index)
        self._indexed(digest, index)


class _ClosedError(Exception):
    """The writer was closed."""
