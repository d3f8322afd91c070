"""Records of runs, from snapshots to tombstones, and of who may count (docs/format.md 4, 10 to 12).

Invariant: as of all records, see `records`; what a list names is whole, and in the order in which it is signed.
"""

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from dedupstore.errors import DedupError
from dedupstore.format import layout
from dedupstore.format.records import Bin16, Bin32, Count, Sequence, Text, check_column, names

Facts = Annotated[bytes, Meta(max_length=layout.MAX_FACTS)]


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
        check_column(self.snapshots, 32, layout.MAX_DONE_SNAPSHOTS)
        check_column(self.index, 32, layout.MAX_DONE_INDEX)


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
        check_column(self.replaces, 32)
        check_column(self.done, 80)

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
            check_column(column, 32)

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
            check_column(column, 32)


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
        check_column(self.replaces, 32)
        check_column(self.snapshots, _TOMBSTONE.size)
        check_column(self.index, 32)

    def entries(self) -> Iterator[Tombstone]:
        """Yield them."""
        return (Tombstone(*row) for row in _TOMBSTONE.iter_unpack(self.snapshots))


_TOMBSTONE = struct.Struct("<32s32s32sQ")
