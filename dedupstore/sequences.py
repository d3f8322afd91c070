"""The hot path: one byte sequence of a stream is cut, hashed and looked up; what is new goes on as blocks.

Invariant: every byte given to `write` is in exactly one chunk of the recipe, in order, and every chunk of the
recipe is either durable and known in this domain, or has been submitted in this run.
"""

import struct
from collections.abc import Callable

from blake3 import blake3

from dedupstore.chunker import Chunker
from dedupstore.layout import Kind
from dedupstore.packing import Account, PackWriter
from dedupstore.recipes import ListWriter
from dedupstore.records import Root

BLOCK_SIZE = 1 << 20


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
        """Forget ids (a column of 32 bytes each): the cache answers for them now, or they were not stored."""
        self._fresh.difference_update(ids[at : at + 32] for at in range(0, len(ids), 32))


class BlockWriter:
    """Fills blocks of one kind with new chunks."""

    def __init__(self, packs: PackWriter, kind: Kind, account: Account) -> None:
        self._packs = packs
        self._kind = kind
        self._account = account
        self._clear()

    def add(self, id_: bytes, chunk: bytes | memoryview) -> None:
        """Append a chunk, and submit the block if that fills it."""
        if len(self._data) + len(chunk) > BLOCK_SIZE:
            self.flush()
        self._data += chunk
        self._ids += id_
        self._lengths += struct.pack("<I", len(chunk))

    def flush(self) -> None:
        """Submit what there is."""
        if self._data:
            self._packs.submit(self._kind, self._data, bytes(self._ids), bytes(self._lengths), self._account)
            self._clear()

    def drop(self) -> bytes:
        """Throw away what was not submitted, and return its ids."""
        ids = bytes(self._ids)
        self._clear()
        return ids

    def _clear(self) -> None:
        self._data = bytearray()
        self._ids = bytearray()
        self._lengths = bytearray()


class NodeStore:
    """Stores list nodes, once each."""

    def __init__(self, known: KnownChunks, writer: BlockWriter) -> None:
        self._known = known
        self._writer = writer

    def __call__(self, id_: bytes, node: bytes) -> None:
        """Store the node unless it is known."""
        if self._known.missing([id_]):
            self._writer.add(id_, node)


class SequenceWriter:
    """One sequence: content, skeleton or layout."""

    def __init__(
        self, id_key: bytes, chunker: Chunker, known: KnownChunks, blocks: BlockWriter, recipe: ListWriter
    ) -> None:
        self._id_key = id_key
        self._chunker = chunker
        self._known = known
        self._blocks = blocks
        self._recipe = recipe
        self._tail = bytearray()

    def cut(self, data: memoryview, final: bool) -> tuple[int, list[int]]:
        """Return how many bytes from the front of `data`, which begins a chunk, are whole chunks, and their ends.

        The caller presents the rest again, at the front of what follows.
        """
        cuts = self._chunker.cuts(data, final=final)
        return (cuts[-1] if cuts else 0), cuts

    def store(self, data: memoryview, cuts: list[int]) -> None:
        """Take the chunks of `data` that end at these offsets into the recipe, and store what is new."""
        if not cuts:
            return
        key = self._id_key
        starts = [0, *cuts[:-1]]
        ids = [blake3(data[start:end], key=key).digest() for start, end in zip(starts, cuts, strict=True)]
        self._recipe.extend(ids, [end - start for start, end in zip(starts, cuts, strict=True)])
        for position in self._known.missing(ids):
            self._blocks.add(ids[position], data[starts[position] : cuts[position]])

    def write(self, data: bytes | memoryview, *, final: bool = False) -> None:
        """Append bytes, which are copied; `final` ends the chunk with them."""
        self._tail += data
        if final or len(self._tail) >= BLOCK_SIZE:
            with memoryview(self._tail) as view:
                taken, cuts = self.cut(view, final)
                self.store(view, cuts)
            del self._tail[:taken]

    def finish(self) -> Root:
        """End the sequence and return its root."""
        self.write(b"", final=True)
        self._blocks.flush()
        return self._recipe.finish()
