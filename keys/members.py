"""What the commands ask for: make a repository, open it, let someone in, put someone out.

Invariant: what a roster refers to is durable before the roster; a roster is published only after it was verified
as every other host will do it, and by create-if-absent, so that of two changes at once exactly one happens.
"""

import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from dedupstore.access import Access
from dedupstore.errors import AlreadyExistsError, DedupError, KeyAccessError, NewerFormatError, TrustError
from dedupstore.format import crypto, layout
from dedupstore.format.layout import Kind
from keys import chain, slots
from keys import roster as rosters
from keys.gpg import Gpg
from keys.roster import ChunkerSettings, Epoch, Member, Payload, Role, Roster
from keys.slots import Slot
from keys.trust import Trust

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend


def init(
    backend: "Backend", url: str, gpg: Gpg, trust: Trust, writers: Sequence[str], admins: Sequence[str]
) -> Roster:
    """Make a repository for the GPG keys of these people and hosts, and pin it.

    The user must have the secret key of one of the admins.  Roster 1 is the last file written: until then there
    is no repository, and afterwards there is a whole one.

    Raises `DedupError` if there is one already, or the keys do not make sense together; `KeyAccessError` if a
    key cannot be used; `TrustError` if this host knows a repository there that is gone.
    """
    if chain.listing(backend):
        raise _exists(url)
    if gone := trust.gone(url):
        raise gone
    people = _newcomers(gpg, writers, admins)
    signer = _first_here(gpg, [key for key, role in people if role == "admin"])
    repository = secrets.token_bytes(16)
    private = slots.new_sealing_key()
    common = Slot(
        repository=repository,
        fingerprint="",
        role="",
        epoch=1,
        id_key=slots.new_key(),
        chunker_key=slots.new_key(),
        signing_key=b"",
        catalogue_keys={1: slots.new_key()},
        sealing_keys={1: private},
    )
    payload = Payload(
        repository=repository,
        serial=1,
        previous=b"",
        time=int(time.time()),
        chunker=ChunkerSettings(),
        epochs=[Epoch(1, rosters.SUITE, slots.sealing_public(private))],
        members=[_enrol(backend, gpg, common, key, role, key, 1) for key, role in people],
    )
    with suppress(AlreadyExistsError):  # of an init that came to no end
        backend.create(layout.PLACE_FILE, layout.magic(Kind.PLACE) + secrets.token_bytes(16))
    made = _publish(backend, gpg, signer, None, payload, _exists(url))
    trust.accept(url, made)
    return made


def unlock(backend: "Backend", roster: Roster, gpg: Gpg, *, reading: bool) -> Access:
    """Open the slot of the member whose secret GPG key this user has.

    Of several, an admin's is preferred for `reading`, a writer's otherwise.  Raises `KeyAccessError` if the user
    has no member's key or it does not open, `DamageError` if the slot is not what the roster says.
    """
    order: list[Role] = ["writer", "admin", "pruner", "reader"]
    if reading:
        order = ["admin", "reader", "writer", "pruner"]
    here = set(gpg.secret_fingerprints())
    mine = [member for role in order for member in roster.present(role) if member.fingerprint in here]
    if not mine:
        left = [member for member in roster.members if member.removed and member.fingerprint in here]
        if left:
            last = max(left, key=lambda member: member.removed)
            raise KeyAccessError(
                "none of your GPG keys opens this repository: "
                f"{last.fingerprint} ({last.role}) was removed in roster {last.removed}",
                f"ask the admins why; one of them can add it again: dedup key add {last.fingerprint}",
            )
        members = ", ".join(f"{member.fingerprint} ({member.role})" for member in roster.present())
        raise KeyAccessError(
            f"none of your GPG keys opens this repository: members are {members}",
            "ask an admin to run: dedup key add YOURKEY",
        )
    slot = slots.load(backend, roster, mine[0], gpg)
    return Access(
        repository=roster.repository,
        epoch=roster.epoch.number,
        domain=mine[0].domain,
        signers=rosters.membership(roster).signers,
        content_sizes=roster.chunker.content,
        raw_sizes=roster.chunker.raw,
        skeleton_sizes=roster.chunker.skeleton,
        layout_sizes=roster.chunker.layout,
        block_sizes=roster.chunker.blocks,
        sealing_public=roster.epoch.sealing_key,
        id_key=slot.id_key,
        chunker_key=slot.chunker_key,
        catalogue_keys=slot.catalogue_keys,
        signing_key=slot.signing_key,
        sealing_private=slot.sealing_keys,
    )


