"""The structured records of format 1, as MessagePack maps (docs/format.md 7 to 12).

Invariant: what these types accept is well-formed: every byte string has its length, every number its range.
Whether it is *true* is for the callers, who hold keys and other files against it.

What a file may hold many of lies in columns, byte strings of fixed-width items: decoding one makes one object,
however many items there are, so a small file cannot claim much memory.
"""

import struct
from array import array
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from dedupstore.errors import DamageError, DedupError
from dedupstore.format import layout
from dedupstore.format.layout import Kind

Bin16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bin32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Sequence = Annotated[int, Meta(ge=0, lt=layout.MAX_SEQUENCE)]

Text = Annotated[str, Meta(max_length=layout.MAX_STREAM_NAME)]

Sealings = Annotated[
    tuple[
        tuple[Annotated[int, Meta(ge=1, lt=2**32)], Annotated[bytes, Meta(min_length=48, max_length=4096)]],
        ...,
    ],
    Meta(min_length=1, max_length=layout.MAX_SEALINGS),
]
Facts = Annotated[bytes, Meta(max_length=layout.MAX_FACTS)]
PackKey = tuple[Bin16, Sealings]  # key id; epoch and sealed key, once or more
PackKeys = Annotated[list[PackKey], Meta(min_length=1, max_length=layout.MAX_PACK_KEYS)]

T = TypeVar("T")

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


def _is_column(column: bytes, width: int, most: int | None = None) -> None:
    count, odd = divmod(len(column), width)
    if odd or (most is not None and count > most):
        raise ValueError("a column is cut short, or too long")


def names(column: bytes) -> list[bytes]:
    """Return the items of a column of 32 bytes each."""
    return [column[at : at + 32] for at in range(0, len(column), 32)]


class Index(msgspec.Struct, frozen=True):
    """An index file's payload; `replaces` is a column of index files' names."""

    run: Bin16
    domain: Text
    time: Count
    packs: Annotated[list[IndexedPack], Meta(max_length=layout.MAX_INDEX_PACKS)]
    replaces: bytes = b""

    def __post_init__(self) -> None:
        """Refuse more than an index file may hold; its tables are counted before any is decoded."""
        _is_column(self.replaces, 32)
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


class Root(msgspec.Struct, array_like=True, frozen=True):
    """A sequence of chunks: the depth of its tree, the id at its top, its size in bytes, the top node's entries."""

    depth: Annotated[int, Meta(ge=0, le=layout.MAX_DEPTH)] = 0
    id: Annotated[bytes, Meta(max_length=32)] = b""
    size: Count = 0
    entries: Annotated[int, Meta(ge=0, le=layout.MAX_NODE_ENTRIES)] = 0

    def __post_init__(self) -> None:
        """Refuse an empty id for bytes, an id for none, and a tree without entries."""
        if (
            (self.size == 0) != (self.id == b"")
            or len(self.id) not in (0, 32)
            or (not self.id and self.depth)
            or (self.depth == 0) != (self.entries == 0)
        ):
            raise ValueError("the root of a sequence contradicts itself")


class Stream(msgspec.Struct, frozen=True):
    """One stored stream; sizes in bytes, times in Unix seconds.

    `facts` is the MessagePack of a map, not decoded: see `facts.py`.
    """

    name: Text
    kind: Text
    size: Count
    time: Count
    stored: Count
    new: Count
    content: Root
    skeleton: Root = Root()
    layout: Root = Root()
    facts: Facts = b""

    def __post_init__(self) -> None:
        """Refuse sizes that do not add up, and names that no writer may give."""
        try:
            layout.check_stream_name(self.name)
        except DedupError as error:
            raise ValueError(error.message) from None
        if self.size != self.content.size + self.skeleton.size:
            raise ValueError("the stream's size is not that of its parts")


class Origin(msgspec.Struct, frozen=True):
    """What a snapshot is a copy of, with new keys."""

    repository: Bin16
    snapshot: Bin32
    signer: Bin32
    sequence: Sequence


