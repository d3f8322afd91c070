"""Rosters: their bytes, what is malformed, and which follow from which."""

import hashlib
from typing import Any

import msgspec
import pytest

from dedupstore.errors import DamageError, DedupError, NewerFormatError, TrustError
from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from keys import chain
from keys import roster as rosters
from keys.gpg import Gpg
from keys.roster import ChunkerSettings, Epoch, Features, Member, Payload, Roster
from tests.keys.conftest import People, World

SEALING_KEY = bytes(range(256)) * 4 + bytes(192)
ALICE = Member(
    fingerprint="A" * 40,
    role="admin",
    suite=1,
    signing_key=b"a" * 32,
    domain="office",
    slot=b"s" * 32,
    public_key=b"key of alice",
    added=1,
)
FIELDS: dict[str, Any] = {
    "repository": b"r" * 16,
    "serial": 1,
    "previous": b"",
    "time": 1_800_000_000,
    "chunker": ChunkerSettings(),
    "epochs": [Epoch(1, 1, SEALING_KEY)],
    "members": [ALICE],
}
# Written out by hand from the MessagePack specification and docs/format.md 4.
GOLDEN = b"".join(
    [
        b"\x89",  # a map of 9
        *(b"\xa6format\x01", b"\xaarepository\xc4\x10" + b"r" * 16),
        *(b"\xa6serial\x01", b"\xa8previous\xc4\x00", b"\xa4time\xce\x6b\x49\xd2\x00"),
        *(b"\xa8features\x83", b"\xa4read\x90", b"\xa5write\x90", b"\xa8optional\x90", b"\xa7chunker\x85"),
        b"\xa7content\x93\xcd\x10\x00\xcd\x40\x00\xce\x00\x01\x00\x00",
        b"\xa3raw\x93\xcd\x08\x00\xcd\x20\x00\xcd\x80\x00",
        b"\xa8skeleton\x93\xcd\x08\x00\xcd\x20\x00\xcd\x80\x00",
        b"\xa6layout\x93\xcd\x01\x00\xcd\x04\x00\xcd\x10\x00",
        b"\xa6blocks\x95"
        + b"\xce\x00\x20\x00\x00" * 2
        + b"\xce\x00\x10\x00\x00" * 2
        + b"\xce\x00\x04\x00\x00",
        b"\xa6epochs\x91\x83\xa6number\x01\xa5suite\x01\xabsealing_key\xc5\x04\xc0" + SEALING_KEY,
        b"\xa7members\x91\x8a",
        *(
            b"\xabfingerprint\xd9\x28" + b"A" * 40,
            b"\xa4role\xa5admin",
            b"\xa5suite\x01",
            b"\xabsigning_key\xc4\x20" + b"a" * 32,
        ),
        *(b"\xa6domain\xa6office", b"\xa4slot\xc4\x20" + b"s" * 32, b"\xaapublic_key\xc4\x0ckey of alice"),
        *(b"\xa5added\x01", b"\xa7removed\x00", b"\xa7closing\xc4\x00"),
    ]
)


def file_of(
    payload: bytes, signature: bytes = b"signature", magic: bytes = layout.magic(Kind.ROSTER)
) -> bytes:
    return magic + msgspec.msgpack.encode({"payload": payload, "signature": signature})


def altered(**changes: Any) -> bytes:
    """A roster file whose payload, as a plain map, was changed; None takes a key away."""
    payload = msgspec.msgpack.decode(GOLDEN) | changes
    kept = {name: value for name, value in payload.items() if value is not None}
    return file_of(msgspec.msgpack.encode(kept))


def signed(gpg: Gpg, fingerprint: str, before: Roster, **changes: Any) -> rosters.Claim:
    """What someone may write after `before`, properly signed by this key."""
    payload = rosters.successor(before, before.serial + 1, before.members, 1_800_000_000)
    payload = msgspec.structs.replace(payload, **changes)
    return rosters.parse(rosters.sign(payload, gpg, fingerprint), payload.serial)


def rostered(data: bytes, serial: int = 1) -> Roster:
    return rosters.parse(data, serial).decode()


def without(roster: Roster, fingerprint: str) -> list[Member]:
    """The members after this one was removed."""
    return [
        msgspec.structs.replace(m, removed=roster.serial + 1) if m.fingerprint == fingerprint else m
        for m in roster.members
    ]


def altering(roster: Roster, fingerprint: str, **changes: Any) -> list[Member]:
    """The members, one of them with another role or the like."""
    return [
        msgspec.structs.replace(m, **changes) if m.fingerprint == fingerprint else m for m in roster.members
    ]


# --- the bytes -------------------------------------------------------------------------------------------------


def test_a_payload_is_encoded_as_the_format_says() -> None:
    assert records.encode(Payload(**FIELDS)) == GOLDEN


