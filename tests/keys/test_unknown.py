"""What only a newer program knows survives what this one changes."""

import hashlib
from typing import Any

import msgspec

from dedupstore.format import layout
from dedupstore.format.layout import Kind
from keys import chain, members, public
from keys import roster as rosters
from keys.roster import Roster
from tests.keys.conftest import People, World

# Every kind of value, among them what plain Python values would not keep: the width of a number, a time's nanoseconds.
VALUES = {
    "flag": b"\xc3",
    "wide": b"\xd3\x00\x00\x00\x00\x00\x00\x00\x01",
    "single": b"\xca\x3f\x80\x00\x00",
    "moment": b"\xc7\x0c\xff\x00\x00\x00\x07\x00\x00\x00\x00\x6b\x49\xd2\x00",
    "own type": b"\xd4\x05x",
    "map": b"\x82\x01\xa1x\xc4\x01k\x91\xc0",
    "list": b"\x92\x01\x90",
}
NEW = {name: msgspec.Raw(value) for name, value in VALUES.items()}


def plain(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    return dict(msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw]))


def listed(data: msgspec.Raw) -> list[dict[str, msgspec.Raw]]:
    return [plain(item) for item in msgspec.msgpack.decode(data, type=list[msgspec.Raw])]


def new_of(fields: dict[str, msgspec.Raw]) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in fields.items() if name in VALUES}


def write_newer(world: World, people: People) -> Roster:
    """Let alice's newer program write roster 2, with keys of its own at every level."""
    payload = rosters.successor(world.roster, 2, world.roster.members, 1_800_000_000)
    fields: dict[str, Any] = plain(msgspec.msgpack.encode(payload)) | NEW
    fields["chunker"] = plain(fields["chunker"]) | NEW
    for name in ("epochs", "members"):
        items = listed(fields[name])
        fields[name] = [item | NEW | {"number?": number} for number, item in enumerate(items)]
    encoded = msgspec.msgpack.encode(fields)
    signature = people.of_alice.sign(b"dedup1 roster" + encoded, people.alice)
    data = layout.magic(Kind.ROSTER) + msgspec.msgpack.encode({"payload": encoded, "signature": signature})
    world.backend.create(layout.roster_file(2), data)
    return world.trust.believe(world.backend, world.url)


def test_a_rosters_unknown_keys_survive_add_and_remove(world: World, people: People) -> None:
    second = write_newer(world, people)
    third = world.add(second, people.of_alice, people.mallory, "writer")
    fourth = world.remove(third, people.of_bob, people.wendy)
    for roster in (third, fourth):
        fields = plain(roster.encoded)
        assert new_of(fields) == VALUES
        assert new_of(plain(fields["chunker"])) == VALUES
        assert [new_of(epoch) for epoch in listed(fields["epochs"])] == [VALUES]
        entries = listed(fields["members"])
        assert [new_of(member) for member in entries] == [VALUES, VALUES, VALUES, {}]
        # Each entry keeps its own.
        assert [bytes(member["number?"]) for member in entries[:3]] == [b"\0", b"\1", b"\2"]
    assert [member.removed for member in fourth.members] == [0, 0, 4, 0]
    size = chain.listing(world.backend)[4]
    assert chain.fetch(world.backend, 4, size).payload == fourth.encoded


def slot_fields(world: World, roster: Roster, people: People, fingerprint: str) -> dict[str, msgspec.Raw]:
    entry = next(member for member in roster.present() if member.fingerprint == fingerprint)
    data = world.backend.read(layout.content_file(Kind.SLOT, entry.slot))
    return plain(people.everyone.gpg.decrypt(data[layout.MAGIC_SIZE :]))


def test_a_newcomers_slot_has_what_all_know_and_an_admins_what_admins_know(
    world: World, people: People
) -> None:
    newer = {f"{scope}_{name}": value for scope in ("all", "admin", "my") for name, value in NEW.items()}
    fields = slot_fields(world, world.roster, people, people.alice) | newer
    key = people.of_alice.export(people.alice)
    data = layout.magic(Kind.SLOT) + public.encrypt(msgspec.msgpack.encode(fields), key, people.alice)
    digest = hashlib.sha256(data).digest()
    world.backend.create(layout.content_file(Kind.SLOT, digest), data)
    entries = [
        msgspec.structs.replace(member, slot=digest) if member.fingerprint == people.alice else member
        for member in world.roster.members
    ]
    payload = rosters.successor(world.roster, 2, entries, 1_800_000_000)
    signed = rosters.sign(payload, people.of_alice, people.alice, world.roster)
    world.backend.create(layout.roster_file(2), signed)
    second = world.trust.believe(world.backend, world.url)
    left = world.remove(second, people.of_alice, people.bob)
    third = world.add(left, people.of_alice, people.mallory, "writer")
    fourth = world.add(third, people.of_alice, people.bob, "admin")
    for fingerprint, scopes in ((people.mallory, ["all"]), (people.bob, ["all", "admin"])):
        found = slot_fields(world, fourth, people, fingerprint)
        added = {name: bytes(value) for name, value in found.items() if name.partition("_")[2] in VALUES}
        assert added == {f"{scope}_{name}": value for scope in scopes for name, value in VALUES.items()}
    assert members.unlock(world.backend, fourth, people.of_bob, reading=True).domain == f"{people.bob}-2"
