"""The names, headers and size limits of the repository's files (docs/format.md 1, 2, 3, 14).

Invariant: a name or a header made here is one that every reader of format 1 accepts, and nothing that breaks a
bound gets past `parse_header` or `check_stream_name`.
"""

import hashlib
import re
import struct
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from dedupstore.errors import DamageError, DedupError, NewerFormatError

FORMAT = 1
MAGIC_PREFIX = b"dedup"
MAGIC_SIZE = 8

MAX_FILE = 64 << 20
MAX_BLOCK = 4 << 20
MAX_CHUNK = 2 << 20
MAX_NODE_ENTRIES = 256
MAX_DEPTH = 8
MAX_PACK_KEYS = 1024
MAX_SEALINGS = 64
MAX_PACK_BLOCKS = 32 << 10  # in an index file, too
MAX_PACK_CHUNKS = 256 << 10  # in an index file, too
MAX_INDEX_PACKS = 256
MAX_HEADS = 4096
MAX_STREAMS = 16 << 10
MAX_DONE_SNAPSHOTS = 1024
MAX_DONE_INDEX = 64 << 10
MAX_FACTS = 16 << 10
MAX_SEQUENCE = 1 << 53
MAX_SEQUENCE_STEP = 64 << 10  # a larger one is no evidence of anything
MAX_TIME = 253_402_300_799 - 86_400  # so that every date has four digits
MAX_ROSTER = 1 << 20
MAX_STREAM_NAME = 255

ID_SIZE = 32
SHORT_ID = 16  # bytes of a chunk's id that tables have

_DIGEST = re.compile("(?:/|-)([0-9a-f]{64})(?:[.](?:done|ended))?$")
_OF_RUN = re.compile("runs/([0-9a-f]{32})-[0-9a-f]{64}[.](done|ended)")
_FENCE = re.compile("fences/([0-9a-f]{32})-[0-9a-f]{64}")
_HEADER = struct.Struct("<8s16sI32s")
HEADER_SIZE = _HEADER.size  # 60


class Kind(Enum):
    """The kinds of file, by the byte in their magic; `folder` is where they lie."""

    ROSTER = b"R"
    SLOT = b"K"
    DATA = b"D"
    TREE = b"T"
    INDEX = b"I"
    SNAPSHOT = b"S"
    CHECKPOINT = b"C"
    RUN = b"U"
    DONE = b"E"
    ENDED = b"N"
    LEDGER = b"G"
    CLOSING = b"L"
    CONDEMNED = b"X"
    FENCE = b"F"
    TOMBSTONES = b"Z"
    JOURNAL = b"J"
    STATEMENT = b"P"
    PLACE = b"O"

    @property
    def folder(self) -> str:
        """The folder in the repository, without a slash at its end."""
        return _FOLDERS[self]


_FOLDERS = {
    Kind.ROSTER: "roster",
    Kind.SLOT: "slots",
    Kind.DATA: "data",
    Kind.TREE: "tree",
    Kind.INDEX: "index",
    Kind.SNAPSHOT: "snapshots",
    Kind.CHECKPOINT: "checkpoints",
    Kind.RUN: "runs",
    Kind.DONE: "runs",
    Kind.ENDED: "runs",
    Kind.LEDGER: "ledgers",
    Kind.CLOSING: "closings",
    Kind.CONDEMNED: "condemned",
    Kind.FENCE: "fences",
    Kind.TOMBSTONES: "tombstones",
    Kind.JOURNAL: "journal",
    Kind.STATEMENT: "statements",
    Kind.PLACE: "place",
}

_MOST_UNPACKED = {  # bytes of a catalogue file's frame, unpacked
    Kind.RUN: 64 << 10,
    Kind.ENDED: 64 << 10,
    Kind.FENCE: 64 << 10,
    Kind.INDEX: 8 << 20,
    Kind.SNAPSHOT: 8 << 20,
    Kind.CHECKPOINT: 8 << 20,
}
_OTHERS = 4 << 20  # these are columns of names: each takes several times its bytes in memory
_RATIO, _FREE = 64, 64 << 10


MAX_DESCRIBED = _MOST_UNPACKED[Kind.SNAPSHOT] - (
    1 << 20
)  # bytes of a snapshot's streams: the rest is for heads and the like


def most_unpacked(kind: Kind, size: int) -> int:
    """Return how many bytes the frame of a catalogue file of `size` bytes may have unpacked."""
    return min(_FREE + _RATIO * size, _MOST_UNPACKED.get(kind, _OTHERS))


class Header(NamedTuple):
    """The clear beginning of a file."""

    kind: Kind
    repository: bytes
    epoch: int
    salt: bytes

    def pack(self) -> bytes:
        """Return the 60 bytes that a file begins with."""
        return _HEADER.pack(magic(self.kind), self.repository, self.epoch, self.salt)


