"""The hot path: one byte sequence of a stream is cut, hashed and looked up; what is new goes on as blocks.

Invariant: every byte given to `write` is in exactly one chunk of the recipe, in order, and every chunk of the
recipe is either durable and known in this domain, or has been submitted in this run.
"""

import struct
from collections.abc import Callable
from threading import RLock

from blake3 import blake3

from dedupstore.chunker import Chunker
from dedupstore.layout import Kind
from dedupstore.packing import Account, PackWriter
from dedupstore.recipes import ListWriter
from dedupstore.records import Root

BLOCK_SIZE = 1 << 20
BLOCK_CHUNKS = 32 << 10  # of pieces of a few bytes: a pack and its index file must hold all their ids


class KnownChunks:
    """Which chunks need not be stored again: durable ones by the cache, this run's own by `fresh`."""

    def __init__(self, durable: Callable[[list[bytes]], list[bool]]) -> None:
        self._durable = durable
        self._fresh: set[bytes] = set()

    def missing(self, ids: list[bytes]) -> list[int]:
        """Return the positions of ids met for the first time, and note them as this run's own."""
        fresh = self._fresh
        found = []
        for position, known in enumerate(self._durable(ids)):
            if not known and (id_ := ids[position]) not in fresh:
                fresh.add(id_)
                found.append(position)
        return found

    def forget(self, ids: bytes) -> None:
        """Forget ids (a column of 32 bytes each): the cache answers for them now."""
        self._fresh.difference_update(ids[at : at + 32] for at in range(0, len(ids), 32))


class _OpenBlock:
    """A block that is being filled; `ids` and `lengths` are the columns of its chunks."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0
        self.ids = bytearray()
        self.lengths = bytearray()


class BlockWriter:
    """Fills blocks of one kind with new chunks.

    Those of several streams that are written at once share `lock`: whoever holds it sees each chunk that is
    noted as this run's own either in an open block or submitted.
    """

    def __init__(
        self, packs: PackWriter, known: KnownChunks, lock: RLock, kind: Kind, account: Account
    ) -> None:
        self._packs = packs
        self._known = known
        self._lock = lock
        self._kind = kind
        self._account = account
        self._open = _OpenBlock()

    def store(self, ids: list[bytes], data: memoryview, starts: list[int], ends: list[int]) -> None:
        """Append those of the chunks that are not known yet; chunk i is `data[starts[i]:ends[i]]`."""
        with self._lock:
            try:
                for position in self._known.missing(ids):
                    self._add(ids[position], data[starts[position] : ends[position]])
            except BaseException as error:
                self._packs.fail(error)  # some may be noted and not be in a block: nothing can rely on them
                raise

    def _add(self, id_: bytes, chunk: memoryview) -> None:
        if self._open.size + len(chunk) > BLOCK_SIZE or len(self._open.lengths) >= 4 * BLOCK_CHUNKS:
            self.flush()
        block = self._open
        if not block.data:
            block.data = bytearray(BLOCK_SIZE)
        end = block.size + len(chunk)
        block.data[block.size : end] = chunk  # grows for a chunk that is larger than a block
        block.size = end
        block.ids += id_
        block.lengths += struct.pack("<I", len(chunk))

    def flush(self) -> None:
        """Submit what there is."""
        with self._lock:
            block = self._open
            if block.size:
                data = memoryview(block.data)[: block.size]
                self._packs.submit(self._kind, data, bytes(block.ids), bytes(block.lengths), self._account)
                # all at once, and not sooner: a signal may end any line, and a block submitted twice does no harm
                self._open = _OpenBlock()


class SequenceWriter:
    """One sequence: content, skeleton or layout."""

    def __init__(self, id_key: bytes, chunker: Chunker, blocks: BlockWriter, recipe: ListWriter) -> None:
        self._id_key = id_key
        self._chunker = chunker
        self._blocks = blocks
        self._recipe = recipe
        self._tail = bytearray()

    def cut(self, data: memoryview, ends: bytes, final: bool) -> list[int]:
        """Return where the chunks of `data`, whose first byte begins one, end; also at each of `ends`.

        The caller presents what is behind the last again, at the front of what follows.
        """
        return self._chunker.cuts(data, final=final, ends=ends)

    def store(self, data: memoryview, cuts: list[int]) -> None:
        """Take the chunks of `data` that end at these offsets into the recipe, and store what is new."""
        if not cuts:
            return
        key = self._id_key
        starts = [0, *cuts[:-1]]
        ids = [blake3(data[start:end], key=key).digest() for start, end in zip(starts, cuts, strict=True)]
        self._recipe.extend(ids, [end - start for start, end in zip(starts, cuts, strict=True)])
        self._blocks.store(ids, data, starts, cuts)

    def write(self, data: bytes, *, final: bool = False) -> None:
        """Append bytes, which are copied; `final` ends the chunk with them."""
        self._tail += data
        if final or len(self._tail) >= BLOCK_SIZE:
            with memoryview(self._tail) as view:
                cuts = self.cut(view, b"", final)
                self.store(view, cuts)
            if cuts:
                del self._tail[: cuts[-1]]

    def finish(self) -> Root:
        """End the sequence and return its root."""
        self.write(b"", final=True)
        self._blocks.flush()
        return self._recipe.finish()
