"""Records of packs: keys, places of blocks, signed tables, and index files (docs/format.md 7, 8).

Invariant: as of all records, see `records`; the columns of a table and of a pack agree with each other.
"""

import struct
from array import array
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.format.records import Bin16, Bin32, Count, Text, check_column

Sealings = Annotated[
    tuple[
        tuple[Annotated[int, Meta(ge=1, lt=2**32)], Annotated[bytes, Meta(min_length=48, max_length=4096)]],
        ...,
    ],
    Meta(min_length=1, max_length=layout.MAX_SEALINGS),
]
PackKey = tuple[Bin16, Sealings]  # key id; epoch and sealed key, once or more
PackKeys = Annotated[list[PackKey], Meta(min_length=1, max_length=layout.MAX_PACK_KEYS)]


_LEAST_STORED = 17  # bytes of a block: its codec and tag
_PLACED = struct.Struct("<II")
_HELD = struct.Struct("<II16s")
_LENGTH = struct.Struct("<I")


class PlacedBlock(NamedTuple):
    """A block of a pack: the position of its key in the pack's keys, and its number under that key."""

    key: int
    number: int


class HeldBlock(NamedTuple):
    """A block of a table: its stored bytes with the tag, how many chunks, and the beginning of its BLAKE3."""

    stored: int
    chunks: int
    seal: bytes


class Table(msgspec.Struct, frozen=True, dict=True):
    """What all blocks of one data key hold; the payload of a signed table."""

    key: Bin16
    kind: str
    domain: Text
    blocks: bytes
    ids: bytes
    lengths: bytes

    def __post_init__(self) -> None:
        """Refuse columns that do not agree with each other, and what no block can be."""
        if self.kind not in ("D", "T"):
            raise ValueError("neither a data nor a tree pack")
        count, odd = divmod(len(self.blocks), _HELD.size)
        if odd or count > layout.MAX_PACK_BLOCKS or len(self.lengths) % _LENGTH.size:
            raise ValueError("a column of the table is cut short, or too long")
        chunks = len(self.lengths) // _LENGTH.size
        if len(self.ids) != layout.SHORT_ID * chunks or chunks > layout.MAX_PACK_CHUNKS:
            raise ValueError("the table's columns differ in length, or are too long")
        at = 0
        for block in self.held:
            part = self.sizes[at : at + block.chunks]
            at += block.chunks
            if not 1 <= block.chunks == len(part) or block.stored > layout.MAX_FILE:
                raise ValueError("a block has no chunks, or more than there are")
            if block.stored <= _LEAST_STORED or sum(part) > layout.MAX_BLOCK:
                raise ValueError("a block of an impossible length")
            if min(part) == 0 or max(part) > layout.MAX_CHUNK:
                raise ValueError("a chunk of an impossible length")
        if at != chunks:
            raise ValueError("the table has chunks of no block")

    @cached_property
    def held(self) -> list[HeldBlock]:
        """The blocks, by number."""
        return [HeldBlock(*row) for row in _HELD.iter_unpack(self.blocks)]

    @cached_property
    def sizes(self) -> "array[int]":
        """The chunks' lengths in bytes, in order."""
        return array("I", chain.from_iterable(_LENGTH.iter_unpack(self.lengths)))

    @cached_property
    def starts(self) -> list[int]:
        """The position of each block's first chunk, by number."""
        starts, at = [], 0
        for block in self.held:
            starts.append(at)
            at += block.chunks
        return starts


class SignedTable(msgspec.Struct, array_like=True, frozen=True):
    """A table as it was signed; `payload` is a `Table`, encoded."""

    signer: Bin32
    signature: Annotated[bytes, Meta(max_length=4096)]
    payload: bytes


SignedTables = Annotated[list[SignedTable], Meta(min_length=1, max_length=layout.MAX_PACK_KEYS)]


class PackTables(msgspec.Struct, frozen=True):
    """What a pack says of itself: its blocks (`PlacedBlock`, a column) and a table for each of its keys."""

    blocks: bytes
    tables: SignedTables


class NamedPack(msgspec.Struct, frozen=True):
    """What names a pack; `kind` is the letter of its `file_kind`."""

    name: Bin32
    kind: str
    size: Annotated[int, Meta(ge=0, le=layout.MAX_FILE)]

    @property
    def file_kind(self) -> Kind:
        """Data or tree."""
        return Kind(self.kind.encode())

    @property
    def file(self) -> str:
        """The pack's name in the repository."""
        return layout.content_file(self.file_kind, self.name)


class IndexedPack(NamedPack, frozen=True):
    """One pack as an index file names it."""

    keys: PackKeys
    blocks: bytes
    tables: SignedTables

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; the tables are held against it by `packs.describe`."""
        if self.kind not in ("D", "T"):
            raise ValueError("neither a data nor a tree pack")
        if len(self.tables) != len(self.keys) or len({key_id for key_id, _ in self.keys}) != len(self.keys):
            raise ValueError("not one table for each key")
        if len(self.blocks) % _PLACED.size or len(self.blocks) // _PLACED.size > layout.MAX_PACK_BLOCKS:
            raise ValueError("the column of blocks is cut short, or too long")

    def placed(self) -> Iterator[PlacedBlock]:
        """Yield the blocks, in file order."""
        return (PlacedBlock(*row) for row in _PLACED.iter_unpack(self.blocks))


def place_blocks(blocks: "list[PlacedBlock]") -> bytes:
    """Return the column of a pack's blocks."""
    return b"".join(_PLACED.pack(*block) for block in blocks)


def hold_blocks(blocks: "list[HeldBlock]") -> bytes:
    """Return the column of a table's blocks."""
    return b"".join(_HELD.pack(*block) for block in blocks)


class Index(msgspec.Struct, frozen=True):
    """An index file's payload; `replaces` is a column of index files' names."""

    run: Bin16
    domain: Text
    time: Count
    packs: Annotated[list[IndexedPack], Meta(max_length=layout.MAX_INDEX_PACKS)]
    replaces: bytes = b""

    def __post_init__(self) -> None:
        """Refuse more than an index file may hold; its tables are counted before any is decoded."""
        check_column(self.replaces, 32)
        blocks = sum(len(pack.blocks) for pack in self.packs) // _PLACED.size
        held = sum(len(table.payload) for pack in self.packs for table in pack.tables)
        if blocks > layout.MAX_PACK_BLOCKS or held > _MOST_TABLES:
            raise ValueError("more blocks or chunks than an index file may hold")


# bytes of all tables of an index file: their columns, and what is around these in each
_MOST_TABLES = (
    layout.MAX_PACK_CHUNKS * (layout.SHORT_ID + _LENGTH.size)
    + layout.MAX_PACK_BLOCKS * _HELD.size
    + layout.MAX_INDEX_PACKS * 1024
)
