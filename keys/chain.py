"""The chain of rosters: which files there are, and which of them are believed (docs/format.md 4).

Invariant: a `Roster` that `follow` returned is believed: it is serial 1 and signed by one of its own admins, or it
names the hash of the newest believed one before it, is signed by an admin who is a member in that one, and drops
no member or epoch of it.
"""

import re
from typing import TYPE_CHECKING

from dedupstore.errors import DamageError, TrustError
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from keys.public import UnsureError
from keys.refused import Refused
from keys.roster import Claim, Member, Roster, parse

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend

_ASK = "ask the admins who made it"


def follow(before: Roster | None, claim: Claim) -> Roster:
    """Return the claimed roster if it may be believed after `before` (None: it is the first).

    Raises `TrustError` if it does not follow or no admin of `before` signed it; what `Claim.decode` raises if one did.
    """
    name = layout.roster_file(claim.serial)
    admins = (before or claim.decode()).present("admin")
    try:
        signer = claim.signer(admins)
    except TrustError as error:
        raise type(error)(f"{name} cannot be trusted: {error.message}", _ASK) from None
    if signer not in {admin.fingerprint for admin in admins}:
        raise TrustError(f"{name} cannot be trusted: it is signed by {signer}, who is no admin", _ASK)
    claimed = claim.decode()
    if not (_continues(before, claimed) if before else claimed.serial == 1):
        raise TrustError(f"{name} cannot be trusted: it does not follow from the one before it", _ASK)
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


def latest(
    backend: "Backend", believed: Roster, files: dict[int, int], refused: Refused
) -> tuple[Roster, list[str]]:
    """Return the newest believed roster, from one that is believed on, and why others were passed over.

    A file that is not believed is not an error: everybody who may write to the storage can put one there, and must
    not be able to stop the others, nor cost them more than one run of gpg for it.
    """
    passed_over = []
    for serial, size in files.items():
        if serial > believed.serial:
            try:
                believed = _next(believed, fetch(backend, serial, size), refused)
            except (TrustError, DamageError) as error:
                passed_over.append(str(error))
    return believed, passed_over


def _next(believed: Roster, claim: Claim, refused: Refused) -> Roster:
    """Return what `follow` does, without gpg for a file that names another roster, or was refused before."""
    link = claim.link()
    if (link.serial, link.previous) != (claim.serial, believed.digest):
        name = layout.roster_file(claim.serial)
        raise TrustError(f"{name} cannot be trusted: it does not follow from roster {believed.serial}", _ASK)
    if reason := refused.reason(claim.digest):
        raise TrustError(reason)
    try:
        return follow(believed, claim)
    except UnsureError:
        raise
    except TrustError as error:
        refused.add(claim.digest, str(error))
        raise


def _continues(before: Roster, claimed: Roster) -> bool:
    """Whether it names `before`, comes later, and keeps what must never change (docs/format.md 4)."""
    if (claimed.previous, claimed.repository) != (before.digest, before.repository):
        return False
    now = {member.signing_key: member for member in claimed.members}
    for old in before.members:
        new = now.get(old.signing_key)
        if new is None or _lasting(new) != _lasting(old):
            return False
        if old.removed and new.removed != old.removed:
            return False
    return claimed.serial > before.serial and claimed.epochs[: len(before.epochs)] == before.epochs


def _lasting(member: Member) -> tuple[object, ...]:
    return member.fingerprint, member.role, member.domain, member.suite, member.added
