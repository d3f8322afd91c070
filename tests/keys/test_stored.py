"""Every file that a roster names by its hash is looked at: without a key, and past what nobody believes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dedupstore.format import layout
from keys import roster as rosters
from keys import stored
from keys.roster import Roster
from tests.keys.conftest import People, World


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def enlarge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(65 << 20)


HARM = [Path.unlink, truncate, empty, flip, enlarge]


@pytest.fixture
def roster(world: World, people: People) -> Roster:
    """Roster 4; roster 3 is none that anybody believes, and wendy was removed."""
    second = world.add(world.roster, people.of_alice, people.mallory, "writer")
    world.backend.create("roster/00000003", b"rubbish")
    fourth = world.remove(second, people.of_bob, people.wendy)
    assert fourth.serial == 4
    for path in world.folder.rglob("*"):
        path.chmod(0o700)
    return fourth


@pytest.fixture
def no_gpg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_whole_repository_is_whole(world: World, roster: Roster, no_gpg: None) -> None:
    assert stored.damaged(world.backend, roster) == []


@pytest.mark.parametrize("harm", HARM)
def test_every_members_slot_is_looked_at(
    world: World, roster: Roster, no_gpg: None, harm: Callable[[Path], None]
) -> None:
    for member in roster.present():
        name = layout.content_file(layout.Kind.SLOT, member.slot)
        before = (world.folder / name).read_bytes()
        harm(world.folder / name)
        found = stored.damaged(world.backend, roster)
        assert [line.split(",")[0] for line in found] == [name]
        assert f"the slot of {member.role} {member.fingerprint}" in found[0]
        (world.folder / name).write_bytes(before)


def test_a_former_members_slot_may_be_missing_but_not_altered(
    world: World, roster: Roster, people: People
) -> None:
    wendy = roster.members[2]
    assert (wendy.fingerprint, wendy.removed) == (people.wendy, 4)
    path = world.folder / layout.content_file(layout.Kind.SLOT, wendy.slot)
    flip(path)
    assert len(stored.damaged(world.backend, roster)) == 1
    path.unlink()
    assert stored.damaged(world.backend, roster) == []


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize(
    ("serial", "named"), [(1, "roster/00000002"), (2, "roster/00000004"), (4, "roster 4")]
)
def test_every_believed_roster_is_looked_at(
    world: World, roster: Roster, no_gpg: None, harm: Callable[[Path], None], serial: int, named: str
) -> None:
    path = world.folder / layout.roster_file(serial)
    digest = layout.sha256(path.read_bytes()).hex()
    harm(path)
    found = stored.damaged(world.backend, roster)
    assert [named in line and digest in line for line in found] == [True]


def test_a_copy_of_a_roster_under_another_number_is_none(
    world: World, roster: Roster, people: People
) -> None:
    first = world.folder / "roster" / "00000001"
    second = world.folder / "roster" / "00000002"
    first.unlink()
    (world.folder / "roster" / "00000003").write_bytes(second.read_bytes())
    assert len(stored.damaged(world.backend, roster)) == 1
    assert rosters.parse(second.read_bytes(), 2).decode().previous == world.roster.digest
