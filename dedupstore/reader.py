"""Streams come back: recipes are walked, blocks fetched and opened in parallel, every chunk verified.

Invariant: no byte is yielded whose chunk does not hash to the id in the recipe.  A chunk whose first copy is
missing or wrong is taken from the next.  Memory is bounded: a few steps of a few blocks each.
"""

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from threading import Lock
from typing import NamedTuple, TypeVar

from blake3 import blake3

from dedupstore import blocks, layout, memory, packs, recipes, splitting
from dedupstore.access import Access
from dedupstore.backends.contract import Backend
from dedupstore.blocks import BlockKey
from dedupstore.cache import CachedPack, IndexCache, Location
from dedupstore.errors import DamageError, KeyAccessError, NotFoundError
from dedupstore.layout import Kind
from dedupstore.records import PackKey, Root, Stream
from dedupstore.repository import Repository

READ_STEP = 64 << 10
STEP_BYTES = 4 << 20
STEP_BLOCKS = 8
CACHE_BLOCKS = 10
LOOKUP_BATCH = 512
STRIDE = 16

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
        held = self._prefetch(wanted)
        return [self._chunk(chunk, held) for chunk in wanted]

    def read_joined(self, wanted: Sequence[Wanted]) -> list[memoryview]:
        """Return the same bytes in fewer pieces: chunks that lie one after the other are one."""
        held = self._prefetch(wanted)
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

    def _prefetch(self, wanted: Sequence[Wanted]) -> dict[tuple[int, int], memoryview]:
        """Open all blocks that the first places name; neighbours in a pack are fetched in one read.

        A block that fails is left out: its chunks are then tried one by one.
        """
        held: dict[tuple[int, int], memoryview] = {}
        needed: set[tuple[int, int]] = set()
        places = {(chunk.places[0].pack, chunk.places[0].block) for chunk in wanted}
        with self._lock:
            for place in places:
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
            data = self._backend.read(_file(pack), begin, end - begin)
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
        return blocks.open_block(key, block.number, data, block.unpacked, _file(pack))

    def _chunk(self, chunk: Wanted, held: dict[tuple[int, int], memoryview]) -> memoryview:
        problem = "it is in no index"
        for place in chain(chunk.places, self._others(chunk)):
            at = (place.pack, place.block)
            if at not in held:
                self._fetch([at], held)
            if at not in held:
                problem = f"{_file(self.pack(place.pack))} is missing or damaged"
                continue
            data = held[at][place.offset : place.offset + place.length]
            if blake3(data, key=self._key).digest() == chunk.id:
                return data
            problem = f"{_file(self.pack(place.pack))} holds something else in its place"
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