def add(
    backend: "Backend",
    url: str,
    roster: Roster,
    gpg: Gpg,
    trust: Trust,
    spec: str,
    role: Role,
    domain: str = "",
) -> Roster:
    """Let one more GPG key in; `domain` (a name like a stream's) is where it deduplicates, by default a new one.

    A key that was removed before gets a new signing key, too.  Raises `DedupError` if it is a member, or another
    admin was faster; `KeyAccessError` if a key cannot be used.
    """
    if domain:
        layout.check_stream_name(domain)
    fingerprint = gpg.fingerprint(spec, signs=role == "admin")
    if any(member.fingerprint == fingerprint for member in roster.present()):
        raise DedupError(f"{fingerprint} is a member already", "see: dedup key list")
    serial = _next_serial(backend, roster, trust)
    admin = _admin_here(roster, gpg)
    slot = slots.load(backend, roster, admin, gpg)
    common = msgspec.structs.replace(slot, epoch=roster.epoch.number)
    newcomer = _enrol(
        backend, gpg, common, fingerprint, role, domain or roster.unused_domain(fingerprint), serial
    )
    payload = rosters.successor(roster, serial, [*roster.members, newcomer], int(time.time()))
    return _change(backend, url, roster, gpg, trust, admin, payload)


def remove(
    backend: "Backend", url: str, roster: Roster, gpg: Gpg, trust: Trust, spec: str, closing: bytes
) -> Roster:
    """Remove a member; of what it signed, what the closing list (its SHA-256) names still counts.

    The secrets that it has seen stay known to it.  Raises `DedupError` if it is not a member, is the last admin,
    or another admin was faster; `KeyAccessError` if the user is no admin.
    """
    leaving = find(roster, gpg, spec)
    refuse_last_admin(roster, leaving)
    admin = _admin_here(roster, gpg)
    serial = _next_serial(backend, roster, trust)
    left = msgspec.structs.replace(leaving, removed=serial, closing=closing)
    members = [left if member is leaving else member for member in roster.members]
    payload = rosters.successor(roster, serial, members, int(time.time()))
    return _change(backend, url, roster, gpg, trust, admin, payload)


def refuse_last_admin(roster: Roster, leaving: Member) -> None:
    """Raise `DedupError` if nobody could read or change anything without this member."""
    if roster.present("admin") == [leaving]:
        raise DedupError(f"{leaving.fingerprint} is the last admin", "add another admin first: dedup key add")


def find(roster: Roster, gpg: Gpg, spec: str) -> Member:
    """Return the present member that `spec` names: its fingerprint, the end of it, its user ID, or its address.

    Raises `DedupError` if there is none, it was removed, or `spec` is only a part of a user ID; `KeyAccessError` if
    GPG does not know the name.
    """
    digits = "".join(spec.split()).removeprefix("0x").upper()
    if not re.fullmatch("[0-9A-F]{16,64}", digits):
        digits = gpg.fingerprint(spec)
        user_id = gpg.user_ids([digits]).get(digits, "")
        name, _, address = user_id.lower().rpartition("<")
        if spec.lower() not in (user_id.lower(), name.strip(), address.removesuffix(">")):
            raise DedupError(
                f"{spec!a} is only a part of the user ID {user_id!a} of {digits}",
                "give the whole name or address, or the fingerprint",
            )
    entries = [member for member in roster.members if member.fingerprint.endswith(digits)]
    present = [member for member in entries if member.removed == 0]
    if len(present) == 1:
        return present[0]
    if present:
        raise DedupError(f"{spec!a} names several members", "give the full fingerprint")
    if entries:
        raise DedupError(f"{entries[-1].fingerprint} was removed already, in roster {entries[-1].removed}")
    raise DedupError(f"{spec!a} is not a member of this repository", "see: dedup key list")


