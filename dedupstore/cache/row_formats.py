"""The rows of the index cache, and how an index file becomes rows.

Invariant: what is kept of a chunk names its pack; a pack's row names the index file that it came from.

What is known of a pack's chunks, its columns, is kept in the pack's order, so that a stream that comes again is
compared with one part after the other.  A part has up to `PART` chunks: their short ids (16 bytes each), then
their places in the pack (8 each):

    block 16 bits ‖ offset 22 ‖ length - 1: 21        (big-endian)

A pack has at most 2^16 blocks, a block 2^22 bytes, a chunk 2^21.

A hint says where a chunk may be: the first 6 bytes of its id ‖ pack 30 bits ‖ position in the pack 18
(big-endian).  What a hint says is always compared with the columns.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, count
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from dedupstore.format import layout, pack_records, records

if TYPE_CHECKING:
    from dedupstore.format.packs import Described

NO_PACK = 1 << 32  # above every pack's number
SCHEMA = 8  # to be raised whenever a row changes its meaning
TABLES: dict[str, dict[str, bool]] = {
    "files": {},  # index file name -> FileRow
    "packs": {},  # number (from 1) -> order, CachedPack
    "columns": {},  # number of a pack -> its domain's number, and where its columns are
    "ends": {},  # file of columns -> the end of its last piece
    "recent": {"dupsort": True, "dupfixed": True},  # domain's number -> hints that are in no file yet
    "hints": {},  # domain's number, serial -> a file of hints
    "domains": {},  # SHA-256 of a domain -> its number, which never changes
    "counters": {},  # "next pack" -> number, "hints" -> serial of the newest file, "columns" -> the newest file
    "doomed": {},  # numbers of packs whose rows are to be removed
    "headers": {},  # snapshot name -> header
    "replaced": {},  # name of an index file that another stands for -> that one's
    "rejected": {},  # file -> why it was refused
    "records": {},  # small record file -> signer, payload
    "payloads": {},  # snapshot name -> codec (0: as it is, 1: Zstandard), payload
}

PREFIX = struct.Struct(">H")
OFFSET_BITS, LENGTH_BITS = 22, 21
_BLOCK_SHIFT = OFFSET_BITS + LENGTH_BITS
_OFFSETS, _LENGTHS = (1 << OFFSET_BITS) - 1, (1 << LENGTH_BITS) - 1  # masks
PLACE_SIZE = 8
ID = layout.SHORT_ID
WIDTH = ID + PLACE_SIZE
PART = 64  # chunks
FINGERPRINT = 6  # bytes: a false match, one in 2^48, only costs a read of the columns
POSITION_BITS = 18
HINT_SIZE = 12
BATCH_ROWS = 8192  # chunks that one transaction adds

_FILE = struct.Struct(">QIIBBB32s")
_ORDER = struct.Struct(">Q32s")
_FINGERPRINT = struct.Struct(f"{FINGERPRINT}s{ID - FINGERPRINT}x")  # of a short id
ORDER_SIZE = _ORDER.size


class Location(NamedTuple):
    """Where a chunk lies: the pack's number in the cache (from 1), the block's position in the pack (from 0), the
    chunk's offset in the unpacked block and its length, in bytes.
    """

    pack: int
    block: int
    offset: int
    length: int


class Span(NamedTuple):
    """Chunks that lie in a block as they were asked for: the first one's position there, how many, and where.

    `offset` and `size` are bytes of the unpacked block.
    """

    at: int
    chunks: int
    pack: int
    block: int
    offset: int
    size: int


class CachedBlock(NamedTuple):
    """A block: its key's position in the pack's keys, its number, and sizes and place (`at`, in the file) in bytes."""

    key: int
    number: int
    stored: int
    at: int
    unpacked: int
    chunks: int


class CachedPack(pack_records.NamedPack, array_like=True, frozen=True):
    """A pack as an index file named it; `columns` is what `columns_digest` gives."""

    keys: list[pack_records.PackKey]
    blocks: tuple[CachedBlock, ...]
    columns: records.Bin32


class DescribedIndex(NamedTuple):
    """An index file that was verified: who signed it, what it says, and what is in each of its packs."""

    signer: bytes
    record: pack_records.Index
    packs: "list[Described]"


class FileRow(NamedTuple):
    """An index file: its time, its packs' numbers (`first` and so many more), and what is known of it.

    `signer` signed it.  `complete`: all its rows are there.  `verified`: its packs were looked for in the back
    end; `lost`: some were not.
    """

    time: int
    first: int
    packs: int
    complete: bool
    verified: bool
    signer: bytes
    lost: bool = False

    def encode(self) -> bytes:
        """Return the row's value."""
        return _FILE.pack(*self[:5], self.lost, self.signer)

    @classmethod
    def decode(cls, value: bytes) -> "FileRow":
        """Read a row's value; raises `struct.error`."""
        time, first, packs, complete, verified, lost, signer = _FILE.unpack(value)
        return cls(time, first, packs, bool(complete), bool(verified), signer, bool(lost))

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


