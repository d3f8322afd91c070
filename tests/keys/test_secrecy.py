"""No secret is ever logged, shown or told."""

import base64
import logging
import traceback
from io import StringIO
from typing import Any

import gnupg
import msgspec
import pytest
from rich.pretty import pprint

from dedupstore.errors import DedupError
from keys import members, slots
from keys.slots import Slot
from tests.keys.conftest import People, World
from tests.keys.test_slots import member, stored


def spellings(secret: bytes) -> list[str]:
    """How a secret might look in a text.  Base64 is looked for without the ends, which depend on what is around."""
    encoded = [base64.b64encode(b"\0" * shift + secret).decode()[4:-4] for shift in range(3)]
    return [secret.hex(), secret.hex().upper(), repr(secret)[2:-1], secret.decode("latin-1"), *encoded]


def secrets_of(slot: Slot) -> list[bytes]:
    own = [slot.id_key, slot.chunker_key, slot.signing_key, *slot.catalogue_keys.values()]
    return own + [part for key in slot.sealing_keys.values() for part in (key[:32], key[32:64], key[64:])]


def assert_hidden(text: str, secrets: list[bytes]) -> None:
    found = [spelling for secret in secrets for spelling in spellings(secret) if spelling in text]
    assert found == []


def test_the_search_itself_finds_secrets() -> None:
    secret = bytes(range(100, 132))
    for text in (f"key={secret!r}", base64.b64encode(b"xy" + secret + b"z").decode(), f"<{secret.hex()}>"):
        with pytest.raises(AssertionError):
            assert_hidden(text, [secret])


def test_logs_hold_no_secret(world: World, people: People, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gnupg.log_everything = True  # as another user of that library might have left it
    roster = world.add(world.roster, people.of_alice, people.mallory, "admin")
    secrets = []
    for gpg, key in (
        (people.of_alice, people.alice),
        (people.of_mallory, people.mallory),
        (people.of_wendy, people.wendy),
    ):
        entry = members.find(roster, gpg, key)
        secrets += secrets_of(slots.load(world.backend, roster, entry, gpg))
        access = members.unlock(world.backend, roster, gpg, reading=True)
        assert_hidden(repr(access), secrets)
    assert len(secrets) == 7 + 7 + 4
    assert "DECRYPTION_OKAY" in caplog.text
    assert_hidden(caplog.text, secrets)


def test_errors_about_what_is_in_a_slot_hold_no_secret(world: World, people: People) -> None:
    slot = slots.load(world.backend, world.roster, member(world, people.alice), people.of_alice)
    secrets = secrets_of(slot)
    wrong: list[dict[str, Any]] = [
        {"role": "writer"},
        {"id_key": slot.id_key + b"x"},
        {"id_key": slot.id_key.hex()},
        {"catalogue_keys": {slot.id_key: slot.id_key}},
        {"sealing_keys": {1: slot.sealing_keys[1][:95]}},
        {"signing_key": slot.id_key},
    ]
    for changes in wrong:
        data = slots.seal(
            msgspec.structs.replace(slot, **changes), people.of_alice.export(people.alice), people.alice
        )
        roster, entry = stored(world, data, people.alice)
        try:
            slots.load(world.backend, roster, entry, people.of_alice)
        except DedupError as error:
            assert_hidden(f"{error} {error!r} {traceback.format_exc()}", secrets)
        else:
            pytest.fail(f"{list(changes)} was not noticed")


def test_a_slot_is_not_shown_by_anything_that_prints(world: World, people: People) -> None:
    slot = slots.load(world.backend, world.roster, member(world, people.alice), people.of_alice)
    shown = StringIO()
    from rich.console import Console

    pprint(slot, console=Console(file=shown, width=1000))
    assert people.alice in shown.getvalue()
    assert_hidden(shown.getvalue() + repr(slot) + str(slot) + f"{slot}", secrets_of(slot))
