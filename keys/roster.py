"""Rosters: who belongs to a repository, signed by an admin, each naming the one before it (docs/format.md 4).

Invariant: a `Claim` is what a file says, nothing more; `chain` says which are believed.  What a newer program put
into a roster, and this one does not know, is in the next one too.
"""

from itertools import count
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from dedupstore.access import BlockSizes, Membership, Signer
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.errors import DamageError, DedupError, NewerFormatError
from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from dedupstore.format.records import Bin16, Bin32, Count
from keys import public, unknown
from keys.gpg import Gpg

FORMAT = 1
SUITE = 1
LAST_SERIAL = 99_999_999
_LEAST_BLOCK = 64 << 10
_LONGEST_PAIR = 18  # bytes of two numbers in a layout
_SIGNING_PUBLIC, _SEALING_PUBLIC = 32, 1216  # bytes, in suite 1
KNOWN_TO_READ: frozenset[str] = frozenset()
KNOWN_TO_WRITE = frozenset({"pruned"})

Role: TypeAlias = Literal["admin", "writer", "pruner", "reader"]
Serial = Annotated[int, Meta(ge=1, le=LAST_SERIAL)]

_SIGNED_PREFIX = b"dedup1 roster"
_MAGIC = layout.magic(Kind.ROSTER)


class Features(msgspec.Struct, frozen=True):
    """What a program must know to read, and to write; and what it may ignore."""

    read: list[str] = []
    write: list[str] = []
    optional: list[str] = []


class ChunkerSettings(msgspec.Struct, frozen=True):
    """How each of a stream's sequences is cut, in bytes; `raw` is the content of streams without a skeleton."""

    content: ChunkSizes = ChunkSizes(4096, 16384, 65536)
    raw: ChunkSizes = ChunkSizes(2048, 8192, 32768)
    skeleton: ChunkSizes = ChunkSizes(2048, 8192, 32768)
    layout: ChunkSizes = ChunkSizes(256, 1024, 4096)
    blocks: BlockSizes = BlockSizes()

    def __post_init__(self) -> None:
        """Refuse sizes that the chunker refuses."""
        for sizes in (self.content, self.raw, self.layout):
            Chunker(bytes(32), sizes)
        Chunker(bytes(32), self.skeleton, wide=True)
        if not all(_LEAST_BLOCK <= size <= layout.MAX_BLOCK for size in self.blocks):
            raise ValueError("blocks of a size that none has")
        if self.layout.maximum > layout.MAX_CHUNK - _LONGEST_PAIR:
            raise ValueError("chunks of layouts, which end with whole pairs, could be longer than any chunk")


class Epoch(msgspec.Struct, frozen=True):
    """A generation of keys: its algorithms, and the public half of its sealing pair."""

    number: Annotated[int, Meta(ge=1, lt=2**32)]
    suite: int
    sealing_key: bytes

    def __post_init__(self) -> None:
        """Refuse a key that does not have the suite's width; those of other suites are not looked at."""
        if self.suite == SUITE and len(self.sealing_key) != _SEALING_PUBLIC:
            raise ValueError("an epoch's sealing key has a wrong length")


