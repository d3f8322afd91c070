"""Chunks come back: blocks are fetched and opened, every chunk verified.

Invariant: no byte is returned whose chunk does not hash to its id.  A chunk whose first copy is missing or wrong
is taken from the next.  Memory is bounded: the blocks of what is asked for, and a few more.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from threading import Lock
from typing import NamedTuple, TypeVar

from blake3 import blake3

from dedupstore import blocks, layout, packs
from dedupstore.access import Access
from dedupstore.backends.contract import Backend
from dedupstore.blocks import BlockKey
from dedupstore.cache import CachedPack, IndexCache, Location
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.layout import Kind
from dedupstore.records import PackKey

READ_STEP = 64 << 10
CACHE_BLOCKS = 10

_NOTHING = memoryview(b"")

K = TypeVar("K")
V = TypeVar("V")


class Wanted(NamedTuple):
    """A chunk of a stream and the places where it lies, the first to try first."""

    id: bytes
    length: int
    places: list[Location]


LookUp = Callable[[bytes], list[Location]]


class ChunkReader:
    """Fetches and verifies chunks of one kind of pack.  `read` may be called from several threads."""

    def __init__(
        self, backend: Backend, access: Access, cache: IndexCache, kind: Kind, key: bytes, look_up: LookUp
    ) -> None:
        self._backend = backend
        self._look_up = look_up
        self._access = access
        self._cache = cache
        self._kind = kind
        self._key = key  # of the chunks' ids
        self._lock = Lock()
        self._packs: OrderedDict[int, CachedPack] = OrderedDict()
        self._right_kind: dict[int, bool] = {}
        self._keys: OrderedDict[PackKey, BlockKey] = (
            OrderedDict()
        )  # whole: a key id alone could be another writer's
        self._blocks: OrderedDict[tuple[int, int], memoryview] = OrderedDict()

    def pack(self, number: int) -> CachedPack:
        """Return what the cache says of a pack."""
        with self._lock:
            if number not in self._packs:
                _remember(self._packs, number, self._cache.pack(number), 1024)
            return self._packs[number]

    def has(self, number: int) -> bool:
        """Tell whether the pack is of this reader's kind."""
        right = self._right_kind.get(number)
        if right is None:
            right = self._right_kind[number] = self.pack(number).kind == self._kind.value.decode()
        return right

    def read(self, wanted: Sequence[Wanted]) -> list[memoryview]:
        """Return the chunks' bytes, in order; raises `DamageError` for one that cannot be had."""
        held = self._prefetch((chunk.places[0].pack, chunk.places[0].block) for chunk in wanted)
        return [self._chunk(chunk, held) for chunk in wanted]

    def read_joined(self, wanted: Sequence[Wanted]) -> list[memoryview]:
        """Return the same bytes in fewer pieces: chunks that lie one after the other are one."""
        held = self._prefetch((chunk.places[0].pack, chunk.places[0].block) for chunk in wanted)
        key = self._key
        pieces: list[memoryview] = []
        source, start, end = memoryview(b""), 0, 0
        for chunk in wanted:
            place = chunk.places[0]
            block = held.get((place.pack, place.block))
            at, stop = place.offset, place.offset + place.length
            if block is None or blake3(block[at:stop], key=key).digest() != chunk.id:
                block = self._chunk(chunk, held)
                at, stop = 0, len(block)
            if block is not source or at != end:
                pieces.append(source[start:end])
                source, start = block, at
            end = stop
        pieces.append(source[start:end])
        return pieces[1:]  # the first is the empty one that this began with

    def _prefetch(self, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], memoryview]:
        """Open the blocks (pack, position in it); neighbours in a pack are fetched in one read.

        A block that fails is left out: its chunks are then tried one by one.
        """
        held: dict[tuple[int, int], memoryview] = {}
        needed: set[tuple[int, int]] = set()
        with self._lock:
            for place in set(places):
                if place in self._blocks:
                    self._blocks.move_to_end(place)
                    held[place] = self._blocks[place]
                else:
                    needed.add(place)
        run: list[tuple[int, int]] = []
        for place in sorted(needed):
            if run and place != (run[-1][0], run[-1][1] + 1):
                self._fetch(run, held)
                run = []
            run.append(place)
        if run:
            self._fetch(run, held)
        return held

    def _fetch(self, run: list[tuple[int, int]], held: dict[tuple[int, int], memoryview]) -> None:
        pack = self.pack(run[0][0])
        last = pack.blocks[run[-1][1]]
        # in fixed steps, so that the storage does not see how long blocks are
        begin = pack.blocks[run[0][1]].at // READ_STEP * READ_STEP
        end = min(-(-(last.at + last.stored) // READ_STEP) * READ_STEP, pack.size)
        try:
            data = self._backend.read(pack_file(pack), begin, end - begin)
        except (NotFoundError, DamageError):
            return
        view = memoryview(data)
        for place in run:
            block = pack.blocks[place[1]]
            start = block.at - begin
            try:
                held[place] = memoryview(self._open(pack, place[1], view[start : start + block.stored]))
            except DamageError:
                continue
        with self._lock:
            for place in run:
                if place in held:
                    _remember(self._blocks, place, held[place], CACHE_BLOCKS)

    def _open(self, pack: CachedPack, number: int, data: memoryview) -> bytes:
        block = pack.blocks[number]
        sealed = pack.keys[block.key]
        with self._lock:
            key = self._keys.get(sealed)
        if key is None:
            key = packs.open_key(self._access, self._kind, sealed)
            with self._lock:
                _remember(self._keys, sealed, key, 256)
        return blocks.open_block(key, block.number, data, block.unpacked, pack_file(pack))

    def _chunk(self, chunk: Wanted, held: dict[tuple[int, int], memoryview]) -> memoryview:
        problem = "it is in no index"
        for place in chain(chunk.places, self._others(chunk)):
            at = (place.pack, place.block)
            block = held.get(at)
            if block is None:
                block = self._prefetch([at]).get(at)
            if not block:
                problem = f"{pack_file(self.pack(place.pack))} is missing or damaged"
                held[at] = _NOTHING  # is not fetched again for each of its chunks
                continue
            data = block[place.offset : place.offset + place.length]
            if blake3(data, key=self._key).digest() == chunk.id:
                return data if at in held else memoryview(bytes(data))  # holds no block that nobody asked for
            problem = f"{pack_file(self.pack(place.pack))} holds something else in its place"
        raise DamageError(
            f"the chunk {chunk.id.hex()} cannot be read: {problem}", "run `dedup check --read-data`"
        )

    def _others(self, chunk: Wanted) -> Iterator[Location]:
        """Look the chunk up again, for places not tried yet: those it came with may have been inferred."""
        yield from (
            place
            for place in self._look_up(chunk.id)
            if place.length == chunk.length and place not in chunk.places
        )


def pack_file(pack: CachedPack) -> str:
    """Return the pack's name in the repository."""
    return layout.content_file(Kind(pack.kind.encode()), pack.name)


def _remember(memory: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    memory[key] = value
    while len(memory) > limit:
        memory.popitem(last=False)
