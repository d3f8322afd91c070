"""`dedup check`, and what a damaged or foreign repository looks like, as it is typed."""

import json
from pathlib import Path

import msgspec
import pytest

from keys import roster as rosters
from tests.e2e.cli.conftest import World


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize("who", ["alice", "wendy"])
@pytest.mark.parametrize("line", ["check", "check --read-data"])
def test_a_whole_repository_is_found_whole(stored: World, who: str, line: str) -> None:
    said = stored.host(who).dedup(line)
    assert (0, b"") == (said.status, said.out)
    assert "looked at 4 snapshots with 4 streams, " in said.err
    assert said.err.endswith("no damage found\n")


def test_says_what_was_not_looked_at(stored: World) -> None:
    assert "contents not read" in stored.alice.dedup("check").err
    assert "contents not read" not in stored.alice.dedup("check --read-data").err
    assert "without an admin's key" in stored.wendy.dedup("check --read-data").err


@pytest.mark.parametrize("folder", ["data", "tree", "index", "snapshots", "runs"])
def test_a_file_that_is_missing_is_damage(stored: World, folder: str) -> None:
    stored.files(folder)[0].unlink()
    said = stored.wendy.dedup("check")  # her machine has seen all that there was
    assert 4 == said.status
    assert said.out.startswith(b"damaged: ")
    assert "of damage; restore those files from another copy\n" in said.err


@pytest.mark.parametrize("folder", ["data", "tree", "index", "snapshots", "runs"])
def test_a_flipped_bit_is_damage(stored: World, folder: str) -> None:
    spoil(stored.files(folder)[0])
    said = stored.alice.dedup("check --read-data --json")
    assert 4 == said.status
    assert 1 <= len(json.loads(said.out)["damaged"])


def test_a_backup_that_is_gone_is_an_alarm_in_the_status_of_every_command(stored: World) -> None:
    for path in stored.files("snapshots"):
        path.unlink()
    said = stored.wendy.dedup("list")
    assert 4 == said.status
    assert "ALARM: rollback detected: backups seen before are gone" in said.err


@pytest.mark.parametrize("who", ["alice", "wendy"])
@pytest.mark.parametrize("victim", ["alice", "bob", "wendy"])
def test_a_slot_that_is_harmed_is_damage_whoever_looks(stored: World, who: str, victim: str) -> None:
    first = rosters.parse((stored.repository / "roster/00000001").read_bytes(), 1).decode()
    slot = next(member.slot for member in first.members if member.fingerprint == stored.keys[victim]).hex()
    path = stored.repository / "slots" / slot
    spoil(path)
    said = stored.host(who).dedup("check")
    assert 4 == said.status
    assert f"slots/{slot}, the slot of " in said.out.decode() + said.err
    path.unlink()
    said = stored.host(who).dedup("check")
    assert 4 == said.status
    assert "is missing" in said.out.decode() + said.err


def test_an_older_roster_that_is_harmed_is_damage(stored: World) -> None:
    stored.alice.does("key add mallory@example.org")
    stored.wendy.does("list")
    spoil(stored.repository / "roster" / "00000001")
    said = stored.wendy.dedup("check")
    assert 4 == said.status
    assert b"damaged: the roster before roster/00000002, whose SHA-256 is " in said.out


def test_no_repository_is_said_to_be_none(world: World) -> None:
    for line in ("list", "put x", "check", f"trust accept --yes --admin {world.keys['alice']}"):
        said = world.alice.fails(f"-r {world.folder}/nothing {line}", b"data")
        assert f"dedup: there is no dedup repository at {world.folder}/nothing; check the path; " in said
    assert not (world.folder / "nothing").exists()


def test_a_newer_format_is_said_to_be_newer(world: World) -> None:
    first = rosters.parse((world.repository / "roster/00000001").read_bytes(), 1).decode()
    payload = msgspec.structs.replace(rosters.successor(first, 2, first.members, 0), format=2)
    data = bytearray(rosters.sign(payload, world.homes["alice"].gpg, world.keys["alice"]))
    data[5] = 2
    (world.repository / "roster/00000002").write_bytes(data)
    for line in ("list", "put x", f"trust accept --yes --admin {world.keys['alice']}"):
        assert "dedup: roster/00000002 needs format 2; install a newer version of dedup" == world.wendy.fails(
            line, b"data"
        )


def test_a_roster_that_anybody_could_have_put_there_is_passed_over_and_told(world: World) -> None:
    (world.repository / "roster/00000002").write_bytes(b"garbage")
    said = world.wendy.dedup("put x", b"data")
    assert 0 == said.status
    assert said.err.startswith("dedup: warning: roster/00000002 does not begin as a roster file\n")
