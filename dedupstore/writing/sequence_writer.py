"""The hot path: cut, hash and look up one byte sequence of a stream; what is new goes on as blocks.

Invariant: every byte given to `write` is in exactly one chunk of the recipe, in order, and every chunk of the
recipe is either durable and known in this domain, or has been submitted in this run.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, chain
from operator import sub
from threading import RLock

from dedupstore.chunks import _divide
from dedupstore.chunks.chunker import Chunker
from dedupstore.chunks.ids import identify
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.format.recipes import ListWriter
from dedupstore.format.run_records import Root
from dedupstore.writing.pack_writer import Account, PackWriter

BLOCK_SIZE = 1 << 20
BLOCK_CHUNKS = 32 << 10  # of pieces of a few bytes: a pack and its index file must hold all their ids

_SMALL_BLOCK = 64 << 10
_NODES = 64


class KnownChunks:
    """Which chunks need not be stored again: durable ones by the cache, this run's own by `fresh`."""

    def __init__(self, durable: Callable[[list[bytes]], list[bool]]) -> None:
        self._durable = durable
        self._fresh: set[bytes] = set()

    def missing(self, ids: list[bytes]) -> list[int]:
        """Return the positions of short ids met for the first time, and note them as this run's own."""
        fresh = self._fresh
        found = []
        for position, known in enumerate(self._durable(ids)):
            if not known and (id_ := ids[position]) not in fresh:
                fresh.add(id_)
                found.append(position)
        return found

    def forget(self, ids: bytes) -> None:
        """Forget short ids (a column): the cache answers for them now."""
        self._fresh.difference_update(chain.from_iterable(struct.iter_unpack(f"{layout.SHORT_ID}s", ids)))


class _OpenBlock:
    """A block that is being filled; short `ids` and `lengths` are the columns of its chunks."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0
        self.ids = bytearray()
        self.lengths = bytearray()

    def append(self, data: memoryview, most: int) -> None:
        """Append bytes to a block that will have `most`.

        What a checkpoint may have submitted, and is still read, stays as it is.
        """
        size = self.size + len(data)
        if size > len(self.data):
            # most streams have little that is new, and most sequences are short
            larger = bytearray(max(size, _SMALL_BLOCK if size <= _SMALL_BLOCK else most))
            larger[: self.size] = memoryview(self.data)[: self.size]
            self.data = larger
        self.data[self.size : size] = data
        self.size = size


class BlockWriter:
    """Fills blocks of one kind with new chunks, each with about `size` bytes.

    Those of several streams that are written at once share `lock`: under it, each chunk that is noted as this run's
    own is either in an open block or submitted.
    """

    def __init__(
        self,
        packs: PackWriter,
        known: KnownChunks,
        lock: RLock,
        kind: Kind,
        account: Account,
        size: int = BLOCK_SIZE,
    ) -> None:
        self._size = size
        self._packs = packs
        self._known = known
        self._lock = lock
        self._kind = kind
        self._account = account
        self._open = _OpenBlock()

    def store(self, ids: list[bytes], data: memoryview, starts: list[int], ends: list[int]) -> None:
        """Append those of the chunks that are not known yet; chunk i is `data[starts[i]:ends[i]]`.

        `ids` are short.  The chunks follow one another.
        """
        with self._lock:
            try:
                for first, last in _runs(self._known.missing(ids)):
                    while first < last:
                        first = self._add(ids, data, starts, ends, first, last)
            except BaseException as error:
                self._packs.fail(error)  # some chunks may be noted but in no block: nothing can rely on them
                raise

    def _add(
        self, ids: list[bytes], data: memoryview, starts: list[int], ends: list[int], first: int, last: int
    ) -> int:
        """Append as many of the chunks from `first` to `last`, which is not one of them, as go into one block.

        Return the first that does not.
        """
        block, start = self._open, starts[first]
        most = first + BLOCK_CHUNKS - len(block.lengths) // 4
        end = min(bisect_right(ends, start + self._size - block.size, first, last), most)
        if end == first:
            if block.size:
                self.flush()
                return first
            end = first + 1  # larger than a block
        block.append(data[start : ends[end - 1]], self._size)
        block.ids += b"".join(ids[first:end])
        block.lengths += struct.pack(f"<{end - first}I", *map(sub, ends[first:end], starts[first:end]))
        return end

    def flush(self) -> None:
        """Submit the open block."""
        with self._lock:
            block = self._open
            if block.size:
                data = memoryview(block.data)[: block.size]
                self._packs.submit(self._kind, data, bytes(block.ids), bytes(block.lengths), self._account)
                # all at once, and not sooner: a signal may end any line, and a block submitted twice does no harm
                self._open = _OpenBlock()


def _runs(positions: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the stretches of ascending positions that follow one another: the first, and that behind the last."""
    first = end = 0
    for position in positions:
        if position != end:
            if first < end:
                yield first, end
            first = position
        end = position + 1
    if first < end:
        yield first, end


