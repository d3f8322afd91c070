"""Read chunks: fetch and open their blocks, and verify each.

Invariant: no byte is returned whose chunk does not hash to its id.  A chunk whose first copy is missing or wrong
is taken from the next.  A block that several threads ask for is fetched by one.  Memory is bounded: the blocks of
what is asked for, and a few more.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate
from threading import Lock
from typing import NamedTuple, TypeVar

from dedupstore.access import Access
from dedupstore.backends.contract import Backend
from dedupstore.cache.index_cache import CachedPack, IndexCache, Location
from dedupstore.chunks.ids import all_proven, proven
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.format import blocks, packs
from dedupstore.format.blocks import BlockKey
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import PackKey

READ_STEP = 64 << 10
_BLOCKS = {Kind.DATA: 14, Kind.TREE: 6}  # kept after use: a stream alternates between several
_REPLACED = 16  # chunks at a time; their blocks are held meanwhile

_NOTHING = memoryview(b"")

_Place = tuple[int, int]  # a pack, and the position of a block in it

K = TypeVar("K")
V = TypeVar("V")


class Stretch(NamedTuple):
    """Chunks that follow each other in a stream and lie so in a block (`block`: its position in the pack)."""

    pack: int
    block: int
    offset: int
    size: int
    ids: list[bytes]
    lengths: list[int]

    def after(self, count: int) -> tuple[int, "Stretch | None"]:
        """Drop the chunks that end within the first `count` bytes: return their bytes, and the rest if there is any."""
        if count >= self.size:
            return self.size, None
        ends = list(accumulate(self.lengths, initial=0))
        chunks = bisect_right(ends, count) - 1
        dropped = ends[chunks]
        rest = self.ids[chunks:], self.lengths[chunks:]
        return dropped, Stretch(self.pack, self.block, self.offset + dropped, self.size - dropped, *rest)


class _Wrong(NamedTuple):
    """A chunk that is not in its expected place: its position among the pieces, and what is wrong there."""

    at: int
    id: bytes
    place: Location
    problem: str


LookUp = Callable[[list[bytes]], list[list[Location]]]


class ChunkReader:
    """Fetches and verifies chunks of one kind of pack.  `read` may be called from several threads.

    `look_up` returns all places of chunks: the expected one may be damaged.
    """

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
        self._blocks: OrderedDict[_Place, memoryview] = OrderedDict()
        self._coming: dict[_Place, Future[memoryview]] = {}  # blocks that some thread fetches

    def pack(self, number: int) -> CachedPack:
        """Return what the cache says of a pack."""
        with self._lock:
            if number not in self._packs:
                _remember(self._packs, number, self._cache.pack(number), 1024)
            return self._packs[number]

    def has(self, number: int) -> bool:
        """Return whether the pack is of this reader's kind."""
        right = self._right_kind.get(number)
        if right is None:
            right = self._right_kind[number] = self.pack(number).file_kind is self._kind
        return right

    def read(self, stretches: Sequence[Stretch]) -> list[memoryview]:
        """Return the chunks' bytes, in order; raises `DamageError` for one that cannot be had.

        What lies one after the other is one piece.
        """
        held = self._prefetch((stretch.pack, stretch.block) for stretch in stretches)
        pieces: list[memoryview] = []
        wrong: list[_Wrong] = []
        source, end = _NOTHING, 0
        sound = self._sound(stretches, held)
        for position, stretch in enumerate(stretches):
            block = held.get((stretch.pack, stretch.block), _NOTHING)
            start = stretch.offset
            if position in sound:
                if block is source and start == end:  # goes on where the piece before ends
                    start -= len(pieces.pop())
                source, end = block, stretch.offset + stretch.size
                piece = block[start:end]
                # what is taken out of many blocks must not hold all of them
                pieces.append(piece if 2 * len(piece) >= len(block) else memoryview(bytes(piece)))
            else:
                source = _NOTHING
                self._one_by_one(stretch, block, pieces, wrong)
        self._replace(wrong, pieces)
        return pieces

    def _sound(self, stretches: Sequence[Stretch], held: dict[_Place, memoryview]) -> set[int]:
        """Return the positions of those stretches whose chunks are all in their expected places."""
        of_block: dict[_Place, list[int]] = {}
        for position, stretch in enumerate(stretches):
            of_block.setdefault((stretch.pack, stretch.block), []).append(position)
        sound: set[int] = set()
        for place, positions in of_block.items():
            if not (block := held.get(place)):
                continue
            runs = [
                (stretch.offset, stretch.lengths, stretch.ids)
                for stretch in map(stretches.__getitem__, positions)
            ]
            if all_proven(block, runs, self._key):
                sound.update(positions)
            else:
                sound.update(
                    position
                    for position, run in zip(positions, runs, strict=True)
                    if proven(block, *run, self._key)
                )
        return sound

    def _one_by_one(
        self, stretch: Stretch, block: memoryview, pieces: list[memoryview], wrong: list[_Wrong]
    ) -> None:
        """Append each chunk of a stretch to the pieces, nothing for each that is not there."""
        file = self.pack(stretch.pack).file
        problem = f"{file} holds other data in its place" if block else f"{file} is missing or damaged"
        at = stretch.offset
        for id_, length in zip(stretch.ids, stretch.lengths, strict=True):
            if block and proven(block, at, [length], [id_], self._key):
                pieces.append(block[at : at + length])
            else:
                place = Location(stretch.pack, stretch.block, at, length)
                wrong.append(_Wrong(len(pieces), id_, place, problem))
                pieces.append(_NOTHING)
            at += length

    def _replace(self, wrong: list[_Wrong], pieces: list[memoryview]) -> None:
        """Take chunks that are not in their expected places from others, some at a time."""
        for start in range(0, len(wrong), _REPLACED):
            some = wrong[start : start + _REPLACED]
            places = [
                [place for place in found if place.length == chunk.place.length and place != chunk.place]
                for chunk, found in zip(some, self._look_up([chunk.id for chunk in some]), strict=True)
            ]
            firsts = {(found[0].pack, found[0].block) for found in places if found}
            held = dict.fromkeys(firsts, _NOTHING) | self._prefetch(firsts)  # what fails is fetched once
            for chunk, found in zip(some, places, strict=True):
                pieces[chunk.at] = self._from_another(chunk, found, held)

    def _from_another(
        self, chunk: _Wrong, places: list[Location], held: dict[_Place, memoryview]
    ) -> memoryview:
        problem = chunk.problem
        for place in places:
            at = (place.pack, place.block)
            if at not in held:
                held[at] = self._prefetch([at]).get(at, _NOTHING)
            data = held[at][place.offset : place.offset + place.length]
            if proven(data, 0, [place.length], [chunk.id], self._key):
                return memoryview(bytes(data))  # keeps no whole block alive
            file = self.pack(place.pack).file
            problem = f"{file} holds other data in its place" if data else f"{file} is missing or damaged"
        raise DamageError(
            f"the chunk {chunk.id.hex()} cannot be read: {problem}", "run `dedup check --read-data`"
        )

    def _prefetch(self, places: Iterable[_Place]) -> dict[_Place, memoryview]:
        """Open the blocks; neighbours in a pack are fetched in one read, what another thread fetches is awaited.

        A block that fails is left out: its chunks are then taken from elsewhere.
        """
        held: dict[_Place, memoryview] = {}
        mine: dict[_Place, Future[memoryview]] = {}
        awaited: dict[_Place, Future[memoryview]] = {}
        with self._lock:
            for place in set(places):
                if place in self._blocks:
                    self._blocks.move_to_end(place)
                    held[place] = self._blocks[place]
                elif place in self._coming:
                    awaited[place] = self._coming[place]
                else:
                    mine[place] = self._coming[place] = Future()
        try:
            for run in _runs(sorted(mine)):
                self._fetch(run, held)
        except BaseException as error:
            self._settle(mine, held, error)
            raise
        self._settle(mine, held, None)
        for place, future in awaited.items():  # no deadlock: a thread settles its own before it waits
            if block := future.result():
                held[place] = block
        return held

    def _settle(
        self,
        mine: dict[_Place, "Future[memoryview]"],
        held: dict[_Place, memoryview],
        error: BaseException | None,
    ) -> None:
        """Give others the blocks that this thread has fetched for them, too."""
        with self._lock:
            for place, future in mine.items():
                del self._coming[place]
                if place in held or error is None:
                    future.set_result(held.get(place, _NOTHING))
                else:
                    future.set_exception(error)

    def _fetch(self, run: list[_Place], held: dict[_Place, memoryview]) -> None:
        pack = self.pack(run[0][0])
        last = pack.blocks[run[-1][1]]
        # in fixed steps, so that the storage does not see how long blocks are
        begin = pack.blocks[run[0][1]].at // READ_STEP * READ_STEP
        end = min(-(-(last.at + last.stored) // READ_STEP) * READ_STEP, pack.size)
        try:
            data = self._backend.read(pack.file, begin, end - begin)
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
                    _remember(self._blocks, place, held[place], _BLOCKS[self._kind])

    def _open(self, pack: CachedPack, number: int, data: memoryview) -> bytes | memoryview:
        block = pack.blocks[number]
        sealed = pack.keys[block.key]
        with self._lock:
            key = self._keys.get(sealed)
        if key is None:
            key = packs.open_key(self._access, self._kind, sealed)
            with self._lock:
                _remember(self._keys, sealed, key, 256)
        return blocks.open_block(key, block.number, data, block.unpacked, pack.file)


def _runs(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    """Yield the places, which ascend, in lists of neighbours."""
    run: list[_Place] = []
    for place in places:
        if run and place != (run[-1][0], run[-1][1] + 1):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _remember(memory: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    memory[key] = value
    while len(memory) > limit:
        memory.popitem(last=False)