class StreamReader:
    """Reads streams of snapshots of one domain.  Packs whose numbers are in `missing` are not looked into."""

    def __init__(self, repository: Repository, domain: str, missing: Iterable[int] = ()) -> None:
        memory.return_large_buffers()
        access = repository.access
        self._repository = repository
        self._cache = repository.cache
        self._domain = domain
        self._missing = set(missing)
        self._threads = max(2, os.cpu_count() or 1)
        node_key = recipes.node_key(access.id_key)
        backend, cache = repository.backend, self._cache
        self._nodes = ChunkReader(backend, access, cache, Kind.TREE, node_key, self._look_up(Kind.TREE))
        self._data = ChunkReader(backend, access, cache, Kind.DATA, access.id_key, self._look_up(Kind.DATA))

    def preflight(self, stream: Stream) -> None:
        """Check, without reading contents, that this member may read and that every pack needed is there."""
        if not self._repository.access.sealing_private:
            raise KeyAccessError(
                "your key may write backups and list them, but not read their contents",
                "use an admin's key, on a machine that has it",
            )
        roots = (stream.layout, stream.skeleton, stream.content)
        needed: set[int] = set()
        for root in roots:
            for batch in self._batches(root):
                numbers = self._cache.some_pack(self._domain, [id_ for id_, _ in batch])
                for (id_, _), number in zip(batch, numbers, strict=True):
                    if not number:
                        raise self._nowhere(id_)
                    needed.add(number)
        packs = {number: self._data.pack(number) for number in needed}
        sizes = self._repository.pack_sizes({_file(pack).rsplit("/", 1)[0] for pack in packs.values()})
        lost = {number for number, pack in packs.items() if sizes.get(_file(pack)) != pack.size}
        if lost:  # are there other copies of their chunks?
            self._missing |= lost
            for root in roots:
                for _ in self.wanted(root):
                    pass

    def read(self, stream: Stream) -> Iterator[bytes | memoryview]:
        """Yield the stream's bytes, in order."""
        with ThreadPoolExecutor(self._threads, "read") as pool:
            content = self._sequence(stream.content, pool)
            if stream.layout.size == 0:
                if stream.skeleton.size:
                    raise DamageError(f"the stream {stream.name} has a skeleton but no layout")
                yield from content
                return
            yield from _merge(
                splitting.lengths(self._sequence(stream.layout, pool)),
                _Taker(self._sequence(stream.skeleton, pool)),
                _Taker(content),
            )

    def wanted(self, root: Root) -> Iterator[list[Wanted]]:
        """Yield the chunks of a sequence with their places; raises `DamageError` for one that has none."""
        for batch in self._batches(root):
            yield self._locate_runs(batch)

    def _batches(self, root: Root) -> Iterator[list[tuple[bytes, int]]]:
        pending: list[tuple[bytes, int]] = []
        for leaves in recipes.chunks(root, self.nodes):
            pending += leaves
            if len(pending) >= LOOKUP_BATCH:
                yield pending
                pending = []
        if pending:
            yield pending

    def nodes(self, ids: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield list nodes, verified, in order; a size of 0 is one that is not known beforehand."""
        wanted = self._locate(list(zip(ids, sizes, strict=True)), self._nodes)
        for start in range(0, len(wanted), 32):
            for node in self._nodes.read(wanted[start : start + 32]):
                yield bytes(node)

    def require(self, chunks: list[tuple[bytes, int]]) -> None:
        """Raise `DamageError` unless each chunk (id, length) has a place."""
        self._locate(chunks, self._data)

    def _locate(self, chunks: list[tuple[bytes, int]], reader: ChunkReader) -> list[Wanted]:
        """Find the places of chunks; a length of 0 is one that is not known beforehand."""
        found = []
        places = self._cache.locate(self._domain, [id_ for id_, _ in chunks])
        missing = self._missing
        for (id_, length), all_places in zip(chunks, places, strict=True):
            right = [
                place
                for place in all_places
                if (place.length == length or not length)
                and place.pack not in missing
                and reader.has(place.pack)
            ]
            if not right:
                raise self._nowhere(id_)
            found.append(Wanted(id_, right[0].length, right))
        return found

    def _locate_runs(self, chunks: list[tuple[bytes, int]]) -> list[Wanted]:
        """Find the places of a stream's chunks by looking up one in `STRIDE`.

        Where two of them lie just as far apart in a pack as in the stream, so do those between, nearly always;
        reading verifies each chunk, and looks up the one that was inferred wrongly.
        """
        samples = [*range(0, len(chunks) - 1, STRIDE), len(chunks) - 1]
        known = dict(
            zip(samples, self._locate([chunks[position] for position in samples], self._data), strict=True)
        )
        found: list[Wanted] = []
        for first, last in pairwise(samples):
            run = self._infer(known[first], chunks[first:last], known[last])
            found += run if run is not None else self._locate(chunks[first:last], self._data)
        found.append(known[samples[-1]])
        return found

    def _infer(self, first: Wanted, chunks: list[tuple[bytes, int]], last: Wanted) -> list[Wanted] | None:
        """Return the places of chunks from `first` up to `last`, if they lie one after the other in one pack."""
        at, end = first.places[0], last.places[0]
        if at.pack != end.pack or at.block > end.block:
            return None
        blocks = self._data.pack(at.pack).blocks
        block, offset = at.block, at.offset
        found = []
        for id_, length in chunks:
            if offset == blocks[block].unpacked:
                block, offset = block + 1, 0
                if block > end.block:
                    return None
            found.append(Wanted(id_, length, [Location(at.pack, block, offset, length)]))
            offset += length
            if offset > blocks[block].unpacked:
                return None
        if offset == blocks[block].unpacked and end.offset == 0:
            block, offset = block + 1, 0
        return found if (block, offset) == (end.block, end.offset) else None

    def _look_up(self, kind: Kind) -> LookUp:
        def look_up(id_: bytes) -> list[Location]:
            (places,) = self._cache.locate(self._domain, [id_])
            reader = self._nodes if kind is Kind.TREE else self._data
            return [place for place in places if place.pack not in self._missing and reader.has(place.pack)]

        return look_up

    def _nowhere(self, id_: bytes) -> DamageError:
        return DamageError(
            f"the chunk {id_.hex()} is in no index file of the domain {self._domain}, or its pack is missing",
            "see what is missing: dedup check",
        )

    def _sequence(self, root: Root, pool: ThreadPoolExecutor) -> Iterator[memoryview]:
        futures: deque[Future[list[memoryview]]] = deque()
        try:
            for step in _steps(chain.from_iterable(self.wanted(root))):
                futures.append(pool.submit(self._data.read_joined, step))
                if len(futures) > self._threads:
                    yield from futures.popleft().result()
            while futures:
                yield from futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()


def _steps(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """Group chunks into steps of work with bounds on their bytes and on the blocks that they touch."""
    step: list[Wanted] = []
    size = 0
    touched: set[tuple[int, int]] = set()
    for chunk in wanted:
        place = (chunk.places[0].pack, chunk.places[0].block)
        if step and (
            size + chunk.length > STEP_BYTES or (place not in touched and len(touched) >= STEP_BLOCKS)
        ):
            yield step
            step, size, touched = [], 0, set()
        step.append(chunk)
        size += chunk.length
        touched.add(place)
    if step:
        yield step


class _Taker:
    """Takes exact numbers of bytes from an iterator of pieces."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def take(self, count: int) -> Iterator[memoryview]:
        while count:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    raise DamageError("a stream's layout asks for more bytes than its sequences have")
                self._rest = piece
            part = self._rest[:count]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            yield part

    def at_end(self) -> bool:
        return not self._rest and next(self._pieces, None) is None


def _merge(lengths: Iterator[int], skeleton: _Taker, content: _Taker) -> Iterator[memoryview]:
    for number, length in enumerate(lengths):
        yield from (content if number % 2 else skeleton).take(length)
    if not (skeleton.at_end() and content.at_end()):
        raise DamageError("a stream's layout does not use all bytes of its sequences")


def _file(pack: CachedPack) -> str:
    return layout.content_file(Kind(pack.kind.encode()), pack.name)


def _remember(memory: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    memory[key] = value
    while len(memory) > limit:
        memory.popitem(last=False)