class Member(msgspec.Struct, frozen=True):
    """One key's membership, past (`removed` is a serial) or present (`removed` is 0).

    `suite` is that of the signing key.  `closing` is the SHA-256 of a past one's closing list, or empty if nothing of
    it counts.
    """

    fingerprint: Annotated[str, Meta(pattern="^([0-9A-F]{40}|[0-9A-F]{64})\\Z")]
    role: Role
    suite: int
    signing_key: Annotated[bytes, Meta(max_length=4096)]
    domain: Annotated[str, Meta(min_length=1, max_length=255)]
    slot: Bin32
    public_key: bytes
    added: Serial
    removed: Annotated[int, Meta(ge=0, le=LAST_SERIAL)] = 0
    closing: Annotated[bytes, Meta(max_length=32)] = b""

    def __post_init__(self) -> None:
        """Refuse a closing list that is no name, or is a present member's, and a key of a wrong width."""
        if self.closing and (len(self.closing) != 32 or not self.removed):
            raise ValueError("a member's closing list makes no sense")
        if self.suite == SUITE and len(self.signing_key) != _SIGNING_PUBLIC:
            raise ValueError("a member's signing key has a wrong length")


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The signed part of a roster file."""

    format: int = FORMAT
    repository: Bin16
    serial: Serial
    previous: bytes
    time: Count
    features: Features = Features()
    chunker: ChunkerSettings
    epochs: Annotated[list[Epoch], Meta(min_length=1)]
    members: list[Member]

    def __post_init__(self) -> None:
        """Refuse a roster that contradicts itself."""
        if len(self.previous) != (0 if self.serial == 1 else 32):
            raise ValueError("the hash of the roster before it is missing, or too much")
        numbers = [epoch.number for epoch in self.epochs]
        if numbers != sorted(set(numbers)):
            raise ValueError("the epochs are not in order")
        if any(max(member.added, member.removed) > self.serial for member in self.members):
            raise ValueError("a member comes or goes in a later roster")
        present = [member.fingerprint for member in self.present()]
        signing = [member.signing_key for member in self.members]
        if len(set(present)) != len(present) or len(set(signing)) != len(signing):
            raise ValueError("a member is listed twice")
        if not self.present("admin"):
            raise ValueError("there is no admin")

    def present(self, *roles: Role) -> list[Member]:
        """Return the members that are in, of these roles (of all, if none is given)."""
        return [m for m in self.members if m.removed == 0 and (not roles or m.role in roles)]

    def unused_domain(self, fingerprint: str) -> str:
        """Return a domain for this key that no member has or ever had."""
        used = {member.domain for member in self.members}
        names = (f"{fingerprint}-{number}" if number > 1 else fingerprint for number in count(1))
        return next(name for name in names if name not in used)


class Roster(Payload, frozen=True, kw_only=True):
    """A roster with the SHA-256 of its file, which the next one has to name, and its payload as it was signed."""

    digest: Bin32
    encoded: bytes

    @property
    def epoch(self) -> Epoch:
        """The newest epoch, the one to write with."""
        return self.epochs[-1]

    @property
    def not_for_writing(self) -> str:
        """What a program must know to write here, and this one does not; empty if nothing."""
        unknown = sorted(set(self.features.write) - KNOWN_TO_WRITE)
        lacking = [f"the feature {word!a}" for word in unknown]
        if self.epoch.suite != SUITE:
            lacking.append(f"the suite {self.epoch.suite}")
        return ", ".join(lacking)


class Link(msgspec.Struct, frozen=True):
    """A roster's place in the chain: its number, and the hash of the one before it."""

    serial: Serial
    previous: Annotated[bytes, Meta(max_length=32)]


class Claim(NamedTuple):
    """A roster file as it was read; nobody has checked who signed it."""

    version: int
    serial: int
    digest: bytes
    payload: bytes
    signature: bytes

    def signer(self, members: list[Member]) -> str:
        """Return the fingerprint of the key of one of these members that signed it; else `TrustError`."""
        return public.verify(self.signature, _SIGNED_PREFIX + self.payload, [m.public_key for m in members])

    def link(self) -> "Link":
        """Return its place in the chain, which every format states alike; `DamageError` if it does not."""
        return records.decode(self.payload, Link, layout.roster_file(self.serial))

    def decode(self) -> Roster:
        """Return what it says.

        Raises `NewerFormatError` if that needs a newer program, `DamageError` if it is not well-formed.
        """
        name = layout.roster_file(self.serial)
        preface = records.decode(self.payload, _Preface, name)
        if preface.format != self.version:
            raise DamageError(f"{name} contradicts itself about its format")
        if preface.format == FORMAT and preface.critical is not None:
            raise NewerFormatError(
                f"{name} is of a repository that a preliminary version of dedup made, before format 1 was final",
                "make a new repository with dedup init; that version restores what is in this one",
            )
        unknown = sorted(set(preface.features.read) - KNOWN_TO_READ)
        if preface.format != FORMAT or unknown:
            needs = f"format {preface.format}" + "".join(f", {word!a}" for word in unknown)
            raise NewerFormatError(f"{name} needs {needs}", "install a newer version of dedup")
        payload = records.decode(self.payload, Payload, name)
        if payload.serial != self.serial:
            raise DamageError(f"{name} says that it is roster {payload.serial}")
        return Roster(**_fields(payload), digest=self.digest, encoded=self.payload)


