"""The structured records of format 1, as MessagePack maps (docs/format.md 7, 8, 10, 11).

Invariant: what these types accept is well-formed: every byte string has its length, every number its range.
Whether it is *true* is for the callers, who hold keys and other files against it.
"""

from collections.abc import Mapping
from threading import Lock
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from dedupstore import layout
from dedupstore.errors import DamageError, DedupError

Bin16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bin32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]

Text = Annotated[str, Meta(max_length=layout.MAX_STREAM_NAME)]

PackKey = tuple[Bin16, Count, bytes]  # key id, epoch, sealed
PackKeys = Annotated[list[PackKey], Meta(max_length=layout.MAX_PACK_KEYS)]
BlockEntry = tuple[Count, Count, Count, Count]  # key, number, stored bytes, chunks
Blocks = Annotated[list[BlockEntry], Meta(max_length=layout.MAX_PACK_BLOCKS)]

T = TypeVar("T")


def _check_columns(blocks: list[BlockEntry], ids: bytes, lengths: bytes) -> None:
    """Refuse columns that do not have as many chunks as the blocks say, or more than a pack has."""
    chunks = sum(block[3] for block in blocks)
    if len(ids) != 32 * chunks or len(lengths) != 4 * chunks:
        raise ValueError("the table's columns differ in length")
    if chunks > layout.MAX_PACK_CHUNKS:
        raise ValueError("more chunks than a pack has")


class PackTable(msgspec.Struct, frozen=True):
    """The chunks of a pack, block by block, in file order; `ids` and `lengths` are columns."""

    domain: Text
    blocks: Blocks
    ids: bytes
    lengths: bytes

    def __post_init__(self) -> None:
        """Refuse columns that do not agree with each other."""
        _check_columns(self.blocks, self.ids, self.lengths)


class IndexedPack(msgspec.Struct, frozen=True):
    """One pack as an index file names it."""

    name: Bin32
    kind: str
    size: Annotated[int, Meta(ge=0, le=layout.MAX_FILE)]
    keys: PackKeys
    blocks: Blocks
    ids: bytes
    lengths: bytes

    def __post_init__(self) -> None:
        """Refuse a table that does not agree with itself or with the pack's size."""
        _check_columns(self.blocks, self.ids, self.lengths)
        if self.kind not in ("D", "T"):
            raise ValueError("neither a data nor a tree pack")
        if any(block[0] >= len(self.keys) for block in self.blocks):
            raise ValueError("a block's key is not listed")
        if layout.HEADER_SIZE + sum(block[2] for block in self.blocks) > self.size:
            raise ValueError("the blocks are longer than the pack")


class Index(msgspec.Struct, frozen=True):
    """An index file's payload."""

    run: Bin16
    domain: Text
    time: Count
    packs: Annotated[list[IndexedPack], Meta(max_length=layout.MAX_INDEX_PACKS)]


class Root(msgspec.Struct, array_like=True, frozen=True):
    """A sequence of chunks: the depth of its tree, the id at its top, its size in bytes."""

    depth: Annotated[int, Meta(ge=0, le=layout.MAX_DEPTH)] = 0
    id: Annotated[bytes, Meta(max_length=32)] = b""
    size: Count = 0

    def __post_init__(self) -> None:
        """Refuse an empty id for bytes, or an id for none."""
        if (
            (self.size == 0) != (self.id == b"")
            or len(self.id) not in (0, 32)
            or (not self.id and self.depth)
        ):
            raise ValueError("the root of a sequence contradicts itself")


class Stream(msgspec.Struct, frozen=True):
    """One stored stream; sizes in bytes, times in Unix seconds."""

    name: Text
    kind: Text
    size: Count
    time: Count
    stored: Count
    new: Count
    content: Root
    skeleton: Root = Root()
    layout: Root = Root()
    facts: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse sizes that do not add up, and names that no writer may give."""
        try:
            layout.check_stream_name(self.name)
        except DedupError as error:
            raise ValueError(error.message) from None
        if self.size != self.content.size + self.skeleton.size:
            raise ValueError("the stream's size is not that of its parts")


class Snapshot(msgspec.Struct, frozen=True):
    """The payload of a snapshot, and of a checkpoint (sequence 0)."""

    run: Bin16
    domain: Text
    sequence: Count
    heads: Annotated[dict[Bin32, tuple[Count, Bin32]], Meta(max_length=layout.MAX_HEADS)]
    time: Annotated[int, Meta(ge=0, le=layout.MAX_TIME)]
    utc_offset: Annotated[int, Meta(ge=-86399, le=86399)]
    started: Count
    finished: Count
    host: Text
    program: Text
    roster: tuple[Count, Bin32]
    streams: Annotated[list[Stream], Meta(max_length=layout.MAX_STREAMS)]

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
    """A run has begun: the snapshots that it builds on."""

    run: Bin16
    started: Count
    host: Text
    parents: Annotated[list[Bin32], Meta(max_length=layout.MAX_HEADS)]


class Done(msgspec.Struct, frozen=True):
    """A run's snapshot counts; an empty name means that the run was withdrawn."""

    run: Bin16
    snapshot: Annotated[bytes, Meta(max_length=32)]
    finished: Count


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