def test_a_file_reads_back_with_its_own_hash() -> None:
    data = file_of(GOLDEN)
    claim = rosters.parse(data, 1)
    assert claim.payload == GOLDEN
    assert claim.signature == b"signature"
    assert claim.decode() == Roster(**FIELDS, digest=hashlib.sha256(data).digest(), encoded=GOLDEN)


def test_unknown_keys_are_ignored() -> None:
    assert (
        rostered(altered(digest="later", colour="blue", features={"optional": ["later"], "colour": 1})).serial
        == 1
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"features": {"write": ["pruned"], "optional": ["any"]}}, ""),
        ({"features": {"write": ["pruned", "later"]}}, "the feature 'later'"),
        (
            {
                "epochs": [
                    {"number": 1, "suite": 1, "sealing_key": SEALING_KEY},
                    {"number": 2, "suite": 9, "sealing_key": b"of any width"},
                ]
            },
            "the suite 9",
        ),
    ],
)
def test_says_what_a_writer_must_know(changes: dict[str, Any], expected: str) -> None:
    assert rostered(altered(**changes)).not_for_writing == expected


def test_a_repository_of_a_preliminary_version_is_refused_in_one_sentence() -> None:
    old = altered(features=None, critical=[], optional=[], suite=1)
    with pytest.raises(NewerFormatError, match=r"preliminary version of dedup made.*; make a new repository"):
        rostered(old)


# --- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        altered(features={"read": ["later"]}),
        altered(features={"read": ["pruned"]}, members="something else altogether"),
        altered(format=2, members="something else altogether").replace(b"dedup\x01", b"dedup\x02"),
    ],
)
def test_says_that_a_newer_program_is_needed(data: bytes) -> None:
    with pytest.raises(NewerFormatError, match="install a newer version"):
        rostered(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        file_of(GOLDEN)[:-1],
        file_of(GOLDEN) + b"\0",
        file_of(GOLDEN, magic=layout.magic(Kind.SLOT)),
        file_of(GOLDEN, magic=b"dedup\x02R\0"),
        altered(format=2),
        file_of(b"\xc1"),
        altered(format=None),
        altered(repository=b"short"),
        altered(serial=0),
        altered(serial=2),
        altered(serial=2, previous=b"p" * 32),
        altered(previous=b"p" * 32),
        altered(epochs=[]),
        altered(epochs=[{"number": 1, "sealing_key": b"short"}]),
        altered(epochs=[{"number": n, "sealing_key": SEALING_KEY} for n in (2, 1)]),
        altered(members=[]),
        altered(chunker={"content": [1, 2, 3], "skeleton": [1024, 4096, 16384], "layout": [256, 1024, 4096]}),
    ],
)
def test_refuses_a_file_that_is_not_well_formed(data: bytes) -> None:
    with pytest.raises(DamageError):
        rostered(data)


@pytest.mark.parametrize(
    "members",
    [
        [{}, {"signing_key": b"b" * 32}],
        [{}, {"fingerprint": "B" * 40}],
        [{"role": "writer"}],
        [{"role": "king"}],
        [{"removed": 1}],
        [{"added": 2}],
        [{"domain": ""}],
        [{"fingerprint": "a" * 40}],
        [{"fingerprint": "A" * 40 + "\n"}],
        [{"fingerprint": "A" * 16}],
        [{"closing": b"n" * 32}],
        [{}, {"signing_key": b"b" * 32, "removed": 1, "closing": b"n" * 31}],
        [{"signing_key": b"b" * 33}],
    ],
)
def test_refuses_members_that_contradict_each_other_or_the_format(members: list[dict[str, Any]]) -> None:
    alice = msgspec.to_builtins(ALICE, builtin_types=(bytes,))
    with pytest.raises(DamageError):
        rostered(altered(members=[alice | changes for changes in members]))


def test_refuses_a_file_that_is_too_large_before_it_is_read(world: World) -> None:
    world.backend.create("roster/00000002", bytes(layout.MAX_ROSTER + 1))
    with pytest.raises(DamageError, match="more than any roster"):
        chain.fetch(world.backend, 2, chain.listing(world.backend)[2])


def test_refuses_to_make_a_roster_that_nobody_would_read(world: World, people: People) -> None:
    payload = rosters.successor(world.roster, 2, world.roster.members, 0)
    payload = msgspec.structs.replace(payload, features=Features(optional=["x" * layout.MAX_ROSTER]))
    with pytest.raises(DedupError, match="more than 1048576"):
        rosters.sign(payload, people.of_alice, people.alice)


def test_names_that_are_no_serials_are_ignored(world: World) -> None:
    for name in ("00000000", "000000001", "0000002", "readme"):
        world.backend.create(f"roster/{name}", b"x")
    world.backend.create("roster/00000007", b"seven")
    size = (world.folder / "roster" / "00000001").stat().st_size
    assert list(chain.listing(world.backend).items()) == [(1, size), (7, 5)]


