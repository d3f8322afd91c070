"""What the rows of the index cache look like, and how an index file becomes rows.

Invariant: a row is of a fixed size and names its pack; a pack's row names the index file that it came from.

A chunk's row is its domain's number (2 bytes) and id (32) as the key, its location (12) as the value:

    pack 31 bits ‖ block 22 ‖ offset 22 ‖ length - 1: 21        (big-endian)

A pack has at most 2^22 blocks (64 MiB, of 17 bytes at least), a block 2^22 bytes, a chunk 2^21.  LMDB adds
10 bytes; as random keys fill the pages of a B-tree to 70 %, that makes 80 bytes a chunk.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

import msgspec

from dedupstore import layout, records
from dedupstore.errors import DamageError

NO_PACK = 1 << 32  # above every pack's number
SCHEMA = 3  # to be raised whenever a row changes its meaning
TABLES: dict[str, dict[str, bool]] = {
    "files": {},  # index file name -> FileRow
    "packs": {},  # number (from 1) -> order, CachedPack
    "chunks": {"dupsort": True, "dupfixed": True},  # domain's number, id -> locations
    "domains": {},  # SHA-256 of a domain -> its number, which never changes
    "counters": {},  # "next pack" -> number
    "doomed": {},  # numbers of packs whose rows are to be removed
    "headers": {},  # snapshot name -> header
    "payloads": {},  # snapshot name -> codec (0: as it is, 1: Zstandard), payload
}

PREFIX = struct.Struct(">H")
BLOCK_BITS, OFFSET_BITS, LENGTH_BITS = 22, 22, 21
LOCATION_SIZE = 12
BATCH_ROWS = 1024  # in one transaction, which holds a page of 4 KiB for nearly each of them in memory
SORT_ROWS = 1 << 16

_FILE = struct.Struct(">QIIBBB")
_ORDER = struct.Struct(">Q32s")
ORDER_SIZE = _ORDER.size

Row = tuple[bytes, bytes]


class Location(NamedTuple):
    """Where a chunk lies: the pack's number in the cache (from 1), the block's position in the pack (from 0), the
    chunk's offset in the unpacked block and its length, in bytes.
    """

    pack: int
    block: int
    offset: int
    length: int


class CachedBlock(NamedTuple):
    """A block: its key's position in the pack's keys, its number, and sizes and place (`at`, in the file) in bytes."""

    key: int
    number: int
    stored: int
    at: int
    unpacked: int
    chunks: int


class CachedPack(msgspec.Struct, array_like=True, frozen=True):
    """A pack as an index file named it; `columns` is the SHA-256 of its ids and lengths, one after the other."""

    name: records.Bin32
    kind: str
    size: int
    keys: list[records.PackKey]
    blocks: tuple[CachedBlock, ...]
    columns: records.Bin32


class FileRow(NamedTuple):
    """An index file: its time, its packs' numbers (`first` and so many more), and what is known of it.

    `complete`: all its rows are there.  `verified`: its packs were looked for in the back end; `lost`: some were not.
    """

    time: int
    first: int
    packs: int
    complete: bool
    verified: bool
    lost: bool = False

    def encode(self) -> bytes:
        """Return the row's value."""
        return _FILE.pack(*self)

    @classmethod
    def decode(cls, value: bytes) -> "FileRow":
        """Read a row's value; raises `struct.error`."""
        time, first, packs, complete, verified, lost = _FILE.unpack(value)
        return cls(time, first, packs, bool(complete), bool(verified), bool(lost))

    @property
    def numbers(self) -> range:
        """The numbers of its packs."""
        return range(self.first, self.first + self.packs)


def number_key(number: int) -> bytes:
    """Return the key of a pack's row."""
    return number.to_bytes(4, "big")


def domain_key(domain: str) -> bytes:
    """Return the key of a domain's row."""
    return layout.sha256(domain.encode())


def location(value: bytes) -> Location:
    """Read a chunk row's value."""
    bits = int.from_bytes(value, "big")
    return Location(
        bits >> BLOCK_BITS + OFFSET_BITS + LENGTH_BITS,
        bits >> OFFSET_BITS + LENGTH_BITS & (1 << BLOCK_BITS) - 1,
        bits >> LENGTH_BITS & (1 << OFFSET_BITS) - 1,
        (bits & (1 << LENGTH_BITS) - 1) + 1,
    )


def pack_of(value: bytes) -> int:
    """Return the pack's number from a chunk row's value."""
    return int.from_bytes(value[:4], "big") >> 1


def encode_pack(time: int, index_name: bytes, pack: CachedPack) -> bytes:
    """Return a pack row's value; its first `ORDER_SIZE` bytes sort copies from the oldest on."""
    return _ORDER.pack(time, index_name) + msgspec.msgpack.encode(pack)


def decode_pack(value: bytes) -> CachedPack:
    """Read a pack row's value; raises `msgspec.MsgspecError`."""
    return msgspec.msgpack.decode(memoryview(value)[ORDER_SIZE:], type=CachedPack)


def describe(pack: records.IndexedPack, index_name: bytes) -> CachedPack:
    """Return what the cache keeps of a pack besides its chunks.

    Raises `DamageError` if the index file claims chunks or blocks that cannot be.
    """
    lengths = _lengths(pack)
    blocks = []
    at, chunk = layout.HEADER_SIZE, 0
    for key, number, stored, count in pack.blocks:
        part = lengths[chunk : chunk + count]
        if not all(0 < length <= layout.MAX_CHUNK for length in part) or sum(part) > layout.MAX_BLOCK:
            raise _impossible(index_name, "a chunk or block of an impossible length")
        blocks.append(CachedBlock(key, number, stored, at, sum(part), count))
        at += stored
        chunk += count
    if len(blocks) > 1 << BLOCK_BITS:
        raise _impossible(index_name, "more blocks than a pack can hold")
    columns = layout.sha256(pack.ids + pack.lengths)
    return CachedPack(pack.name, pack.kind, pack.size, pack.keys, tuple(blocks), columns)


def batches(prefix: bytes, first: int, packs: list[records.IndexedPack]) -> Iterator[list[Row]]:
    """Yield the chunks' rows, at most `BATCH_ROWS` at once, sorted over long stretches.

    Sorted rows fall side by side: fewer pages are written, and one transaction touches few of them.
    """
    pending: list[Row] = []
    for number, pack in enumerate(packs, first):
        pending.extend(_rows(prefix, number, pack))
        if len(pending) >= SORT_ROWS:
            yield from _sorted_batches(pending)
            pending = []
    yield from _sorted_batches(pending)


def _sorted_batches(rows: list[Row]) -> Iterator[list[Row]]:
    rows.sort(key=itemgetter(0))
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        yield batch


def _rows(prefix: bytes, number: int, pack: records.IndexedPack) -> Iterator[Row]:
    ids, lengths = pack.ids, iter(_lengths(pack))
    at = 0
    for position, block in enumerate(pack.blocks):
        place = number << BLOCK_BITS | position
        offset = 0
        for length in islice(lengths, block[3]):
            bits = (place << OFFSET_BITS | offset) << LENGTH_BITS | length - 1
            yield prefix + ids[at : at + 32], bits.to_bytes(LOCATION_SIZE, "big")
            at += 32
            offset += length


def _lengths(pack: records.IndexedPack) -> tuple[int, ...]:
    return struct.unpack(f"<{len(pack.lengths) // 4}I", pack.lengths)


def _impossible(index_name: bytes, what: str) -> DamageError:
    return DamageError(f"{layout.content_file(layout.Kind.INDEX, index_name)} claims {what}")