class _File(msgspec.Struct, frozen=True):
    payload: bytes
    signature: bytes


class _Preface(msgspec.Struct, frozen=True):
    """What says whether this program understands the rest."""

    format: int
    features: Features = Features()
    critical: list[str] | None = None


def successor(before: Roster, serial: int, members: list[Member], time: int) -> Payload:
    """Return the payload that follows a roster, with other members; `time` in Unix seconds."""
    changes = {"serial": serial, "previous": before.digest, "time": time, "members": members}
    return Payload(**(_fields(before) | changes))


def sign(payload: Payload, user: Gpg, fingerprint: str, before: Roster | None = None) -> bytes:
    """Return the roster file of this payload, which follows `before`, signed with this key of the user.

    Raises `KeyAccessError` if GPG does not sign, `DedupError` if the roster grows too large.
    """
    encoded = _encode(payload, before)
    signature = user.sign(_SIGNED_PREFIX + encoded, fingerprint)
    data = _MAGIC + records.encode(_File(encoded, signature))
    if len(data) > layout.MAX_ROSTER:
        raise DedupError(
            f"the roster would have {len(data)} bytes, more than {layout.MAX_ROSTER}",
            "use keys with fewer subkeys and names",
        )
    return data


def parse(data: bytes, serial: int) -> Claim:
    """Take a roster file of this serial number apart; `DamageError` if it is none.

    The file's outer form is the same in all formats, so that the signature comes before everything else: a file
    that anybody could have put there must not make hosts ask for a newer program.
    """
    name = layout.roster_file(serial)
    magic = data[: layout.MAGIC_SIZE]
    if len(magic) != layout.MAGIC_SIZE or magic[:5] + magic[6:] != _MAGIC[:5] + _MAGIC[6:]:
        raise DamageError(f"{name} does not begin as a roster file")
    file = records.decode(memoryview(data)[layout.MAGIC_SIZE :], _File, name)
    return Claim(magic[5], serial, layout.sha256(data), file.payload, file.signature)


def _encode(payload: Payload, before: Roster | None) -> bytes:
    """Return the payload with all that this program does not know of `before`, its epochs and its members."""
    if not before:
        return records.encode(payload)
    old = unknown.fields(before.encoded)
    epochs = {records.decode(data, Epoch, "an epoch").number: data for data in unknown.items(old["epochs"])}
    members = {
        records.decode(data, Member, "a member").signing_key: data for data in unknown.items(old["members"])
    }
    return records.encode_any(
        unknown.carry(before.encoded, payload)
        | {
            "chunker": unknown.carry(old["chunker"], payload.chunker),
            "features": unknown.carry(old.get("features"), payload.features),
            "epochs": [unknown.carry(epochs.get(epoch.number), epoch) for epoch in payload.epochs],
            "members": [unknown.carry(members.get(member.signing_key), member) for member in payload.members],
        }
    )


def _fields(payload: Payload) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in Payload.__struct_fields__}


def membership(roster: Roster) -> Membership:
    """Return what the store must know of a believed roster before anything is unlocked."""
    signers = {
        layout.sha256(member.signing_key): Signer(
            name=member.fingerprint,
            role=member.role,
            domain=member.domain,
            key=member.signing_key,
            closing=member.closing if member.removed else None,
        )
        for member in roster.members
    }
    return Membership(
        roster.repository, roster.serial, roster.digest, signers, not_for_writing=roster.not_for_writing
    )