class NodeWriter:
    """Passes list nodes on to blocks, many at a time: looking one up costs more than storing it."""

    def __init__(self, blocks: BlockWriter) -> None:
        self._blocks = blocks
        self._nodes: list[tuple[bytes, bytes]] = []

    def store(self, id_: bytes, node: bytes) -> None:
        """Take a node; it is noted as stored when `flush` comes."""
        self._nodes.append((id_, node))
        if len(self._nodes) >= _NODES:
            self.flush()

    def flush(self) -> None:
        """Pass on the nodes held back."""
        nodes, self._nodes = self._nodes, []
        if not nodes:
            return
        ends = list(accumulate(len(node) for _, node in nodes))
        data = memoryview(b"".join(node for _, node in nodes))
        self._blocks.store([id_[: layout.SHORT_ID] for id_, _ in nodes], data, [0, *ends[:-1]], ends)


class SequenceWriter:
    """One sequence: content, skeleton or layout."""

    def __init__(self, id_key: bytes, chunker: Chunker, blocks: BlockWriter, recipe: ListWriter) -> None:
        self._id_key = id_key
        self._chunker = chunker
        self._blocks = blocks
        self._recipe = recipe
        self._tail = bytearray()
        self._covers: list[tuple[int, int]] = []  # of a layout's chunks that were cut: skeleton and content

    def cut(self, data: memoryview, ends: bytes, final: bool) -> list[int]:
        """Return where the chunks of `data`, whose first byte begins one, end; also at each of `ends`.

        The caller presents what is behind the last again, at the front of what follows.
        """
        return self._chunker.cuts(data, final=final, ends=ends)

    def store(self, data: memoryview, cuts: list[int]) -> None:
        """Take the chunks of `data` that end at these offsets into the recipe, and store what is new."""
        if not cuts:
            return
        starts = [0, *cuts[:-1]]
        ids = identify(data, starts, cuts, self._id_key)
        self._recipe.extend(ids, list(map(sub, cuts, starts)), self._covers)
        self._covers = []
        self._blocks.store([id_[: layout.SHORT_ID] for id_ in ids], data, starts, cuts)

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


class LayoutWriter(SequenceWriter):
    """A stream's layout: its chunks hold whole pairs (docs/format.md 6, 9)."""

    def cut(self, data: memoryview, ends: bytes, final: bool) -> list[int]:
        """Return where the chunks end: each with the pair that holds the last byte that the chunker would take."""
        cuts: list[int] = []
        at, longest = 0, self._chunker.sizes.maximum
        while at < len(data):
            rest = data[at:]
            found = self._chunker.cuts(rest[:longest], final=final and len(rest) <= longest)
            pairs = _divide.pairs(rest, found[0], True, final) if found else None
            if pairs is None:
                break
            _, size, skeleton, content = pairs
            self._covers.append((skeleton, content))
            at += size
            cuts.append(at)
        return cuts
