"""Rosters: who belongs to a repository, signed by an admin, each naming the one before it (docs/format.md 4).

Invariant: a `Roster` that `follow` returned is believed: it is serial 1 and signed by one of its own admins, or it
names the hash of the newest believed one before it, is signed by an admin who is a member in that one, and drops
no member or epoch of it.  A `Claim` is what a file says, nothing more.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from dedupstore import layout, records
from dedupstore.access import Membership, Signer
from dedupstore.chunker import Chunker, ChunkSizes
from dedupstore.errors import DamageError, DedupError, NewerFormatError, TrustError
from dedupstore.layout import Kind
from dedupstore.records import Bin16, Bin32, Count
from keys import gpg

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend

FORMAT = 1
SUITE = 1
LAST_SERIAL = 99_999_999
KNOWN_CRITICAL: frozenset[str] = frozenset()

Role: TypeAlias = Literal["admin", "writer", "pruner"]
Serial = Annotated[int, Meta(ge=1, le=LAST_SERIAL)]

_SIGNED_PREFIX = b"dedup1 roster"
_MAGIC = layout.magic(Kind.ROSTER)
_ASK = "ask the admins who made it"


class ChunkerSettings(msgspec.Struct, frozen=True):
    """How each of a stream's sequences is cut, in bytes."""

    content: ChunkSizes = ChunkSizes(4096, 16384, 65536)
    skeleton: ChunkSizes = ChunkSizes(2048, 8192, 32768)
    layout: ChunkSizes = ChunkSizes(256, 1024, 4096)

    def __post_init__(self) -> None:
        """Refuse sizes that the chunker refuses."""
        for sizes in (self.content, self.skeleton, self.layout):
            Chunker(bytes(32), sizes)


class Epoch(msgspec.Struct, frozen=True):
    """A generation of keys, and the public half of its sealing pair."""

    number: Annotated[int, Meta(ge=1, lt=2**32)]
    sealing_key: Annotated[bytes, Meta(min_length=1216, max_length=1216)]