PLACE_FILE = "place/id"


def magic(kind: Kind) -> bytes:
    """Return the first eight bytes of a file of this kind."""
    return MAGIC_PREFIX + bytes([FORMAT]) + kind.value + b"\0"


def check_magic(data: bytes | memoryview, kind: Kind, name: str) -> None:
    """Refuse a file that does not begin as one of this kind and format.

    Raises `DamageError`; `NewerFormatError` for one of a newer format version.  The caller has checked that the
    bytes are those that the name promises: one flipped bit must not make a file look like a newer one.
    """
    first = bytes(data[:MAGIC_SIZE])
    if first == magic(kind):
        return
    if len(first) == MAGIC_SIZE and first.startswith(MAGIC_PREFIX) and first[5] > FORMAT:
        raise NewerFormatError(
            f"{name} has repository format {first[5]}; this version of dedup knows format {FORMAT}",
            "install a newer version of dedup",
        )
    raise DamageError(f"{name} is not a {kind.name.lower()} file of format {FORMAT}")


def parse_header(data: bytes | memoryview, kind: Kind, repository: bytes, name: str) -> Header:
    """Read and check the header of a file of this repository; `name` is for the error."""
    check_magic(data, kind, name)
    if len(data) < HEADER_SIZE:
        raise DamageError(f"{name} is cut short: {len(data)} bytes")
    _, found, epoch, salt = _HEADER.unpack(bytes(data[:HEADER_SIZE]))
    if found != repository:
        raise DamageError(f"{name} belongs to another repository ({found.hex()})")
    return Header(kind, found, epoch, salt)


def padding(size: int) -> int:
    """Return how many zero bytes bring a file of `size` bytes to its step (docs/format.md 3)."""
    step = 4 << 10 if size <= 1 << 20 else 64 << 10
    return -size % step


def roster_file(serial: int) -> str:
    """Return the name of the roster with this serial number."""
    return f"roster/{serial:08d}"


def content_file(kind: Kind, digest: bytes) -> str:
    """Return the name of a file that is called by the SHA-256 of its bytes."""
    name = digest.hex()
    if kind in (Kind.DATA, Kind.TREE):
        return f"{kind.folder}/{name[:2]}/{name}"
    return f"{kind.folder}/{name}"


def run_file(run: bytes) -> str:
    """Return the name of the record that a run has begun."""
    return f"runs/{run.hex()}.run"


def run_record_file(kind: Kind, run: bytes, digest: bytes) -> str:
    """Return the name of a run's done or ended record, or of a fence: it has the SHA-256 of the record in it.

    So no one can take the name before its writer does.
    """
    return f"{kind.folder}/{run.hex()}-{digest.hex()}{_SUFFIXES[kind]}"


_SUFFIXES = {Kind.DONE: ".done", Kind.ENDED: ".ended", Kind.FENCE: ""}


def digest_of(name: str) -> bytes | None:
    """Return the SHA-256 that a file is called by, or None if its name is not of that form."""
    found = _DIGEST.search(name)
    return bytes.fromhex(found[1]) if found else None


def digests(files: Iterable[str]) -> set[bytes]:
    """Return the digests that these files have for their names; other files are passed over."""
    return {digest for file in files if (digest := digest_of(file)) is not None}


def run_of(name: str, kind: Kind) -> bytes | None:
    """Return the run whose done or ended record, or whose fence, has this name; None if it is no such name.

    What the file says is another matter.
    """
    if kind is Kind.FENCE:
        found = _FENCE.fullmatch(name)
    else:
        found = _OF_RUN.fullmatch(name)
        found = found if found and f".{found[2]}" == _SUFFIXES[kind] else None
    return bytes.fromhex(found[1]) if found else None


def check_stream_name(name: str) -> None:
    """Refuse a stream name that could not be shown, typed or made a file of everywhere.

    Raises `DedupError` that says which rule is broken.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise DedupError(f"the name {name!a} is not valid UTF-8", "choose a name in UTF-8") from None
    shown = ascii(name)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    if not 1 <= size <= MAX_STREAM_NAME:
        raise DedupError(f"the name {shown} has {size} bytes", f"use 1 to {MAX_STREAM_NAME} bytes")
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        raise DedupError(
            f"the name {shown} is no relative path", "use plain names with one slash between them"
        )
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in name):
        raise DedupError(f"the name {shown} has control characters", "use printable characters")


def sha256(data: bytes | bytearray | memoryview) -> bytes:
    """Return the SHA-256 of a file, which names it."""
    return hashlib.sha256(data).digest()
