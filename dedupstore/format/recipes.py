"""Recipes: the tree of lists of chunk ids that puts a sequence together again (docs/format.md 9).

Invariant: what `ListWriter` is given in order, `Recipe` gives back in the same order; two sequences with equal
stretches share the nodes of those stretches, because nodes end where the ids say so.  A node is taken for what it is
only after all its numbers were held against the entry above it.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from operator import add, gt
from typing import Any, NamedTuple

from blake3 import blake3

from dedupstore.errors import DamageError
from dedupstore.format import layout
from dedupstore.format.run_records import Root

_MIN_ENTRIES = 8
_CUT_BELOW = 256 // 32  # of the id's fourth byte, the highest of its first u32: one entry in 32 ends a node
_REMEMBERED = 64 << 10

#: id, and bytes; of a node also its number of entries; in a layout also the bytes of skeleton and content it covers
Entry = tuple[Any, ...]
#: sums over entries: bytes; in a layout, of skeleton and content that they cover
Totals = tuple[int, int, int]
_NONE: Totals = (0, 0, 0)


class Form(NamedTuple):
    """What nodes of a kind of sequence look like: the entries of chunks (depth 1) and of nodes (above)."""

    of_chunks: struct.Struct
    of_nodes: struct.Struct

    def entry(self, depth: int) -> struct.Struct:
        """Return the form of the entries of a node of this depth."""
        return self.of_chunks if depth == 1 else self.of_nodes

    def totals(self, entry: Entry) -> Totals:
        """Return an entry's sums."""
        return (entry[1], entry[-2], entry[-1]) if self is LAYOUT else (entry[1], 0, 0)

    def place(self, totals: Totals) -> int:
        """Return the position that these sums lead to: in the sequence, or for a layout, in the stream."""
        return totals[1] + totals[2] if self is LAYOUT else totals[0]


PLAIN = Form(struct.Struct("<32sI"), struct.Struct("<32sQI"))
LAYOUT = Form(struct.Struct("<32sIQQ"), struct.Struct("<32sQIQQ"))


def node_key(id_key: bytes) -> bytes:
    """Return the key that names list nodes, so that no content can pass for one."""
    return blake3(id_key, derive_key_context="dedup1 list node").digest()


@dataclass
class _Level:
    """The open node of one level.  `flushed`: whether it has given a node to the level above."""

    node: bytearray = field(default_factory=bytearray)
    entries: int = 0
    totals: Totals = _NONE
    flushed: bool = False