# --- the chain -------------------------------------------------------------------------------------------------


def test_the_first_roster_is_believed_when_one_of_its_admins_signed_it(world: World) -> None:
    size = chain.listing(world.backend)[1]
    assert chain.follow(None, chain.fetch(world.backend, 1, size)) == world.roster


def test_any_admin_of_the_roster_before_may_sign_the_next(world: World, people: People) -> None:
    second = chain.follow(world.roster, signed(people.of_bob, people.bob, world.roster))
    assert second.serial == 2
    assert chain.follow(second, signed(people.of_alice, people.alice, second)).serial == 3


def test_an_admin_may_sign_the_roster_that_puts_him_out_but_none_after_it(
    world: World, people: People
) -> None:
    claim = signed(people.of_bob, people.bob, world.roster, members=without(world.roster, people.bob))
    second = chain.follow(world.roster, claim)
    with pytest.raises(TrustError, match="NO_PUBKEY"):
        chain.follow(second, signed(people.of_bob, people.bob, second))


def test_a_writer_may_not_sign(world: World, people: People) -> None:
    with pytest.raises(TrustError, match="roster/00000002 cannot be trusted"):
        chain.follow(world.roster, signed(people.of_wendy, people.wendy, world.roster))


def test_nobody_makes_himself_an_admin(world: World, people: People) -> None:
    members = altering(world.roster, people.wendy, role="admin")
    with pytest.raises(TrustError, match="cannot be trusted"):
        chain.follow(world.roster, signed(people.of_wendy, people.wendy, world.roster, members=members))


def test_serials_may_have_gaps(world: World, people: People) -> None:
    claim = signed(people.of_alice, people.alice, world.roster, serial=7)
    assert chain.follow(world.roster, claim).serial == 7


def test_what_an_admin_signed_must_follow_too(world: World, people: People) -> None:
    first = world.roster
    leaving = without(first, people.bob)
    second = chain.follow(first, signed(people.of_alice, people.alice, first, members=leaving))
    epochs = [*second.epochs, Epoch(2, 1, SEALING_KEY)]
    third = chain.follow(second, signed(people.of_alice, people.alice, second, epochs=epochs))
    wrong: list[dict[str, Any]] = [
        {"previous": b"p" * 32},
        {"previous": second.digest},
        {"repository": b"q" * 16},
        {"serial": 3},
        {"epochs": third.epochs[1:]},
        {"epochs": [Epoch(1, 1, SEALING_KEY), Epoch(2, 1, SEALING_KEY)]},
        {"members": third.members[:-1]},
        {"members": altering(third, people.wendy, role="pruner")},
        {"members": altering(third, people.wendy, domain="elsewhere")},
        {"members": altering(third, people.wendy, signing_key=b"w" * 32)},
        {"members": altering(third, people.bob, removed=0)},
        {"members": altering(third, people.wendy, suite=2)},
    ]
    for changes in wrong:
        with pytest.raises(TrustError, match="does not follow"):
            chain.follow(third, signed(people.of_alice, people.alice, third, **changes))


def test_a_later_roster_may_name_another_closing_list(world: World, people: People) -> None:
    second = world.remove(world.roster, people.of_alice, people.wendy)
    closed = altering(second, people.wendy, closing=b"c" * 32)
    third = chain.follow(second, signed(people.of_alice, people.alice, second, members=closed))
    assert [b"c" * 32] == [member.closing for member in third.members if member.removed]


def test_only_an_admin_can_say_that_a_newer_program_is_needed(world: World, people: People) -> None:
    for gpg, key, expected in (
        (people.of_wendy, people.wendy, TrustError),
        (people.of_alice, people.alice, NewerFormatError),
    ):
        claim = signed(gpg, key, world.roster, features=Features(["later"]))
        with pytest.raises(expected):
            chain.follow(world.roster, claim)


def test_a_payload_that_was_altered_after_it_was_signed_is_refused(world: World, people: People) -> None:
    claim = signed(people.of_alice, people.alice, world.roster)
    forged = claim._replace(payload=claim.payload.replace(b"writer", b"pruner"))
    with pytest.raises(TrustError, match="BADSIG"):
        chain.follow(world.roster, forged)


def test_another_key_under_an_admins_name_does_not_sign_for_him(world: World, people: People) -> None:
    """Mallory lists alice's fingerprint as the admin, but embeds his own key, and signs with it."""
    fake = [
        msgspec.structs.replace(m, public_key=people.of_mallory.export(people.mallory))
        for m in world.roster.members
        if m.fingerprint == people.alice
    ]
    payload = Payload(**(FIELDS | {"members": fake}))
    claim = rosters.parse(rosters.sign(payload, people.of_mallory, people.mallory), 1)
    with pytest.raises(TrustError, match=f"signed by {people.mallory}, who is no admin"):
        chain.follow(None, claim)