def hint_pack(hint: bytes) -> int:
    """Return the pack's number from a hint."""
    return int.from_bytes(hint[FINGERPRINT:], "big") >> POSITION_BITS


def location(number: int, part: bytes, at: int) -> Location:
    """Return where chunk `at` of a part of pack `number`'s columns lies."""
    (bits,) = _places_of(part, at, 1)
    return Location(number, *_place(bits))


def spans(first: int, number: int, part: bytes, at: int, lengths: list[int]) -> Iterator[Span]:
    """Yield where chunks of a part lie, from chunk `at` on, joined if they are in one block.

    The first was asked for at position `first`; those that have not the lengths that they are to have are left out.
    """
    count = len(lengths)
    places = _places_of(part, at, count)  # ascending, and within a block without gaps
    if [(bits & _LENGTHS) + 1 for bits in places] != lengths:
        for position, (bits, length) in enumerate(zip(places, lengths, strict=True), first):
            block, offset, has = _place(bits)
            if has == length:
                yield Span(position, 1, number, block, offset, length)
        return
    start = 0
    while start < count:
        block, offset, _ = _place(places[start])
        end = bisect_left(places, block + 1 << _BLOCK_SHIFT, start, count)
        _, last, length = _place(places[end - 1])
        yield Span(first + start, end - start, number, block, offset, last + length - offset)
        start = end


def _places_of(part: bytes, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f">{count}Q", part, len(part) // WIDTH * ID + at * PLACE_SIZE)


def _place(bits: int) -> tuple[int, int, int]:
    """Return a block, and offset and length in it."""
    return bits >> _BLOCK_SHIFT, bits >> LENGTH_BITS & _OFFSETS, (bits & _LENGTHS) + 1


def encode_pack(time: int, index_name: bytes, pack: CachedPack) -> bytes:
    """Return a pack row's value; its first `ORDER_SIZE` bytes sort copies from the oldest on."""
    return _ORDER.pack(time, index_name) + msgspec.msgpack.encode(pack)


def decode_pack(value: bytes) -> CachedPack:
    """Read a pack row's value; raises `msgspec.MsgspecError`."""
    return records.decoder(CachedPack).decode(memoryview(value)[ORDER_SIZE:])


def cached_pack(pack: pack_records.IndexedPack, described: "Described") -> CachedPack:
    """Return what the cache keeps of a pack besides its chunks."""
    blocks = tuple(CachedBlock(*block[:6]) for block in described.blocks)
    return CachedPack(pack.name, pack.kind, pack.size, pack.keys, blocks, columns_digest(described))


def columns_digest(described: "Described") -> bytes:
    """Return a digest of a pack's chunks; it differs between machines of other byte order."""
    return layout.sha256(described.ids + described.lengths.tobytes())


def columns(packs: "list[Described]") -> Iterator[bytes]:
    """Yield the columns of these packs, part by part."""
    for pack in packs:
        places = _places(pack)
        for at in range(0, len(places), PART):
            some = places[at : at + PART]
            yield pack.ids[ID * at : ID * (at + len(some))] + struct.pack(f">{len(some)}Q", *some)


def hints(first: int, packs: "list[Described]") -> Iterator[list[bytes]]:
    """Yield the hints of these packs, the first of which has that number, sorted, at most `BATCH_ROWS` at once."""
    pending: list[bytes] = []
    for number, pack in enumerate(packs, first):
        places = count(number << POSITION_BITS)
        for start in range(0, len(pack.ids), ID * BATCH_ROWS):
            fingerprints = _FINGERPRINT.iter_unpack(pack.ids[start : start + ID * BATCH_ROWS])
            pending += [
                begin + place.to_bytes(6, "big")
                for (begin,), place in zip(fingerprints, places, strict=False)
            ]
            while len(pending) >= BATCH_ROWS:
                yield sorted(pending[:BATCH_ROWS])
                del pending[:BATCH_ROWS]
    yield sorted(pending)


def _places(pack: "Described") -> list[int]:
    places: list[int] = []
    for position, block in enumerate(pack.blocks):
        lengths = pack.lengths[len(places) : len(places) + block.chunks]
        offsets = accumulate(lengths, initial=position << OFFSET_BITS)
        places += [
            offset << LENGTH_BITS | length - 1 for offset, length in zip(offsets, lengths, strict=False)
        ]
    return places