class ListWriter:
    """Builds the tree of one sequence as its chunks come.

    `store(id, node)` is called with each finished node, the ones below first.  Memory: one open node a level.
    """

    def __init__(self, key: bytes, store: Callable[[bytes, bytes], None], form: Form = PLAIN) -> None:
        self._key = key
        self._store = store
        self._form = form
        self._levels = [_Level()]
        self._size = 0

    def extend(
        self, ids: Sequence[bytes], lengths: Sequence[int], covers: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Append chunks, in order; those of a layout with the bytes of skeleton and content that each covers."""
        numbers = [length.to_bytes(4, "little") for length in lengths]
        if covers:
            numbers = [
                b"".join((each, *(n.to_bytes(8, "little") for n in pair)))
                for each, pair in zip(numbers, covers, strict=True)
            ]
        ends = [position for position, id_ in enumerate(ids, 1) if id_[3] < _CUT_BELOW]
        start = 0
        while start < len(ids):
            level = self._levels[0]
            held = level.entries
            # the node ends after the first entry that says so, from the 8th of the node to the 256th
            at_least, at_most = start + max(_MIN_ENTRIES - held, 1), start + layout.MAX_NODE_ENTRIES - held
            found = bisect_left(ends, at_least)
            end = min(ends[found] if found < len(ends) else at_most, at_most)
            taken = slice(start, min(end, len(ids)))
            level.node += b"".join(chain.from_iterable(zip(ids[taken], numbers[taken], strict=True)))
            level.entries += taken.stop - start
            skeletons, contents = zip(*covers[taken], strict=True) if covers else ((), ())
            level.totals = _add(level.totals, (sum(lengths[taken]), sum(skeletons), sum(contents)))
            if end <= len(ids):
                self._flush(0)
            start = end
        self._size += sum(lengths)

    def finish(self) -> Root:
        """Store what is open and return the sequence's root."""
        if self._size == 0:
            return Root()
        depth = 0
        while self._levels[depth].entries != 1 or self._levels[depth].flushed:
            if self._levels[depth].entries:
                self._flush(depth)
            depth += 1
        if depth > layout.MAX_DEPTH:
            raise OverflowError("a stream longer than format 1 can describe")
        entry: Entry = self._form.entry(depth + 1).unpack(self._levels[depth].node)
        return Root(depth=depth, id=entry[0], size=self._size, entries=entry[2] if depth else 0)

    def _flush(self, depth: int) -> None:
        """End the open node of a level, and append its entry to the level above."""
        below = self._levels[depth]
        node, entries, totals = bytes(below.node), below.entries, below.totals
        self._levels[depth] = _Level(flushed=True)
        id_ = blake3(node, key=self._key).digest()
        self._store(id_, node)
        if depth + 1 == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[depth + 1]
        covered = totals[1:] if self._form is LAYOUT else ()
        level.node += self._form.of_nodes.pack(id_, totals[0], entries, *covered)
        level.entries += 1
        level.totals = _add(level.totals, totals)
        if level.entries >= _MIN_ENTRIES and (
            id_[3] < _CUT_BELOW or level.entries == layout.MAX_NODE_ENTRIES
        ):
            self._flush(depth + 1)


#: `load(ids, sizes)` yields the verified bytes of nodes, in order.
NodeLoader = Callable[[Sequence[bytes], Sequence[int]], Iterator[bytes]]


class Part(NamedTuple):
    """Some chunks of a sequence, and the sums over all before them."""

    before: Totals
    chunks: list[Entry]


class Recipe:
    """The tree of one sequence; that of a layout, which `covers` (skeleton, content), has sums of these, too.

    All that walk it raise `DamageError` where it contradicts itself.
    """

    def __init__(self, root: Root, load: NodeLoader, covers: tuple[int, int] | None = None) -> None:
        self.form = PLAIN if covers is None else LAYOUT
        self.size = root.size
        self.depth = root.depth
        entry: Entry = (root.id, root.size, *([root.entries] if root.depth else []), *(covers or ()))
        self.top = [entry] if root.size else []
        self._load = load
        if self.top:
            check_entries(self.form, root.depth, self.top)

    def chunks(self) -> Iterator[list[Entry]]:
        """Yield all chunks, in order, some at a time."""
        return (part.chunks for part in self.parts())

    def parts(self, start: int = 0, end: int | None = None) -> Iterator[Part]:
        """Yield the chunks from the one that holds position `start` up to `end`, reading no node that has none.

        Positions are bytes of the sequence; for a layout they are those of the stream.
        """
        return self._parts(self.depth, self.top, _NONE, start, end)

    def _parts(
        self, depth: int, entries: list[Entry], before: Totals, start: int, end: int | None
    ) -> Iterator[Part]:
        """Yield the chunks below entries that follow each other."""
        form = self.form
        if end is not None or start > form.place(before):
            before, entries = self._trim(entries, before, start, end)
        if not entries:
            return
        if depth == 0:
            yield Part(before, entries)
            return
        first = 1 if start > form.place(before) else len(entries)  # who jumps needs one of them, perhaps
        for some in (entries[:first], entries[first:]):
            for entry, children in zip(some, self._nodes(depth, some), strict=True):
                yield from self._parts(depth - 1, children, before, start, end)
                before = _add(before, form.totals(entry))

    def _trim(
        self, entries: list[Entry], before: Totals, start: int, end: int | None
    ) -> tuple[Totals, list[Entry]]:
        """Leave out the entries that end before `start` or begin at `end`."""
        form = self.form
        sums = list(accumulate(map(form.totals, entries), _add, initial=before))
        places = list(map(form.place, sums))
        first = bisect_right(places, start, 1) - 1
        last = len(entries) if end is None else bisect_left(places, end, 0, len(entries))
        return sums[first], entries[first:last]

    def distinct(self) -> Iterator[list[Entry]]:
        """Yield the chunks, but those below a node that comes again only once: so the time is that of its nodes.

        Memory: the entries of nodes above the lowest, and of some of the lowest.
        """
        return self._distinct(self.depth, self.top, [set() for _ in range(self.depth + 1)])

    def _distinct(self, depth: int, entries: list[Entry], seen: list[set[Entry]]) -> Iterator[list[Entry]]:
        if depth == 0:
            yield entries
            return
        fresh = [entry for entry in dict.fromkeys(entries) if entry not in seen[depth]]
        if depth == 1 and len(seen[1]) >= _REMEMBERED:
            seen[1].clear()  # to meet some again costs no more than the nodes above them have entries
        seen[depth].update(fresh)
        for children in self._nodes(depth, fresh):
            yield from self._distinct(depth - 1, children, seen)

    def _nodes(self, depth: int, entries: list[Entry]) -> Iterator[list[Entry]]:
        """Yield the entries of each of these nodes."""
        sizes = [node_size(self.form, depth, entry) for entry in entries]
        nodes = self._load([entry[0] for entry in entries], sizes)
        return (parse_node(self.form, depth, node, entry) for entry, node in zip(entries, nodes, strict=True))


def node_size(form: Form, depth: int, entry: Entry) -> int:
    """Return how many bytes the node of an entry has."""
    count: int = entry[2]
    return count * form.entry(depth).size


def parse_node(form: Form, depth: int, node: bytes, above: Entry) -> list[Entry]:
    """Return a node's entries; raises `DamageError` if they are not what the entry above them says."""
    if len(node) != node_size(form, depth, above):
        raise DamageError(f"the list node {above[0].hex()} has not as many entries as the one above it says")
    entries: list[Entry] = list(form.entry(depth).iter_unpack(node))
    totals = check_entries(form, depth - 1, entries)
    if totals != form.totals(above):
        raise DamageError(
            f"the list node {above[0].hex()} describes {totals[0]} bytes where {above[1]} are expected"
            if totals[0] != above[1]
            else f"the list node {above[0].hex()} covers other bytes than the one above it says"
        )
    return entries


def check_entries(form: Form, depth: int, entries: list[Entry]) -> Totals:
    """Return the sums of entries, of nodes of this depth or of chunks (0); raises `DamageError` for what none has."""
    _, sizes, *others = zip(*entries, strict=True)
    if min(sizes) < 1 or (depth and min(others[0]) < 1):
        raise DamageError("a list node has an entry of length 0")
    if depth == 0 and max(sizes) > layout.MAX_CHUNK:
        raise DamageError(f"a list node has a chunk of {max(sizes)} bytes, more than any has")
    if depth and (max(others[0]) > layout.MAX_NODE_ENTRIES or any(map(gt, others[0], sizes))):
        raise DamageError("a list node claims more entries than one can have")
    if form is LAYOUT and len(entries) > 1 and not all(map(add, others[-2], others[-1])):
        raise DamageError(
            "a list node has a part of a layout that covers nothing"
        )  # endless work for one byte
    return (sum(sizes), sum(others[-2]), sum(others[-1])) if form is LAYOUT else (sum(sizes), 0, 0)


def _add(one: Totals, other: Totals) -> Totals:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