class Snapshot(msgspec.Struct, frozen=True):
    """The payload of a snapshot, and of a checkpoint (sequence 0)."""

    run: Bin16
    domain: Text
    sequence: Sequence
    heads: Annotated[dict[Bin32, tuple[Sequence, Bin32]], Meta(max_length=layout.MAX_HEADS)]
    time: Annotated[int, Meta(ge=0, le=layout.MAX_TIME)]
    utc_offset: Annotated[int, Meta(ge=-86399, le=86399)]
    started: Count
    finished: Count
    host: Text
    program: Text
    roster: tuple[Count, Bin32]
    streams: Annotated[list[Stream], Meta(max_length=layout.MAX_STREAMS)]
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Refuse two streams of one name, and sums that no repository holds."""
        if len({stream.name for stream in self.streams}) != len(self.streams):
            raise ValueError("two streams have one name")
        if any(
            sum(getattr(stream, column) for stream in self.streams) >= 2**63
            for column in ("size", "stored", "new")
        ):
            raise ValueError("the sizes of the streams are beyond all bounds")


class Run(msgspec.Struct, frozen=True):
    """A run has begun."""

    run: Bin16
    started: Count
    host: Text


class Done(msgspec.Struct, frozen=True):
    """These snapshots of a run count, and it relied on these new index files (columns of names)."""

    run: Bin16
    snapshots: bytes
    index: bytes
    finished: Count

    def __post_init__(self) -> None:
        """Refuse columns that are no names, or too many."""
        _is_column(self.snapshots, 32, layout.MAX_DONE_SNAPSHOTS)
        _is_column(self.index, 32, layout.MAX_DONE_INDEX)


class Ended(msgspec.Struct, frozen=True):
    """A run will publish nothing."""

    run: Bin16
    time: Count


class Ledger(msgspec.Struct, frozen=True):
    """Done records in one: `done` is a column of run 16, signer 32, snapshot 32."""

    time: Count
    replaces: bytes
    done: bytes

    def __post_init__(self) -> None:
        """Refuse columns that are cut short."""
        _is_column(self.replaces, 32)
        _is_column(self.done, 80)

    def entries(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield run, signer and snapshot of each."""
        return struct.iter_unpack("16s32s32s", self.done)


class Closing(msgspec.Struct, frozen=True, dict=True):
    """What counts of a removed signer: snapshots, index files, and what it signed as a pruner, as columns of names."""

    signer: Bin32
    time: Count
    snapshots: bytes
    index: bytes
    records: bytes

    def __post_init__(self) -> None:
        """Refuse columns that are cut short."""
        for column in (self.snapshots, self.index, self.records):
            _is_column(column, 32)

    @cached_property
    def counting(self) -> frozenset[bytes]:
        """The snapshots that count."""
        return frozenset(names(self.snapshots))

    @cached_property
    def others(self) -> frozenset[bytes]:
        """The ledgers, tombstones, condemned records and fences that count."""
        return frozenset(names(self.records))


class Condemned(msgspec.Struct, frozen=True):
    """What will be deleted: columns of names."""

    time: Count
    packs: bytes
    index: bytes
    snapshots: bytes
    abandoned: bytes

    def __post_init__(self) -> None:
        """Refuse columns that are cut short."""
        for column in (self.packs, self.index, self.snapshots, self.abandoned):
            _is_column(column, 32)


class Fence(msgspec.Struct, frozen=True):
    """A pruner does not wait for this run."""

    run: Bin16
    time: Count


class Tombstone(NamedTuple):
    """A snapshot that was deleted lawfully: its name, signer, the signer's head before it, its number."""

    snapshot: bytes
    signer: bytes
    previous: bytes
    sequence: int


class Tombstones(msgspec.Struct, frozen=True):
    """What was deleted lawfully: `snapshots` is a column of `Tombstone`, `index` one of names."""

    time: Count
    replaces: bytes
    snapshots: bytes
    index: bytes

    def __post_init__(self) -> None:
        """Refuse columns that are cut short."""
        _is_column(self.replaces, 32)
        _is_column(self.snapshots, _TOMBSTONE.size)
        _is_column(self.index, 32)

    def entries(self) -> Iterator[Tombstone]:
        """Yield them."""
        return (Tombstone(*row) for row in _TOMBSTONE.iter_unpack(self.snapshots))


_TOMBSTONE = struct.Struct("<32s32s32sQ")


_encoder = msgspec.msgpack.Encoder()
_decoders: "dict[type[Any], msgspec.msgpack.Decoder[Any]]" = {}
_preparing = Lock()


def encode(record: msgspec.Struct) -> bytes:
    """Return the record as MessagePack."""
    return _encoder.encode(record)


def encode_any(value: object) -> bytes:
    """Return plain lists and byte strings as MessagePack."""
    return _encoder.encode(value)


def decoder(kind: type[T]) -> "msgspec.msgpack.Decoder[T]":
    """Return what reads a type.

    One thread at a time makes one: msgspec (0.22) crashes when two are the first to read a struct.
    """
    found = _decoders.get(kind)
    if found is None:
        with _preparing:
            found = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return found


def decode(data: bytes | memoryview, kind: type[T], name: str) -> T:
    """Read a record; `name` is the file it came from, for the error.

    Raises `DamageError` if it is not MessagePack of that shape.
    """
    try:
        return decoder(kind).decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamageError(f"{name} is not well-formed: {error}") from None
