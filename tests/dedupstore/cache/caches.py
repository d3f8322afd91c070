"""Index files to put into a cache, small enough that a few thousand chunks are many."""

import hashlib
from array import array
from pathlib import Path
from typing import NamedTuple

from dedupstore.cache import all_hints, column_files, row_formats
from dedupstore.cache.file import CacheFile
from dedupstore.cache.index_cache import IndexCache
from dedupstore.cache.row_formats import SCHEMA, TABLES, DescribedIndex
from dedupstore.format import layout
from dedupstore.format.pack_records import Index, IndexedPack, PackKey, SignedTable
from dedupstore.format.packs import Described, DescribedBlock

REPOSITORY = bytes(range(16))
BATCH = 1024  # chunks in a transaction, here
MANY = 2 * BATCH + 10  # chunks that take three
THROWN_AWAY = r"was damaged .* has been discarded"
SMALL = [  # so that a few thousand chunks are many
    (row_formats, "BATCH_ROWS", BATCH),
    (all_hints, "MOST_RECENT", 3000),
    (column_files, "MOST", 100_000),
    (column_files, "OPEN_FILES", 3),
]


def digest(*parts: object) -> bytes:
    """Return 32 bytes, the same for the same parts."""
    return hashlib.sha256(repr(parts).encode()).digest()


def chunk_ids(seed: object, count: int) -> list[bytes]:
    """Return `count` ids."""
    data = hashlib.shake_128(repr(seed).encode()).digest(32 * count)
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def known(cache: IndexCache, domain: str, ids: list[bytes]) -> list[bool]:
    """Ask for ids wherever they are."""
    return cache.known(domain, ids, 1 << 31, ())


class Packed(NamedTuple):
    """A pack as an index file names it, and what is in it."""

    entry: IndexedPack
    described: Described


def pack_of(name: object, blocks: list[list[tuple[bytes, int]]], *, kind: str = "D", keys: int = 1) -> Packed:
    """Return a pack of blocks of (chunk id, length)."""
    found, at = [], layout.HEADER_SIZE
    for n, block in enumerate(blocks):
        size = sum(length for _, length in block)
        found.append(DescribedBlock(n % keys, 7 + n, 100 + n, at, size, len(block), bytes(16)))
        at += 100 + n
    listed: list[PackKey] = [(digest("key", n)[:16], ((1, bytes(1168)),)) for n in range(keys)]
    entry = IndexedPack(
        name=digest("pack", name),
        kind=kind,
        size=at + 5000,
        keys=listed,
        blocks=b"",
        tables=[SignedTable(bytes(32), bytes(64), b"")] * keys,
    )
    chunks = [chunk for block in blocks for chunk in block]
    ids = b"".join(id_[:16] for id_, _ in chunks)
    return Packed(entry, Described(found, ids, array("I", [length for _, length in chunks])))


def index_of(
    *packs: Packed, domain: str = "here", time: int = 1, signer: bytes = bytes(32), replaces: bytes = b""
) -> DescribedIndex:
    """Return an index file that was verified."""
    entries = [pack.entry for pack in packs]
    index = Index(run=bytes(16), domain=domain, time=time, packs=entries, replaces=replaces)
    return DescribedIndex(signer, index, [pack.described for pack in packs])


def simple(
    seed: object, ids: list[bytes], *, domain: str = "here", time: int = 1
) -> tuple[bytes, DescribedIndex]:
    """Return name and payload of an index file with one pack of these chunks, 1000 bytes each."""
    blocks = [[(id_, 1000) for id_ in ids[at : at + 64]] for at in range(0, len(ids), 64)]
    return digest("index", seed), index_of(pack_of(seed, blocks), domain=domain, time=time)


def numbered(seed: int) -> tuple[bytes, DescribedIndex, list[bytes]]:
    """Return the index file of that number, and its ids; each takes three transactions."""
    ids = chunk_ids(seed, MANY)
    return *simple(seed, ids, time=seed), ids


def index_files(folder: Path) -> set[bytes]:
    """Open the cache, list and close it."""
    cache = IndexCache(folder, REPOSITORY)
    listed = cache.index_files()
    cache.close()
    return listed


def check_consistency(folder: Path) -> None:
    """Check that rows and records of index files agree, by reading all of them."""
    cache = IndexCache(folder, REPOSITORY)
    chunks = {
        number: sum(block.chunks for block in pack.blocks)
        for number, pack in cache.packs_of(cache.index_files())
    }
    cache.close()
    file = CacheFile(folder, b"%d:%s" % (SCHEMA, REPOSITORY), TABLES)
    found = dict.fromkeys(chunks, 0)
    with file.environment.begin() as txn:
        for key, value in txn.cursor(file.tables["columns"]):
            found[int.from_bytes(key, "big")] += int.from_bytes(
                value[-4:], "big"
            )  # or a row without its file
        assert txn.stat(file.tables["packs"])["entries"] == len(chunks)
        assert txn.stat(file.tables["doomed"])["entries"] == 0
    file.close()
    assert chunks == found
