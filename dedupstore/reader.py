"""Streams come back: recipes are walked, and the places of their chunks found.

Invariant: a chunk's places are in the domain of the stream, in packs of the right kind; what is inferred rather
than looked up is verified by who fetches it.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, cycle, pairwise

from dedupstore import memory, recipes, splitting
from dedupstore.cache import Location
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.fetching import ChunkReader, LookUp, Stretch, pack_file
from dedupstore.layout import Kind
from dedupstore.records import Root, Stream
from dedupstore.repository import Repository
from dedupstore.sequence_reader import Ahead, SequenceReader

LOOKUP_BATCH = 512
STRIDE = 16
_STEP = 2 << 20
_GATHERED = 256 << 10  # bytes: fewer cost more for being many than for being copied
_NODES = 64  # lists of ids read at once

_Columns = tuple[list[bytes], list[int]]  # ids and lengths


class StreamReader:
    """Reads streams of snapshots of one domain.  Packs whose numbers are in `missing` are not looked into."""

    def __init__(self, repository: Repository, domain: str, missing: Iterable[int] = ()) -> None:
        memory.reuse_buffers()
        access = repository.access
        self._repository = repository
        self._cache = repository.cache
        self._domain = domain
        self._missing = set(missing)
        self.threads = min(max(2, os.cpu_count() or 1), 8)
        self.ahead = Ahead(_STEP, _STEP * (self.threads + 2))
        if repository.backend.uploads > 1:  # over a long way
            self.threads, self.ahead = 8, Ahead(2 * _STEP, 16 * _STEP)
        node_key = recipes.node_key(access.id_key)
        backend, cache = repository.backend, self._cache
        self._nodes = ChunkReader(backend, access, cache, Kind.TREE, node_key, self._look_up(Kind.TREE))
        self.data = ChunkReader(backend, access, cache, Kind.DATA, access.id_key, self._look_up(Kind.DATA))

    def preflight(self, stream: Stream, *, contents: bool = True) -> None:
        """Check, without reading contents, that this member may read and that every pack needed is there.

        Without `contents`, only what skeleton and layout need.
        """
        if not self._repository.access.sealing_private:
            raise KeyAccessError(
                "your key may write backups and list them, but not read their contents",
                "use an admin's key, on a machine that has it",
            )
        roots = [stream.layout, stream.skeleton, *([stream.content] if contents else [])]
        packs = {}
        for number in self._needed(roots):
            pack = self.data.pack(number)
            packs[number] = pack_file(pack), pack.size
        sizes = self._repository.listed_sizes({file.rsplit("/", 1)[0] for file, _ in packs.values()})
        lost = {number for number, (file, size) in packs.items() if sizes.get(file) != size}
        if lost:  # are there other copies of their chunks?
            self._missing |= lost
            for root in roots:
                for _ in self.stretches(root):
                    pass

    def resolve(self, stream: Stream) -> None:
        """Raise `DamageError` unless every chunk of the stream is in an index."""
        self._needed([stream.layout, stream.skeleton, stream.content])

    def _needed(self, roots: Iterable[Root]) -> set[int]:
        """Return the numbers of packs that hold all chunks of the sequences."""
        needed: set[int] = set()
        for root in roots:
            for ids, _ in self._batches(root):
                numbers = self._cache.some_pack(self._domain, ids)
                if not all(numbers):
                    raise self._nowhere(ids[numbers.index(0)])
                needed.update(numbers)
        return needed

    def read(self, stream: Stream) -> Iterator[bytes | memoryview]:
        """Yield the stream's bytes, in order."""
        little = Ahead(self.ahead.step, self.ahead.most // 4)
        with ThreadPoolExecutor(self.threads, "read") as pool:

            def sequence(root: Root, ahead: Ahead) -> SequenceReader:
                return SequenceReader(self.stretches(root), self.data, pool, ahead, eager=True)

            content = sequence(stream.content, self.ahead)
            skeleton, plan = sequence(stream.skeleton, little), sequence(stream.layout, little)
            try:
                if stream.layout.size:
                    lengths = splitting.lengths(plan.copy(stream.layout.size))
                    yield from _interleaved(lengths, skeleton, content)
                else:
                    yield from content.copy(stream.content.size)
                content.finish()
                skeleton.finish()
            finally:
                for one in (content, skeleton, plan):
                    one.close()

    def stretches(self, root: Root) -> Iterator[list[Stretch]]:
        """Yield the chunks of a sequence with their places; raises `DamageError` for one that has none."""
        for ids, lengths in self._batches(root):
            yield self._locate_runs(ids, lengths, self.data)

    def _batches(self, root: Root) -> Iterator[_Columns]:
        ids: list[bytes] = []
        lengths: list[int] = []
        for leaves in recipes.chunks(root, self.nodes):
            ids += [entry[0] for entry in leaves]
            lengths += [entry[1] for entry in leaves]
            if len(ids) >= LOOKUP_BATCH:
                yield ids, lengths
                ids, lengths = [], []
        if ids:
            yield ids, lengths

    def nodes(self, ids: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield list nodes, verified, in order; a size of 0 is one that is not known beforehand."""
        for start in range(0, len(ids), _NODES):
            some, lengths = list(ids[start : start + _NODES]), list(sizes[start : start + _NODES])
            places = self._locate(some, lengths, self._nodes) if not all(lengths) else []
            lengths = [place.length for place in places] or lengths
            data = b"".join(self._nodes.read(self._locate_runs(some, lengths, self._nodes)))
            for begin, end in pairwise(accumulate(lengths, initial=0)):
                yield data[begin:end]

    def require(self, chunks: list[tuple[bytes, int]]) -> None:
        """Raise `DamageError` unless each chunk (id, length) has a place."""
        self._locate([id_ for id_, _ in chunks], [length for _, length in chunks], self.data)

    def _locate(self, ids: list[bytes], lengths: list[int], reader: ChunkReader) -> list[Location]:
        """Return the first place of each chunk; a length of 0 is one that is not known beforehand."""
        missing, has = self._missing, reader.has
        found = []
        for id_, length, places in zip(ids, lengths, self._cache.locate(self._domain, ids), strict=True):
            for place in places:
                pack = place.pack
                if (place.length == length or not length) and pack not in missing and has(pack):
                    found.append(place)
                    break
            else:
                raise self._nowhere(id_)
        return found

    def _locate_runs(self, ids: list[bytes], lengths: list[int], reader: ChunkReader) -> list[Stretch]:
        """Find the places of chunks that follow each other, by looking up one in `STRIDE`.

        Where two of them lie just as far apart in a pack as in the stream, so do those between, nearly always;
        reading verifies each chunk, and looks up the one that was inferred wrongly.
        """
        last = len(ids) - 1
        samples = [*range(0, last, STRIDE), last]
        known = self._locate([ids[at] for at in samples], [lengths[at] for at in samples], reader)
        starts = list(accumulate(lengths, initial=0))
        runs: list[tuple[int, int, int, int]] = []  # pack, block, offset in it, number of the first chunk
        for (first, place), (end, following) in pairwise(zip(samples, known, strict=True)):
            run = self._infer(place, following, first, end, starts, reader)
            if run is None:
                places = self._locate(ids[first:end], lengths[first:end], reader)
                run = [(at.pack, at.block, at.offset, first + number) for number, at in enumerate(places)]
            runs += run
        place = known[-1]
        runs.append((place.pack, place.block, place.offset, last))
        return _joined(runs, ids, lengths, starts)

    def _infer(
        self,
        place: Location,
        following: Location,
        first: int,
        end: int,
        starts: list[int],
        reader: ChunkReader,
    ) -> list[tuple[int, int, int, int]] | None:
        """Return where the chunks from `first` up to `end` lie, if they fill what is between these two places."""
        if place.pack != following.pack or place.block > following.block:
            return None
        runs = [(place.pack, place.block, place.offset, first)]
        begin = starts[first] - place.offset  # where in the sequence the block would begin
        for block in range(place.block, following.block):
            begin += reader.pack(place.pack).blocks[block].unpacked
            first = bisect_left(starts, begin, first, end)
            if starts[first] != begin:
                return None
            runs.append((place.pack, block + 1, 0, first))
        if starts[end] - begin != following.offset:
            return None
        return runs

    def _look_up(self, kind: Kind) -> LookUp:
        # nothing of `self`: in a ring, the blocks of a stream that was read would wait for the garbage collector
        cache, domain, missing = self._cache, self._domain, self._missing
        code = kind.value.decode()

        def look_up(ids: list[bytes]) -> list[list[Location]]:
            return [
                [
                    place
                    for place in places
                    if place.pack not in missing and cache.pack(place.pack).kind == code
                ]
                for places in cache.locate(domain, ids)
            ]

        return look_up

    def _nowhere(self, id_: bytes) -> DamageError:
        return DamageError(
            f"the chunk {id_.hex()} is in no index file of the domain {self._domain}, or its pack is missing",
            "see what is missing: dedup check",
        )


def _interleaved(
    lengths: Iterator[int], skeleton: SequenceReader, content: SequenceReader
) -> Iterator[bytes | memoryview]:
    """Yield skeleton and content in turns: small files, and what is between them, many in one piece."""
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


def _joined(
    runs: list[tuple[int, int, int, int]], ids: list[bytes], lengths: list[int], starts: list[int]
) -> list[Stretch]:
    """Make stretches of runs (pack, block, offset in it, first chunk), of those that go on in a block only one."""
    begun = []
    goes_on: tuple[int, int, int] | None = None
    for (pack, block, offset, first), (_, _, _, end) in pairwise([*runs, (0, 0, 0, len(ids))]):
        if first == end:
            continue
        if (pack, block, offset) != goes_on:
            begun.append((pack, block, offset, first))
        goes_on = pack, block, offset + starts[end] - starts[first]
    return [
        Stretch(pack, block, offset, starts[end] - starts[first], ids[first:end], lengths[first:end])
        for (pack, block, offset, first), (_, _, _, end) in pairwise([*begun, (0, 0, 0, len(ids))])
    ]