class Member(msgspec.Struct, frozen=True):
    """One key's membership, past (`removed` is a serial) or present (`removed` is 0).

    `last_snapshot` is the name of a past one's last snapshot that still counts, or empty if none does.
    """

    fingerprint: Annotated[str, Meta(pattern="^([0-9A-F]{40}|[0-9A-F]{64})\\Z")]
    role: Role
    signing_key: Bin32
    domain: Annotated[str, Meta(min_length=1, max_length=255)]
    slot: Bin32
    public_key: bytes
    added: Serial
    removed: Annotated[int, Meta(ge=0, le=LAST_SERIAL)] = 0
    last_snapshot: Annotated[bytes, Meta(max_length=32)] = b""

    def __post_init__(self) -> None:
        """Refuse a last snapshot that is no name, or is a present member's."""
        if self.last_snapshot and (len(self.last_snapshot) != 32 or not self.removed):
            raise ValueError("a member's last snapshot makes no sense")


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The signed part of a roster file."""

    format: int = FORMAT
    suite: int = SUITE
    repository: Bin16
    serial: Serial
    previous: bytes
    time: Count
    critical: list[str] = []
    optional: list[str] = []
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


class Roster(Payload, frozen=True, kw_only=True):
    """A roster with the SHA-256 of its file, which the next one has to name."""

    digest: Bin32

    @property
    def epoch(self) -> Epoch:
        """The newest epoch, the one to write with."""
        return self.epochs[-1]


class Claim(NamedTuple):
    """A roster file as it was read; nobody has checked who signed it."""

    version: int
    serial: int
    digest: bytes
    payload: bytes
    signature: bytes

    def signer(self, members: list[Member]) -> str:
        """Return the fingerprint of the key of one of these members that signed it; else `TrustError`."""
        return gpg.verify(self.signature, _SIGNED_PREFIX + self.payload, [m.public_key for m in members])

    def decode(self) -> Roster:
        """Return what it says.

        Raises `NewerFormatError` if that needs a newer program, `DamageError` if it is not well-formed.
        """
        name = layout.roster_file(self.serial)
        preface = records.decode(self.payload, _Preface, name)
        if preface.format != self.version:
            raise DamageError(f"{name} contradicts itself about its format")
        unknown = sorted(set(preface.critical) - KNOWN_CRITICAL)
        if (preface.format, preface.suite) != (FORMAT, SUITE) or unknown:
            needs = f"format {preface.format}, suite {preface.suite}" + "".join(
                f", {word!a}" for word in unknown
            )
            raise NewerFormatError(f"{name} needs {needs}", "install a newer version of dedup")
        payload = records.decode(self.payload, Payload, name)
        if payload.serial != self.serial:
            raise DamageError(f"{name} says that it is roster {payload.serial}")
        return Roster(**_fields(payload), digest=self.digest)


class _File(msgspec.Struct, frozen=True):
    payload: bytes
    signature: bytes


class _Preface(msgspec.Struct, frozen=True):
    """What says whether this program understands the rest."""

    format: int
    suite: int
    critical: list[str]


def successor(before: Roster, serial: int, members: list[Member], time: int) -> Payload:
    """Return the payload that follows a roster, with other members; `time` in Unix seconds."""
    changes = {"serial": serial, "previous": before.digest, "time": time, "members": members}
    return Payload(**(_fields(before) | changes))


def sign(payload: Payload, user: gpg.Gpg, fingerprint: str) -> bytes:
    """Return the roster file of this payload, signed with this key of the user.

    Raises `KeyAccessError` if GPG does not sign, `DedupError` if the roster grows too large.
    """
    encoded = records.encode(payload)
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


def follow(before: Roster | None, claim: Claim) -> Roster:
    """Return the claimed roster if it may be believed after `before` (None: it is the first).

    Raises `TrustError` if it does not follow or no admin of `before` signed it; what `Claim.decode` raises if one did.
    """
    name = layout.roster_file(claim.serial)
    admins = (before or claim.decode()).present("admin")
    try:
        signer = claim.signer(admins)
    except TrustError as error:
        raise TrustError(f"{name} cannot be believed: {error.message}", _ASK) from None
    if signer not in {admin.fingerprint for admin in admins}:
        raise TrustError(f"{name} cannot be believed: it is signed by {signer}, who is no admin", _ASK)
    claimed = claim.decode()
    if not (_continues(before, claimed) if before else claimed.serial == 1):
        raise TrustError(f"{name} cannot be believed: it does not follow from the one before it", _ASK)
    return claimed


def listing(backend: "Backend") -> dict[int, int]:
    """Return the roster files that are there: serial number to size in bytes, in ascending order."""
    entries = ((entry.name.rsplit("/", 1)[-1], entry.size) for entry in backend.list(Kind.ROSTER.folder))
    return dict(
        sorted((int(name), size) for name, size in entries if re.fullmatch("[0-9]{8}", name) and int(name))
    )


def fetch(backend: "Backend", serial: int, size: int) -> Claim:
    """Read one roster file of a listing; `DamageError` if it is none, and what the back end raises."""
    name = layout.roster_file(serial)
    if size > layout.MAX_ROSTER:
        raise DamageError(f"{name} has {size} bytes, more than any roster")
    return parse(backend.read(name, 0, size), serial)


def latest(backend: "Backend", believed: Roster, files: dict[int, int]) -> tuple[Roster, list[str]]:
    """Return the newest believed roster, from one that is believed on, and why others were passed over.

    A file that is not believed is not an error: whoever may write to the storage can put one there, and must
    not be able to stop everybody else.
    """
    passed_over = []
    for serial, size in files.items():
        if serial > believed.serial:
            try:
                believed = follow(believed, fetch(backend, serial, size))
            except (TrustError, DamageError) as error:
                passed_over.append(str(error))
    return believed, passed_over


def _continues(before: Roster, claimed: Roster) -> bool:
    """Whether it names `before`, comes later, and keeps what must never change (docs/format.md 4)."""
    if (claimed.previous, claimed.repository) != (before.digest, before.repository):
        return False
    now = {member.signing_key: member for member in claimed.members}
    for old in before.members:
        new = now.get(old.signing_key)
        if new is None or _lasting(new) != _lasting(old):
            return False
        if old.removed and (new.removed, new.last_snapshot) != (old.removed, old.last_snapshot):
            return False
    return claimed.serial > before.serial and claimed.epochs[: len(before.epochs)] == before.epochs


def _lasting(member: Member) -> tuple[object, ...]:
    return member.fingerprint, member.role, member.domain, member.added


def _fields(payload: Payload) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in Payload.__struct_fields__}


def membership(roster: Roster) -> Membership:
    """Return what the store must know of a believed roster before anything is unlocked."""
    signers = {
        member.signing_key: Signer(
            name=member.fingerprint,
            role=member.role,
            domain=member.domain,
            last_snapshot=member.last_snapshot if member.removed else None,
        )
        for member in roster.members
    }
    return Membership(roster.repository, roster.serial, roster.digest, signers)
