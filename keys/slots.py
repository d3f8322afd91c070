"""Slots: a member's secrets, wrapped to that member's GPG key (docs/format.md 5).

Invariant: a slot is opened only if it is the very file that the believed roster names, and what is in it is used
only if it belongs to this repository and member and fits the roster's public keys.
"""

import secrets
from typing import TYPE_CHECKING, Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Meta

from dedupstore.errors import DamageError, KeyAccessError, NotFoundError
from dedupstore.format import crypto, layout, records
from dedupstore.format.layout import Kind
from dedupstore.format.records import Bin16, Bin32
from keys import public, unknown
from keys.gpg import Gpg
from keys.roster import Member, Roster

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend

_MLKEM_SEED = 64
READING = ("admin", "reader")  # roles that hold the sealing private keys

SealingPrivate = Annotated[bytes, Meta(min_length=96, max_length=96)]


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """All that a member knows.  `sealing_keys` is empty for all but admins."""

    repository: Bin16
    fingerprint: str
    role: str
    epoch: int
    id_key: Bin32
    chunker_key: Bin32
    signing_key: Bin32
    catalogue_keys: dict[int, Bin32]
    sealing_keys: dict[int, SealingPrivate]

    def __repr__(self) -> str:
        return f"<slot of {self.role} {self.fingerprint} in {self.repository.hex()}>"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("role", self.role), ("fingerprint", self.fingerprint)]


class Opened(Slot, frozen=True, kw_only=True):
    """A slot as it was found, with what this program does not know of it."""

    unknown: dict[str, msgspec.Raw]


def new_key() -> bytes:
    """Return 32 fresh random bytes: an id, chunker, catalogue or signing key."""
    return secrets.token_bytes(32)


def new_sealing_key() -> bytes:
    """Return a fresh sealing private key: ML-KEM-768 seed (64 bytes), X25519 private key (32)."""
    return MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw()


def sealing_public(private: bytes) -> bytes:
    """Return the sealing public key (1216 bytes) of a private one (96)."""
    mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:_MLKEM_SEED])
    x25519 = X25519PrivateKey.from_private_bytes(private[_MLKEM_SEED:])
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def seal(slot: Slot, public_key: bytes, fingerprint: str) -> bytes:
    """Return the slot file, which only this GPG key opens.

    Of what is unknown in a slot that this one was made of, everybody may have what is called `all_...`, and
    admins `admin_...`; all else is its owner's.
    """
    known = {name: getattr(slot, name) for name in Slot.__struct_fields__}
    prefixes = ("all_", "admin_") if slot.role in READING else ("all_",)
    found = slot.unknown if isinstance(slot, Opened) else {}
    passed_on = {name: value for name, value in found.items() if name.startswith(prefixes)}
    return layout.magic(Kind.SLOT) + public.encrypt(
        records.encode_any(known | passed_on), public_key, fingerprint
    )


def load(backend: "Backend", roster: Roster, member: Member, gpg: Gpg) -> Opened:
    """Fetch and open a member's slot.

    Raises `DamageError` if it is not what the roster says, `KeyAccessError` if the user's GPG does not open it.
    """
    name = layout.content_file(Kind.SLOT, member.slot)
    try:
        data = backend.read(name)
    except NotFoundError:
        raise DamageError(f"{name} is missing", "restore it from a copy of the repository") from None
    if layout.sha256(data) != member.slot:
        raise DamageError(f"{name} was altered or is damaged", "restore it from a copy of the repository")
    layout.check_magic(data, Kind.SLOT, name)
    try:
        plain = gpg.decrypt(data[layout.MAGIC_SIZE :])
    except KeyAccessError as error:
        raise KeyAccessError(
            f"the GPG key {member.fingerprint} is needed to open this repository: {error.message}",
            "make that key usable here (its passphrase, card or gpg-agent) and try again",
        ) from None
    slot = records.decode(plain, Slot, name)
    _check(slot, roster, member, name)
    known = {name: getattr(slot, name) for name in Slot.__struct_fields__}
    rest = {name: value for name, value in unknown.fields(plain).items() if name not in known}
    return Opened(**known, unknown=rest)


def _check(slot: Slot, roster: Roster, member: Member, name: str) -> None:
    """Refuse a slot of someone else, or keys that the others would not see theirs fit."""
    if (slot.repository, slot.fingerprint, slot.role) != (roster.repository, member.fingerprint, member.role):
        raise DamageError(f"{name} is not the slot of {member.role} {member.fingerprint} in this repository")
    fits = (
        crypto.public_of(slot.signing_key) == member.signing_key
        and roster.epoch.number in slot.catalogue_keys
    )
    if member.role in READING:
        for epoch in roster.epochs:
            private = slot.sealing_keys.get(epoch.number)
            fits = fits and private is not None and sealing_public(private) == epoch.sealing_key
    elif slot.sealing_keys:
        fits = False
    if not fits:
        raise DamageError(
            f"the keys in {name} do not fit the roster",
            "ask another admin to remove your key and add it again",
        )
