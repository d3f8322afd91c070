"""Streams come back: recipes are walked, and the places of their chunks found.

Invariant: a chunk's places are in the domain of the stream, in packs of the right kind; what is inferred rather
than looked up is verified by who fetches it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from dedupstore import memory, recipes, splitting
from dedupstore.cache import Location
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.fetching import ChunkReader, LookUp, Wanted, pack_file
from dedupstore.layout import Kind
from dedupstore.records import Root, Stream
from dedupstore.repository import Repository
from dedupstore.sequence_reader import SequenceReader

LOOKUP_BATCH = 512
STRIDE = 16


class StreamReader:
    """Reads streams of snapshots of one domain.  Packs whose numbers are in `missing` are not looked into."""

    def __init__(self, repository: Repository, domain: str, missing: Iterable[int] = ()) -> None:
        memory.reuse_buffers()
        access = repository.access
        self._repository = repository
        self._cache = repository.cache
        self._domain = domain
        self._missing = set(missing)
        self._threads = max(2, os.cpu_count() or 1)
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
        packs = {number: self.data.pack(number) for number in self._needed(roots)}
        sizes = self._repository.listed_sizes({pack_file(pack).rsplit("/", 1)[0] for pack in packs.values()})
        lost = {number for number, pack in packs.items() if sizes.get(pack_file(pack)) != pack.size}
        if lost:  # are there other copies of their chunks?
            self._missing |= lost
            for root in roots:
                for _ in self.wanted(root):
                    pass

    def resolve(self, stream: Stream) -> None:
        """Raise `DamageError` unless every chunk of the stream is in an index."""
        self._needed([stream.layout, stream.skeleton, stream.content])

    def _needed(self, roots: Iterable[Root]) -> set[int]:
        """Return the numbers of packs that hold all chunks of the sequences."""
        needed: set[int] = set()
        for root in roots:
            for batch in self._batches(root):
                numbers = self._cache.some_pack(self._domain, [id_ for id_, _ in batch])
                for (id_, _), number in zip(batch, numbers, strict=True):
                    if not number:
                        raise self._nowhere(id_)
                    needed.add(number)
        return needed

    def read(self, stream: Stream) -> Iterator[bytes | memoryview]:
        """Yield the stream's bytes, in order."""
        with ThreadPoolExecutor(self._threads, "read") as pool:

            def sequence(root: Root) -> SequenceReader:
                return SequenceReader(self.wanted(root), self.data, pool, self._threads, eager=True)

            content, skeleton, plan = map(sequence, (stream.content, stream.skeleton, stream.layout))
            try:
                if stream.layout.size:
                    lengths = splitting.lengths(plan.copy(stream.layout.size))
                    for number, length in enumerate(lengths):
                        yield from (content if number % 2 else skeleton).copy(length)
                else:
                    yield from content.copy(stream.content.size)
                content.finish()
                skeleton.finish()
            finally:
                for one in (content, skeleton, plan):
                    one.close()

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
        self._locate(chunks, self.data)

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
            zip(samples, self._locate([chunks[position] for position in samples], self.data), strict=True)
        )
        found: list[Wanted] = []
        for first, last in pairwise(samples):
            run = self._infer(known[first], chunks[first:last], known[last])
            found += run if run is not None else self._locate(chunks[first:last], self.data)
        found.append(known[samples[-1]])
        return found

    def _infer(self, first: Wanted, chunks: list[tuple[bytes, int]], last: Wanted) -> list[Wanted] | None:
        """Return the places of chunks from `first` up to `last`, if they lie one after the other in one pack."""
        at, end = first.places[0], last.places[0]
        if at.pack != end.pack or at.block > end.block:
            return None
        blocks = self.data.pack(at.pack).blocks
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
            reader = self._nodes if kind is Kind.TREE else self.data
            return [place for place in places if place.pack not in self._missing and reader.has(place.pack)]

        return look_up

    def _nowhere(self, id_: bytes) -> DamageError:
        return DamageError(
            f"the chunk {id_.hex()} is in no index file of the domain {self._domain}, or its pack is missing",
            "see what is missing: dedup check",
        )
