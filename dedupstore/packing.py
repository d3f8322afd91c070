"""The cold path: compress, encrypt, pack, upload and index new chunks, beside the thread that reads.

    submit ─▶ compress (a thread a core) ─▶ pack (one thread, in order) ─▶ upload and index (one thread)

Invariant: an index file is written only when all packs that it names are durable, and chunks enter the local
cache only when their index file is.  Memory is bounded by the queues: a few blocks, and two packs at most.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from dedupstore import blocks, catalogue, layout, memory
from dedupstore.access import Access
from dedupstore.backends.contract import Backend
from dedupstore.layout import Kind
from dedupstore.packs import PackBuilder, SealedPack
from dedupstore.records import Index, IndexedPack

PACK_SIZE = 16 << 20  # two are in memory at a time
PACK_CHUNKS = 64 << 10  # keeps tables and index files small where data compress well
INDEX_PACKS = 8
MOST_THREADS = 8  # that compress: each holds a few MiB, and one thread encrypts for all of them
INDEX_SECONDS = 10.0


@dataclass
class Account:
    """Bytes that one stream added: `new` before compression, `stored` after."""

    new: int = 0
    stored: int = 0


@dataclass
class _Block:
    kind: Kind
    plaintext: "Future[bytes]"
    ids: bytes
    lengths: bytes
    account: Account


class _Mark:
    """Travels through the queues to tell that all before it is done."""

    def __init__(self, *, flush: bool) -> None:
        self.flush = flush  # also finish the open packs and write the index
        self.done = threading.Event()


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
        memory.reuse_buffers()
        self._backend = backend
        self._access = access
        self._run = run
        self._level = level
        self._indexed = indexed
        self._pack_size = pack_size
        threads = min(os.cpu_count() or 1, MOST_THREADS)
        self._pool = ThreadPoolExecutor(threads, "compress")
        self._blocks: queue.Queue[_Block | _Mark | None] = queue.Queue(threads + 1)
        self._packs: queue.Queue[SealedPack | _Mark | None] = queue.Queue(1)
        self._idle = threading.Event()  # the last pack was uploaded: another may be finished
        self._idle.set()
        self._error: BaseException | None = None
        self._pending: list[IndexedPack] = []
        self._spare: list[bytearray] = []  # a buffer that was uploaded: the next pack is built in it
        self._oldest = 0.0
        # daemons: a back end that hangs must not keep a stopped program alive
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for work, name in ((self._pack, "pack"), (self._upload, "upload"))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, kind: Kind, data: memoryview, ids: bytes, lengths: bytes, account: Account) -> None:
        """Queue a block for storing; waits while the queue is full.  Raises what any thread ran into."""
        account.new += len(data)
        plaintext = self._pool.submit(blocks.compress_block, data, self._level)
        self._put(self._blocks, _Block(kind, plaintext, ids, lengths, account))

    def fail(self, error: BaseException) -> None:
        """Let everything from now on raise this error, as if a thread had run into it."""
        if self._error is None:
            self._error = error

    def settle(self) -> None:
        """Wait until all submitted blocks are packed, so that their accounts are right."""
        self._wait(_Mark(flush=False))

    def flush(self) -> None:
        """Wait until all submitted blocks are durable and indexed."""
        self._wait(_Mark(flush=True))

    def close(self, patience: float = 30.0) -> None:
        """End the threads.  Packs that were uploaded are indexed, so that a next run need not repeat them.

        Waits `patience` seconds at most for each; what then still hangs ends with the program.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.fail(_ClosedError())
        for waiting in (self._blocks, self._packs):
            while True:  # make room, then tell the thread to end
                try:
                    waiting.put_nowait(None)
                    break
                except queue.Full:
                    try:
                        waiting.get_nowait()
                    except queue.Empty:
                        continue
        for thread in self._threads:
            thread.join(patience)

    def _wait(self, mark: _Mark) -> None:
        self._put(self._blocks, mark)
        while not mark.done.wait(0.2):
            self._raise()
        self._raise()

    def _put(self, waiting: queue.Queue, item: object) -> None:  # type: ignore[type-arg]
        while True:
            self._raise()
            try:
                waiting.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.fail(error)

    def _pack(self) -> None:
        builders: dict[Kind, PackBuilder] = {}

        def finish(kind: Kind) -> None:
            while not self._idle.wait(0.2):
                self._raise()
            self._idle.clear()
            self._put(self._packs, builders.pop(kind).finish())

        while (item := self._blocks.get()) is not None:
            if isinstance(item, _Mark):
                if not item.flush:
                    item.done.set()
                    continue
                for kind in list(builders):
                    finish(kind)
                self._put(self._packs, item)
                continue
            plaintext = item.plaintext.result()
            builder = builders.get(item.kind)
            if builder is None:
                builder = builders[item.kind] = self._builder(item.kind)
            item.account.stored += builder.add(plaintext, item.ids, item.lengths)
            if builder.size >= self._pack_size or builder.chunks >= PACK_CHUNKS:
                finish(item.kind)

    def _builder(self, kind: Kind) -> PackBuilder:
        if kind is not Kind.DATA:
            return PackBuilder(self._access, kind)
        # data packs get full: with room for one block more, and mostly for the table
        buffer = self._spare.pop() if self._spare else bytearray(self._pack_size + (2 << 20))
        return PackBuilder(self._access, kind, buffer)

    def _upload(self) -> None:
        try:
            while (item := self._packs.get()) is not None:
                if isinstance(item, _Mark):
                    self._write_index()
                    item.done.set()
                    continue
                with item.data as data:
                    self._backend.create(item.file, data)
                if len(item.buffer) > self._pack_size:
                    self._spare = [item.buffer]
                if not self._pending:
                    self._oldest = time.monotonic()
                self._pending.append(item.entry)
                del item  # its bytes: before the next pack is finished
                self._idle.set()
                late = time.monotonic() - self._oldest > INDEX_SECONDS
                if late or len(self._pending) >= INDEX_PACKS:
                    self._write_index()
        except Exception:
            with suppress(Exception):  # the first error is the one to tell
                self._write_index()
            raise
        self._write_index()

    def _write_index(self) -> None:
        if not self._pending:
            return
        index = Index(run=self._run, domain=self._access.domain, time=int(time.time()), packs=self._pending)
        self._pending = []
        data = catalogue.seal_record(self._access, Kind.INDEX, index)
        digest = layout.sha256(data)
        self._backend.create(layout.content_file(Kind.INDEX, digest), data)
        self._indexed(digest, index)


class _ClosedError(Exception):
    """The writer was closed."""
