"""Read packs whole, several at once, and prove every byte of them.

Invariant: findings are reported in the order in which the packs were given, whatever the threads do.  Memory: a few
parts of each pack that is being read.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

from dedupstore.access import Access
from dedupstore.backends.contract import Backend
from dedupstore.cache import row_formats
from dedupstore.cache.index_cache import CachedPack
from dedupstore.chunks.ids import short_ids
from dedupstore.errors import DamageError, NewerFormatError, NotFoundError
from dedupstore.format import blocks, layout, packs, recipes
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import IndexedPack

PART = (
    2 << 20
)  # of a pack, in one read: the same for all, so that the storage does not see how long blocks are
_LAST = 256 << 10  # in which a pack's table mostly is
_AT_ONCE = 6  # packs, at most: that many over a long way, else one more than there are cores


class _Read(NamedTuple):
    """What became of a pack: how many chunks were proven, and what is wrong (nothing if all is well)."""

    chunks: int
    problem: str
    newer: bool = False  # it needs a newer program


class PackReadings:
    """Reads packs in threads; a context manager.  `chunks` counts chunks.

    `report` is called with each finding, in order, `newer` with those that need a newer program.
    """

    def __init__(
        self, backend: Backend, access: Access, report: Callable[[str], None], newer: Callable[[str], None]
    ) -> None:
        self._backend = backend
        self._access = access
        self._report = report
        self._newer = newer
        near = max(2, os.cpu_count() or 1) + 1
        self._at_once = _AT_ONCE if backend.properties.remote else min(near, _AT_ONCE)
        self._pool = ThreadPoolExecutor(self._at_once, "check")
        self._unreported: deque[Future[_Read] | str] = deque()
        self.chunks = 0

    def __enter__(self) -> "PackReadings":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._unreported:
                self._next()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def note(self, finding: str) -> None:
        """Report this after the findings in the packs before."""
        self._unreported.append(finding)
        self._keep_few()

    def read(self, pack: CachedPack, domain: bytes, *, open_blocks: bool) -> None:
        """Read a pack, and compare it with what an index file of a domain (`row_formats.domain_key`) says of it.

        With `open_blocks` its chunks are proven, otherwise that its blocks are those that their author stored.
        """
        self._unreported.append(self._pool.submit(self._work, pack, domain, open_blocks))
        self._keep_few()

    def _keep_few(self) -> None:
        while len(self._unreported) > 2 * self._at_once:
            self._next()

    def _next(self) -> None:
        found = self._unreported.popleft()
        if isinstance(found, str):
            self._report(found)
            return
        chunks, problem, newer = found.result()
        self.chunks += chunks
        if problem:
            (self._newer if newer else self._report)(problem)

    def _work(self, pack: CachedPack, domain: bytes, open_blocks: bool) -> _Read:
        try:
            return _Read(_read_pack(self._backend, self._access, pack, domain, open_blocks=open_blocks), "")
        except NewerFormatError as error:
            return _Read(0, str(error), newer=True)
        except (DamageError, NotFoundError) as error:
            return _Read(0, str(error))


def _read_pack(
    backend: Backend, access: Access, claimed: CachedPack, domain: bytes, *, open_blocks: bool
) -> int:
    """Read a pack and return how many chunks were proven.

    Raises `DamageError` if it is not what its name and the index file say, or a chunk is not; `NotFoundError`.
    """
    kind, digest, name = claimed.file_kind, claimed.name, claimed.file
    parts = _Parts(backend, name, claimed.size)
    problem: DamageError | NewerFormatError | None = None
    prover: _Prover | None = None
    chunks = 0
    try:
        entry = packs.read_entry(access, kind, digest, claimed.size, parts.read)
        own = packs.open_table(access, entry.tables[0], name).domain
        described = packs.describe(access, entry, own, name)
        chunks = len(described.lengths) if open_blocks else 0
        prover = _Prover(access, kind, entry, described, name, open_blocks=open_blocks)
    except (DamageError, NewerFormatError) as error:
        problem = error
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
        if prover and not problem:
            try:
                prover.feed(part)
            except DamageError as error:
                problem = error
    if hashed.digest() != digest:  # which explains all else
        raise DamageError(f"{name} is not what its name says: its SHA-256 differs")
    if problem:
        raise problem
    if row_formats.domain_key(own) != domain:
        raise DamageError(f"{name} is of another domain than the index file that names it")
    own_row = row_formats.cached_pack(entry, described)
    # an index file may have more sealings of a key
    if ([key_id for key_id, _ in own_row.keys], own_row.blocks, own_row.columns) != (
        [key_id for key_id, _ in claimed.keys],
        claimed.blocks,
        claimed.columns,
    ):
        raise DamageError(f"{name} is described wrongly by an index file that names it")
    return chunks


class _Parts:
    """The parts of a pack, in order; `read` gives other ranges of it.  The first and the last are held."""

    def __init__(self, backend: Backend, name: str, size: int) -> None:
        self._backend = backend
        self._name = name
        starts = range(0, max(1, size - _LAST), PART)
        self._ranges = [(at, min(at + PART, size)) for at in starts[:-1]] + [(starts[-1], size)]
        self._held = {
            at: memoryview(backend.read(name, at, end - at))
            for at, end in {self._ranges[0], self._ranges[-1]}
        }

    def read(self, offset: int, length: int) -> bytes:
        """Return a range of the pack."""
        for at, part in self._held.items():
            if at <= offset and offset + length <= at + len(part):
                return bytes(part[offset - at : offset - at + length])
        return self._backend.read(self._name, offset, length)

    def __iter__(self) -> Iterator[memoryview]:
        for at, end in self._ranges:
            held = self._held.pop(at) if at in self._held else None
            yield held or memoryview(self._backend.read(self._name, at, end - at))


class _Prover:
    """Opens a pack's blocks as its bytes come, and proves their chunks."""

    def __init__(
        self,
        access: Access,
        kind: Kind,
        entry: IndexedPack,
        described: packs.Described,
        name: str,
        *,
        open_blocks: bool,
    ) -> None:
        self._name = name
        self._id_key = recipes.node_key(access.id_key) if kind is Kind.TREE else access.id_key
        self._keys = [packs.open_key(access, kind, sealed) for sealed in entry.keys] if open_blocks else []
        self._ids = described.ids
        self._lengths = described.lengths
        self._blocks = deque(described.blocks)
        self._chunk = 0
        self._skip = layout.HEADER_SIZE
        self._begun = b""  # of the next block

    def feed(self, part: memoryview) -> None:
        """Take the next bytes of the pack; raises `DamageError` for a block or chunk that is not what it must be."""
        at, self._skip = self._skip, 0
        while self._blocks:
            end = at + self._blocks[0].stored - len(self._begun)
            if end > len(part):
                self._begun += part[at:]
                return
            self._prove(self._begun + part[at:end] if self._begun else part[at:end])
            at, self._begun = end, b""

    def _prove(self, data: bytes | memoryview) -> None:
        block = self._blocks.popleft()
        first, self._chunk = self._chunk, self._chunk + block.chunks
        if not self._keys:
            if blocks.seal_of(data) != block.seal:
                raise DamageError(f"{self._name} holds a block that is not the one that its author stored")
            return
        lengths = self._lengths[first : self._chunk]
        ids = self._ids[layout.SHORT_ID * first : layout.SHORT_ID * self._chunk]
        opened = blocks.open_block(self._keys[block.key], block.number, data, block.unpacked, self._name)
        if short_ids(memoryview(opened), lengths, self._id_key) != ids:
            raise DamageError(f"{self._name} holds chunks that are not those of its table")
