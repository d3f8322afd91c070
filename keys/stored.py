"""What a roster names by its hash, and whether it is there unharmed: slots, and the rosters before it.

Invariant: no key and no gpg is needed, so every member can look.
"""

from typing import TYPE_CHECKING

from dedupstore.errors import DamageError, NotFoundError
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from keys import chain
from keys.roster import Claim, Roster

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend

_MAX_SLOT = 1 << 20


def damaged(backend: "Backend", roster: Roster) -> list[str]:
    """Return what is wrong with the files that a believed roster, and those before it, name.

    The slot of a former member may be missing: nobody opens it.
    """
    found = []
    for member in roster.members:
        name = layout.content_file(Kind.SLOT, member.slot)
        whose = f"the slot of {member.role} {member.fingerprint}"
        try:
            if backend.size(name) > _MAX_SLOT or layout.sha256(backend.read(name)) != member.slot:
                found.append(f"{name}, {whose}, was altered")
        except NotFoundError:
            if not member.removed:
                found.append(f"{name}, {whose}, is missing")
        except DamageError as error:
            found.append(f"{name}, {whose}: {error.message}")
    return found + _broken_chain(backend, roster)


def _broken_chain(backend: "Backend", roster: Roster) -> list[str]:
    """Follow the hashes back to the first roster, past files that nobody believes."""
    wanted, after = roster.digest, roster.serial + 1
    files = {serial: size for serial, size in chain.listing(backend).items() if serial < after}
    for serial in reversed(files):
        claim = _claim(backend, serial, files[serial])
        if claim and claim.digest == wanted:
            wanted, after = claim.link().previous, serial
    if not wanted:
        return []
    which = (
        f"the roster before {layout.roster_file(after)}"
        if after <= roster.serial
        else f"roster {roster.serial}"
    )
    return [f"{which}, whose SHA-256 is {wanted.hex()}, is missing or was altered"]


def _claim(backend: "Backend", serial: int, size: int) -> Claim | None:
    try:
        return chain.fetch(backend, serial, size)
    except (DamageError, NotFoundError):
        return None
