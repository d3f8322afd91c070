"""Read streams: walk their recipes, and find the places of their chunks.

Invariant: a chunk's place is in the domain of the stream, in a pack of the right kind.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, chain, cycle, pairwise, tee
from operator import itemgetter
from typing import NamedTuple

from dedupstore.cache.index_cache import Location, Span
from dedupstore.chunks import splitting
from dedupstore.core import Core
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.format.layout import Kind
from dedupstore.format.recipes import Entry, NodeLoader, Recipe, node_key
from dedupstore.format.run_records import Stream
from dedupstore.reading.chunk_reader import ChunkReader, LookUp, Stretch
from dedupstore.reading.sequence_reader import Ahead, SequenceReader, Walk

LOOKUP_BATCH = 512
_STEP = 2 << 20
_GATHERED = 256 << 10  # bytes: fewer cost more for being many than for being copied
_NODES = 64  # lists of ids read at once

_ID, _LENGTH = itemgetter(0), itemgetter(1)  # of a recipe's entry

_Columns = tuple[list[bytes], list[int]]  # ids and lengths


class Recipes(NamedTuple):
    """Those of a stream, in the order in which they are needed."""

    layout: Recipe
    skeleton: Recipe
    content: Recipe


class StreamReader:
    """Reads streams of snapshots of one domain.  Packs whose numbers are in `missing` are not used.

    Threads may share it: each call of `read` has sequences and threads of its own.
    """

    def __init__(self, repository: Core, domain: str, missing: Iterable[int] = ()) -> None:
        access = repository.access
        self._repository = repository
        self._cache = repository.cache
        self._domain = domain
        self._missing = set(missing)
        self.threads = min((os.cpu_count() or 2) + 1, 8)  # one may wait for the interpreter
        self.ahead = Ahead(_STEP, _STEP * (self.threads + 2))
        if repository.backend.properties.remote:
            self.threads, self.ahead = 8, Ahead(2 * _STEP, 10 * _STEP)
        backend, cache = repository.backend, self._cache
        key = node_key(access.id_key)
        self._nodes = ChunkReader(backend, access, cache, Kind.TREE, key, self._look_up(Kind.TREE))
        self.data = ChunkReader(backend, access, cache, Kind.DATA, access.id_key, self._look_up(Kind.DATA))

    def recipes(self, stream: Stream, load: NodeLoader | None = None) -> Recipes:
        """Return the stream's recipes, whose nodes `load` gives, by default `nodes`.

        Raises `DamageError` if what the stream says of them cannot be.
        """
        load = load or self.nodes
        if stream.skeleton.size and not stream.layout.size:
            raise DamageError(f"the stream {stream.name} has a skeleton, but no layout")
        covers = (stream.skeleton.size, stream.content.size)
        return Recipes(
            Recipe(stream.layout, load, covers), Recipe(stream.skeleton, load), Recipe(stream.content, load)
        )

    def preflight(self, stream: Stream, *, contents: bool = True) -> None:
        """Check, without reading contents, that this member may read and that every pack needed is there.

        Without `contents`, only what skeleton and layout need.
        """
        self.check_access()
        needed = self.recipes(stream)[: None if contents else 2]
        packs = {}
        for number in self._needed(needed):
            pack = self.data.pack(number)
            packs[number] = pack.file, pack.size
        sizes = self._repository.listed_sizes({file.rsplit("/", 1)[0] for file, _ in packs.values()})
        lost = {number for number, (file, size) in packs.items() if sizes.get(file) != size}
        if lost:  # are there other copies of their chunks?
            self._missing |= lost
            for recipe in needed:
                for _ in self.stretches(recipe.distinct()):
                    pass

    def check_access(self) -> None:
        """Raise `KeyAccessError` unless this member may read."""
        if not self._repository.access.sealing_private:
            raise KeyAccessError(
                "your key may write backups and list them, but not read their contents",
                "use an admin's key, on a machine that has it",
            )

    def resolve(self, stream: Stream) -> None:
        """Raise `DamageError` unless every chunk of the stream is in an index."""
        self._needed(self.recipes(stream))

    def _needed(self, recipes: Iterable[Recipe]) -> set[int]:
        """Return the numbers of packs that hold all chunks of the sequences."""
        needed: set[int] = set()
        for recipe in recipes:
            for ids, _ in _batches(recipe.distinct()):
                numbers = self._cache.some_pack(self._domain, ids)
                if not all(numbers):
                    raise self._nowhere(ids[numbers.index(0)])
                needed.update(numbers)
        return needed

    def read(self, stream: Stream) -> Generator[bytes | memoryview, None, None]:
        """Yield the stream's bytes, in order."""
        little = Ahead(self.ahead.step, self.ahead.most // 4)
        pool = ThreadPoolExecutor(self.threads, "read")
        sequences: list[SequenceReader] = []

        def sequence(walk: Walk, ahead: Ahead) -> SequenceReader:
            sequences.append(SequenceReader(walk, self.data, pool, ahead, eager=True))
            return sequences[-1]

        recipes = self.recipes(stream)
        try:
            # in the order in which they are waited for
            parts, again = tee(recipes.layout.parts())
            plan = sequence(lambda _: (0, self.stretches(part.chunks for part in parts)), little)
            skeleton = sequence(partial(self.walk, recipes.skeleton), little)
            content = sequence(partial(self.walk, recipes.content), self.ahead)
            if recipes.layout.size:
                lengths = splitting.lengths(plan.get, again, recipes.layout.size)
                yield from _interleaved(lengths, skeleton, content)
            else:
                yield from content.copy(recipes.content.size)
            content.finish()
            skeleton.finish()
        finally:
            for one in sequences:
                one.close()
            pool.shutdown(wait=False, cancel_futures=True)

    def stretches(self, chunks: Iterable[list[Entry]]) -> Iterator[list[Stretch]]:
        """Yield chunks with their places; raises `DamageError` for one that has none."""
        for ids, lengths in _batches(chunks):
            yield self._stretches(ids, lengths, self.data)

    def walk(self, recipe: Recipe, at: int = 0) -> tuple[int, Iterator[list[Stretch]]]:
        """Return where the chunk begins that holds the byte `at`, and the stretches from it on."""
        if at == 0:  # and nothing is read before it is asked for
            return 0, self.stretches(recipe.chunks())
        parts = recipe.parts(at)
        first = next(parts, None)
        if first is None:
            return recipe.size, iter(())
        return first.before[0], self.stretches(part.chunks for part in chain((first,), parts))

    def nodes(self, ids: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield list nodes, verified, in order."""
        for start in range(0, len(ids), _NODES):
            some, lengths = list(ids[start : start + _NODES]), list(sizes[start : start + _NODES])
            data = b"".join(self._nodes.read(self._stretches(some, lengths, self._nodes)))
            for begin, end in pairwise(accumulate(lengths, initial=0)):
                yield data[begin:end]

    def require(self, chunks: list[Entry]) -> None:
        """Raise `DamageError` unless each chunk has a place."""
        for _ in self._spans(list(map(_ID, chunks)), list(map(_LENGTH, chunks)), self.data):
            pass

    def _stretches(self, ids: list[bytes], lengths: list[int], reader: ChunkReader) -> list[Stretch]:
        """Return where the chunks are, those that follow each other in the stream and in a block as one stretch."""
        joined: list[Span] = []
        for span in self._spans(ids, lengths, reader):
            if joined and joined[-1][2:4] == span[2:4]:
                at, chunks, pack, block, offset, size = joined[-1]
                if offset + size == span.offset:
                    joined[-1] = Span(at, chunks + span.chunks, pack, block, offset, size + span.size)
                    continue
            joined.append(span)
        return [
            Stretch(pack, block, offset, size, ids[at : at + chunks], lengths[at : at + chunks])
            for at, chunks, pack, block, offset, size in joined
        ]

    def _spans(self, ids: list[bytes], lengths: list[int], reader: ChunkReader) -> Iterator[Span]:
        """Yield a place of every chunk, in order."""
        at = 0
        for span in [*self._cache.spans(self._domain, ids, lengths), Span(len(ids), 0, 0, 0, 0, 0)]:
            good = span.pack not in self._missing and (not span.chunks or reader.has(span.pack))
            end = span.at + span.chunks
            for number in range(at, span.at if good else end):
                place = self._another(ids[number], lengths[number], reader)
                yield Span(number, 1, *place)
            if good and span.chunks:
                yield span
            at = end

    def _another(self, id_: bytes, length: int, reader: ChunkReader) -> Location:
        """Return the first place of a chunk that will do."""
        (places,) = self._cache.locate(self._domain, [id_])
        for place in places:
            if place.length == length and place.pack not in self._missing and reader.has(place.pack):
                return place
        raise self._nowhere(id_)

    def _look_up(self, kind: Kind) -> LookUp:
        # nothing of `self`: in a ring, the blocks of a stream that was read would wait for the garbage collector
        cache, domain, missing = self._cache, self._domain, self._missing

        def look_up(ids: list[bytes]) -> list[list[Location]]:
            return [
                [
                    place
                    for place in places
                    if place.pack not in missing and cache.pack(place.pack).file_kind is kind
                ]
                for places in cache.locate(domain, ids)
            ]

        return look_up

    def _nowhere(self, id_: bytes) -> DamageError:
        return DamageError(
            f"the chunk {id_.hex()} is in no index file of the domain {self._domain}, or its pack is missing",
            "run `dedup check`",
        )


def _batches(chunks: Iterable[list[Entry]]) -> Iterator[_Columns]:
    """Yield ids and lengths of chunks, so many that looking them up at once pays."""
    ids: list[bytes] = []
    lengths: list[int] = []
    for some in chunks:
        ids += map(_ID, some)
        lengths += map(_LENGTH, some)
        if len(ids) >= LOOKUP_BATCH:
            yield ids, lengths
            ids, lengths = [], []
    if ids:
        yield ids, lengths


def _interleaved(
    lengths: Iterator[int], skeleton: SequenceReader, content: SequenceReader
) -> Iterator[bytes | memoryview]:
    """Yield skeleton and content alternately: small files, and what is between them, many in one piece."""
    pieces: list[memoryview] = []
    size = 0
    for source, length in zip(cycle((skeleton, content)), lengths):
        if size + length > _GATHERED:
            yield b"".join(pieces)
            pieces.clear()
            size = 0
        if length > _GATHERED:
            yield from source.copy(length)
        else:
            source.take(length, pieces)
            size += length
    yield b"".join(pieces)
