"""Read a stored stream at any place, as a mount does.

Invariant: what is returned are the stream's bytes at that place, each verified.  A read costs one list node a level of
each sequence, and the blocks that hold the bytes; what was read lately is kept, within bounds.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate, chain
from threading import Lock
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from dedupstore.chunks import splitting
from dedupstore.format.recipes import Entry, Part, Recipe
from dedupstore.format.run_records import Stream
from dedupstore.reading.chunk_reader import Stretch
from dedupstore.reading.sequence_reader import STEP_BLOCKS

if TYPE_CHECKING:
    from dedupstore.reading.stream_reader import StreamReader

_KEPT_NODES = 4 << 20  # bytes
_KEPT_LENGTHS = 4 << 20
MOST = 8 << 20  # bytes of a read
_STEP = 1 << 20  # bytes of a larger read that are put together at a time

V = TypeVar("V", bytes, memoryview)


class _Kept(Generic[V]):
    """What was used lately, up to a number of bytes.  Threads share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> V | None:
        """Return a value that is kept."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def keep(self, key: Hashable, value: V) -> None:
        """Keep a value, and let go of those not used for longest."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._size += memoryview(value).nbytes
            while self._size > self._most:
                _, old = self._values.popitem(last=False)
                self._size -= memoryview(old).nbytes


class _Ranges(NamedTuple):
    """Where some bytes of a stream lie: the positions in skeleton and content, and the ranges that alternate.

    The first range is one of skeleton.
    """

    skeleton: int
    content: int
    lengths: "array[int]"


class RandomReader:
    """Reads one stream at any place; threads may share it."""

    def __init__(self, reader: "StreamReader", stream: Stream) -> None:
        reader.check_access()
        self._reader = reader
        self._nodes: _Kept[bytes] = _Kept(_KEPT_NODES)
        self._lengths: _Kept[memoryview] = _Kept(_KEPT_LENGTHS)
        self._recipes = reader.recipes(stream, self._load)
        self.size = stream.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the bytes from `offset` on, `size` of them (at most `MOST`), fewer only at the end.

        Raises `DamageError` where they cannot be had.
        """
        if offset < 0 or not 0 <= size <= MOST:
            raise ValueError(f"no read of {size} bytes at {offset}: {MOST} at once, at most")
        end = min(offset + size, self.size)
        steps = range(offset, end, _STEP)
        return b"".join(self._piece(at, min(at + _STEP, end)) for at in steps)

    def _piece(self, start: int, end: int) -> bytes | bytearray:
        if not self._recipes.layout.size:
            return self._bytes(self._recipes.content, start, end)
        ranges = self._ranges(start, end)
        sources = [
            memoryview(self._bytes(recipe, at, at + sum(ranges.lengths[first::2])))
            for first, recipe, at in (
                (0, self._recipes.skeleton, ranges.skeleton),
                (1, self._recipes.content, ranges.content),
            )
        ]
        woven, filled, passed = bytearray(end - start), 0, [0, 0]  # not a piece for each of a million ranges
        for number, length in enumerate(ranges.lengths):
            at = passed[number % 2]
            woven[filled : filled + length] = sources[number % 2][at : at + length]
            passed[number % 2] = at + length
            filled += length
        return woven

    def _ranges(self, start: int, end: int) -> _Ranges:
        """Find out what the layout says of the bytes from `start` to `end`, which are some."""
        parts = list(self._recipes.layout.parts(start, end))
        lengths = array("Q")
        for chunk in chain.from_iterable(map(self._chunks, parts)):
            lengths.frombytes(chunk.cast("B"))
        _, skeleton, content = parts[0].before
        ends = array("Q", accumulate(lengths, initial=skeleton + content))
        first = bisect_right(ends, start, 1) - 1
        last = bisect_left(ends, end, first + 1)
        skeleton += sum(lengths[:first:2])
        content += sum(lengths[1:first:2])
        found = lengths[first:last]
        found[0] -= start - ends[first]
        found[-1] -= ends[last] - end
        if first % 2:
            return _Ranges(skeleton, content + start - ends[first], array("Q", [0]) + found)
        return _Ranges(skeleton + start - ends[first], content, found)

    def _chunks(self, part: Part) -> Iterator[memoryview]:
        """Yield the lengths that each of some chunks of the layout has."""
        at, layout = part.before[0], self._recipes.layout
        for entry in part.chunks:
            _, length, *covers = entry
            first, ended = at == 0, at + length == layout.size
            lengths = self._lengths.get((entry, first, ended))
            if lengths is None:
                chunk = self._fetch([entry])
                lengths = splitting.pairs(chunk, (covers[0], covers[1]), first=first, ended=ended)
                self._lengths.keep((entry, first, ended), lengths)
            yield lengths
            at += length

    def _bytes(self, recipe: Recipe, start: int, end: int) -> bytes:
        """Return bytes of skeleton or content."""
        if start == end:
            return b""
        parts = list(recipe.parts(start, end))
        skipped = start - parts[0].before[0]
        return self._fetch([chunk for part in parts for chunk in part.chunks])[
            skipped : skipped + end - start
        ]

    def _fetch(self, chunks: list[Entry]) -> bytes:
        """Return chunks that follow each other; a few blocks are held at a time."""
        pieces: list[memoryview] = []
        step: list[Stretch] = []
        for stretch in chain.from_iterable(self._reader.stretches([chunks])):
            places = {(each.pack, each.block) for each in (*step, stretch)}
            if len(places) > STEP_BLOCKS:
                pieces += self._reader.data.read(step)
                step = []
            step.append(stretch)
        return b"".join((*pieces, *self._reader.data.read(step)))

    def _load(self, ids: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield list nodes: see `StreamReader.nodes`."""
        keys = list(zip(ids, sizes, strict=True))
        nodes = {key: node for key in keys if (node := self._nodes.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in nodes]
        read = self._reader.nodes([id_ for id_, _ in missing], [size for _, size in missing])
        for key, node in zip(missing, read, strict=True):
            nodes[key] = node
            self._nodes.keep(key, node)
        return map(nodes.__getitem__, keys)
