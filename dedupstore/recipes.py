"""Recipes: the tree of lists of chunk ids that puts a sequence together again (docs/format.md 9).

Invariant: what `ListWriter` is given in order, `chunks` gives back in the same order; two sequences with equal
stretches share the nodes of those stretches, because nodes end where the ids say so.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter

from blake3 import blake3

from dedupstore import layout
from dedupstore.errors import DamageError
from dedupstore.records import Root

ENTRY_SIZE = 36
_NUMBER = itemgetter(1)  # of an entry: a chunk's length, or how many entries a node has
_MIN_ENTRIES = 8
_CUT_BELOW = 256 // 32  # of the id's fourth byte, the highest of its first u32: one entry in 32 ends a node


def node_key(id_key: bytes) -> bytes:
    """Return the key that names list nodes, so that no content can pass for one."""
    return blake3(id_key, derive_key_context="dedup1 list node").digest()


class ListWriter:
    """Builds the tree of one sequence as its chunks come.

    `store(id, node)` is called with each finished node, the ones below first.  Memory: one open node a level.
    """

    def __init__(self, key: bytes, store: Callable[[bytes, bytes], None]) -> None:
        self._key = key
        self._store = store
        self._levels: list[bytearray] = [bytearray()]
        self._flushed = [False]  # whether the level has given a node to the one above
        self._size = 0

    def extend(self, ids: Sequence[bytes], lengths: Sequence[int]) -> None:
        """Append chunks, in order; the same as to `_add` each to level 0, but many at a time."""
        numbers = [length.to_bytes(4, "little") for length in lengths]
        ends = [position for position, id_ in enumerate(ids, 1) if id_[3] < _CUT_BELOW]
        node = self._levels[0]
        start = 0
        while start < len(ids):
            held = len(node) // ENTRY_SIZE
            # the node ends after the first entry that says so, from the 8th of the node to the 256th
            at_least, at_most = start + max(_MIN_ENTRIES - held, 1), start + layout.MAX_NODE_ENTRIES - held
            found = bisect_left(ends, at_least)
            end = min(ends[found] if found < len(ends) else at_most, at_most)
            node += b"".join(chain.from_iterable(zip(ids[start:end], numbers[start:end], strict=True)))
            if end <= len(ids):
                self._flush(0)
            start = end
        self._size += sum(lengths)

    def finish(self) -> Root:
        """Store what is open and return the sequence's root."""
        if self._size == 0:
            return Root()
        level = 0
        while len(self._levels[level]) != ENTRY_SIZE or self._flushed[level]:
            if self._levels[level]:
                self._flush(level)
            level += 1
        if level > layout.MAX_DEPTH:
            raise OverflowError("a stream longer than format 1 can describe")
        return Root(depth=level, id=bytes(self._levels[level][:32]), size=self._size)

    def _add(self, level: int, id_: bytes, value: int) -> None:
        if level == len(self._levels):
            self._levels.append(bytearray())
            self._flushed.append(False)
        node = self._levels[level]
        node += id_
        node += value.to_bytes(4, "little")
        entries = len(node) // ENTRY_SIZE
        if entries >= _MIN_ENTRIES and (id_[3] < _CUT_BELOW or entries == layout.MAX_NODE_ENTRIES):
            self._flush(level)

    def _flush(self, level: int) -> None:
        node = bytes(self._levels[level])
        self._levels[level].clear()
        self._flushed[level] = True
        id_ = blake3(node, key=self._key).digest()
        self._store(id_, node)
        self._add(level + 1, id_, len(node) // ENTRY_SIZE)


NodeLoader = Callable[[Sequence[bytes], Sequence[int]], Iterator[bytes]]


def chunks(root: Root, load: NodeLoader) -> Iterator[list[tuple[bytes, int]]]:
    """Yield the chunks (id, length in bytes) of a sequence, in order, some at a time.

    `load(ids, sizes)` yields the verified bytes of nodes, in order.  Raises `DamageError` if the tree
    contradicts itself or the root's size.
    """
    if root.size == 0:
        return
    total = 0
    if root.depth == 0:
        yield [(root.id, root.size)]
        return
    for leaves in _below(root.depth, [(root.id, 0)], load):
        total += sum(map(_NUMBER, leaves))
        if total > root.size:
            break
        yield leaves
    if total != root.size:
        raise DamageError(
            f"the recipe {root.id.hex()} describes {total} bytes where {root.size} are expected"
        )


def _below(
    depth: int, entries: list[tuple[bytes, int]], load: NodeLoader
) -> Iterator[list[tuple[bytes, int]]]:
    """Yield the leaves below nodes of this depth; an entry's number is 0 where the node's size is not known."""
    for node in load([entry[0] for entry in entries], [entry[1] * ENTRY_SIZE for entry in entries]):
        children = parse_node(node)
        if depth == 1:
            yield children
        else:
            yield from _below(depth - 1, children, load)


def parse_node(node: bytes) -> list[tuple[bytes, int]]:
    """Return the entries (id, number) of a list node; raises `DamageError` if it is none."""
    count, rest = divmod(len(node), ENTRY_SIZE)
    if rest or not 1 <= count <= layout.MAX_NODE_ENTRIES:
        raise DamageError(f"a list node has {len(node)} bytes, which is no number of entries")
    entries: list[tuple[bytes, int]] = list(struct.iter_unpack("<32sI", node))
    if not all(map(_NUMBER, entries)):
        raise DamageError("a list node has an entry of length 0")
    return entries
