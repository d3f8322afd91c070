"""Slots: their bytes, who can open them, and when they are not what the roster says."""

import hashlib
from typing import Any

import msgspec
import pytest

from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from keys import public, slots
from keys.roster import Member, Roster
from keys.slots import Slot
from tests.keys.conftest import People, World

SEALING = b"d" * 32 + b"z" * 32 + b"x" * 32
SLOT = Slot(
    repository=b"r" * 16,
    fingerprint="A" * 40,
    role="admin",
    epoch=2,
    id_key=b"i" * 32,
    chunker_key=b"c" * 32,
    signing_key=b"s" * 32,
    catalogue_keys={1: b"1" * 32, 2: b"2" * 32},
    sealing_keys={1: SEALING},
)
# Written out by hand from the MessagePack specification and docs/format.md 5.
GOLDEN = b"".join(
    [
        b"\x89",  # a map of 9
        *(
            b"\xaarepository\xc4\x10" + b"r" * 16,
            b"\xabfingerprint\xd9\x28" + b"A" * 40,
            b"\xa4role\xa5admin",
        ),
        *(b"\xa5epoch\x02", b"\xa6id_key\xc4\x20" + b"i" * 32, b"\xabchunker_key\xc4\x20" + b"c" * 32),
        b"\xabsigning_key\xc4\x20" + b"s" * 32,
        b"\xaecatalogue_keys\x82\x01\xc4\x20" + b"1" * 32 + b"\x02\xc4\x20" + b"2" * 32,
        b"\xacsealing_keys\x81\x01\xc4\x60" + SEALING,
    ]
)


def member(world: World, fingerprint: str) -> Member:
    return next(m for m in world.roster.members if m.fingerprint == fingerprint)


def stored(world: World, data: bytes, fingerprint: str) -> tuple[Roster, Member]:
    """The roster as if it named this slot file for this member."""
    digest = hashlib.sha256(data).digest()
    world.backend.create(layout.content_file(Kind.SLOT, digest), data)
    entry = msgspec.structs.replace(member(world, fingerprint), slot=digest)
    others = [m for m in world.roster.members if m.fingerprint != fingerprint]
    return msgspec.structs.replace(world.roster, members=[entry, *others]), entry


def test_a_slot_is_encoded_as_the_format_says() -> None:
    assert records.encode(SLOT) == GOLDEN
    assert records.decode(GOLDEN, Slot, "slot") == SLOT


def test_a_slot_shows_none_of_its_keys() -> None:
    assert repr(SLOT) == f"<slot of admin {'A' * 40} in {'72' * 16}>"
    assert list(SLOT.__rich_repr__()) == [("role", "admin"), ("fingerprint", "A" * 40)]


def test_an_admins_slot_holds_the_sealing_keys_and_a_writers_does_not(world: World, people: People) -> None:
    admin = slots.load(world.backend, world.roster, member(world, people.alice), people.of_alice)
    writer = slots.load(world.backend, world.roster, member(world, people.wendy), people.of_wendy)
    assert slots.sealing_public(admin.sealing_keys[1]) == world.roster.epoch.sealing_key
    assert writer.sealing_keys == {}
    assert writer.catalogue_keys == admin.catalogue_keys
    assert (writer.id_key, writer.chunker_key) == (admin.id_key, admin.chunker_key)
    assert writer.signing_key != admin.signing_key


def test_a_slot_opens_for_nobody_else(world: World, people: People) -> None:
    with pytest.raises(KeyAccessError, match=f"the GPG key {people.wendy} is needed") as caught:
        slots.load(world.backend, world.roster, member(world, people.wendy), people.of_alice)
    assert "secret key is not here" in str(caught.value)


def test_an_altered_slot_is_not_even_given_to_gpg(world: World, people: People) -> None:
    entry = member(world, people.alice)
    path = world.folder / layout.content_file(Kind.SLOT, entry.slot)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DamageError, match="was altered"):
        slots.load(world.backend, world.roster, entry, people.of_mallory)


def test_a_slot_that_is_missing_is_damage(world: World, people: People) -> None:
    entry = member(world, people.alice)
    (world.folder / layout.content_file(Kind.SLOT, entry.slot)).unlink()
    with pytest.raises(DamageError, match="is missing"):
        slots.load(world.backend, world.roster, entry, people.of_alice)


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": b"q" * 16},
        {"role": "writer"},
        {"fingerprint": "A" * 40},
        {"signing_key": b"s" * 32},
        {"catalogue_keys": {2: b"2" * 32}},
        {"sealing_keys": {}},
        {"sealing_keys": {1: SEALING}},
    ],
)
def test_refuses_a_slot_that_does_not_fit_the_roster(
    world: World, people: People, changes: dict[str, Any]
) -> None:
    slot = slots.load(world.backend, world.roster, member(world, people.alice), people.of_alice)
    wrong = slots.seal(
        msgspec.structs.replace(slot, **changes), people.of_alice.export(people.alice), people.alice
    )
    roster, entry = stored(world, wrong, people.alice)
    with pytest.raises(DamageError, match=layout.content_file(Kind.SLOT, entry.slot)):
        slots.load(world.backend, roster, entry, people.of_alice)


def test_refuses_sealing_keys_in_a_writers_slot(world: World, people: People) -> None:
    admin = slots.load(world.backend, world.roster, member(world, people.alice), people.of_alice)
    writer = slots.load(world.backend, world.roster, member(world, people.wendy), people.of_wendy)
    leaky = msgspec.structs.replace(writer, sealing_keys=admin.sealing_keys)
    roster, entry = stored(
        world, slots.seal(leaky, people.of_alice.export(people.wendy), people.wendy), people.wendy
    )
    with pytest.raises(DamageError, match="do not fit"):
        slots.load(world.backend, roster, entry, people.of_wendy)


def test_a_slot_must_begin_as_one(world: World, people: People) -> None:
    body = public.encrypt(GOLDEN, people.of_alice.export(people.alice), people.alice)
    roster, entry = stored(world, layout.magic(Kind.ROSTER) + body, people.alice)
    with pytest.raises(DamageError, match="is not a slot file"):
        slots.load(world.backend, roster, entry, people.of_alice)