def _newcomers(gpg: Gpg, writers: Sequence[str], admins: Sequence[str]) -> list[tuple[str, Role]]:
    if not admins:
        raise DedupError("a repository needs an admin, or nobody could read it", "name one: --admin KEY")
    people: dict[str, Role] = {}
    named: list[tuple[str, Role]] = [
        *((spec, "admin") for spec in admins),
        *((spec, "writer") for spec in writers),
    ]
    for spec, role in named:
        key = gpg.fingerprint(spec, signs=role == "admin")
        if people.get(key) == role:
            raise DedupError(f"the key {key} is given twice", "name each key once")
        if key in people:
            raise DedupError(
                f"the key {key} is given as admin and as writer", "use two keys; an admin may write too"
            )
        people[key] = role
    return list(people.items())


def _first_here(gpg: Gpg, admins: list[str]) -> str:
    here = set(gpg.secret_fingerprints())
    for key in admins:
        if key in here:
            return key
    raise KeyAccessError(
        f"an admin's secret key is needed to sign, and none is here: admins are {', '.join(admins)}",
        "run it as one of them",
    )


def _admin_here(roster: Roster, gpg: Gpg) -> Member:
    admins = {admin.fingerprint: admin for admin in roster.present("admin")}
    return admins[_first_here(gpg, list(admins))]


def _enrol(
    backend: "Backend", gpg: Gpg, common: Slot, key: str, role: Role, domain: str, serial: int
) -> Member:
    """Store a new member's slot, made of what all know, and return its entry in the roster."""
    slot = msgspec.structs.replace(
        common,
        fingerprint=key,
        role=role,
        signing_key=slots.new_key(),
        sealing_keys=common.sealing_keys if role in slots.READING else {},
    )
    data = slots.seal(slot, public_key := gpg.export(key), key)
    digest = layout.sha256(data)
    backend.create(layout.content_file(Kind.SLOT, digest), data)
    return Member(
        fingerprint=key,
        role=role,
        suite=rosters.SUITE,
        signing_key=crypto.public_of(slot.signing_key),
        domain=domain,
        slot=digest,
        public_key=public_key,
        added=serial,
    )


def _next_serial(backend: "Backend", roster: Roster, trust: Trust) -> int:
    """Return the lowest serial that is free after this roster, which must still be the newest.

    Two admins who start from the same roster come to the same number, so only one of them can publish.
    """
    if lacking := roster.not_for_writing:
        raise NewerFormatError(
            f"to change the members here a program must know {lacking}, and this one does not",
            "install a newer version of dedup",
        )
    taken = chain.listing(backend)
    if trust.newest(backend, roster, taken) != roster:
        raise _late()
    return next(serial for serial in count(roster.serial + 1) if serial not in taken)


def _change(
    backend: "Backend", url: str, roster: Roster, gpg: Gpg, trust: Trust, admin: Member, payload: Payload
) -> Roster:
    made = _publish(backend, gpg, admin.fingerprint, roster, payload, _late())
    trust.advance(url, made)
    return made


def _publish(
    backend: "Backend", gpg: Gpg, signer: str, before: Roster | None, payload: Payload, late: DedupError
) -> Roster:
    data = rosters.sign(payload, gpg, signer, before)
    try:
        claim = rosters.parse(data, payload.serial)
        if claim.signer([m for m in payload.members if m.fingerprint == signer]) != signer:
            raise TrustError("another key signed")
        made = chain.follow(before, claim)
    except TrustError as error:
        # Once published, it would be passed over by every host, and this change would be lost unseen.
        raise KeyAccessError(
            f"others could not verify what {signer} signed: {error.message}",
            "if that key has a new signing subkey, another admin must remove and add it first",
        ) from None
    try:
        backend.create(layout.roster_file(payload.serial), data)
    except AlreadyExistsError:
        raise late from None
    return made


def _late() -> DedupError:
    return DedupError("another admin changed the roster meanwhile", "try again")


def _exists(url: str) -> DedupError:
    return DedupError(
        f"there is a repository here already: {url}", "to use it on this host: dedup trust accept"
    )
