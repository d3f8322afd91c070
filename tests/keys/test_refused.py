"""What anybody may put into the roster folder costs each host one run of gpg, or none."""

from pathlib import Path

import msgspec
import pytest

from dedupstore.format import layout
from dedupstore.state.folder import StateFolder
from keys import members
from keys import roster as rosters
from keys.refused import Refused
from keys.trust import Trust
from tests.gpg_home import gpg_with
from tests.keys.conftest import People, World


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each run of gpg from here on."""
    monkeypatch.setenv("PATH", str(gpg_with(tmp_path / "bin", "")), prepend=":")
    return tmp_path / "bin" / "runs"


def verifications(runs: Path) -> int:
    """How many signatures gpg was asked about since the last call."""
    lines = runs.read_text().splitlines() if runs.exists() else []
    runs.write_text("")
    return sum("--verify" in line for line in lines)


def put_junk(world: World, people: People, serials: range) -> None:
    """Files by a writer that only their signature tells from an admin's."""
    for serial in serials:
        payload = rosters.successor(world.roster, serial, world.roster.members, serial)
        data = rosters.sign(payload, people.of_wendy, people.wendy)
        world.backend.create(layout.roster_file(serial), data)


def stored(world: World) -> Path:
    return world.trust.folder(world.roster.repository).path / "refused.json"


def test_a_roster_that_names_another_one_costs_no_gpg(world: World, people: People, counted: Path) -> None:
    for serial, changes in enumerate(({"previous": b"p" * 32}, {"serial": 77}, {"previous": b"x"}), 2):
        payload = rosters.successor(world.roster, serial, world.roster.members, 0)
        fields = msgspec.to_builtins(payload, builtin_types=(bytes,)) | changes
        file = {"payload": msgspec.msgpack.encode(fields), "signature": b"signature"}
        world.backend.create(
            layout.roster_file(serial), layout.magic(layout.Kind.ROSTER) + msgspec.msgpack.encode(file)
        )
    assert world.trust.believe(world.backend, world.url) == world.roster
    assert len(world.trust.damage) == 3
    assert not counted.exists()
    assert not stored(world).exists()


def test_a_refused_roster_costs_gpg_once_and_is_told_of_every_time(
    world: World, people: People, counted: Path
) -> None:
    put_junk(world, people, range(2, 6))
    verifications(counted)
    assert world.trust.believe(world.backend, world.url) == world.roster
    assert verifications(counted) == 4
    told = list(world.trust.damage)
    assert len(told) == 4
    later = Trust(StateFolder(world.folder.parent / "state"))
    assert later.believe(world.backend, world.url) == world.roster
    assert (counted.read_text(), later.damage) == ("", told)
    put_junk(world, people, range(6, 7))
    verifications(counted)
    assert later.believe(world.backend, world.url) == world.roster
    assert verifications(counted) == 1
    # An admin's change verifies what was signed, twice, and none of the junk.
    second = members.remove(world.backend, world.url, world.roster, people.of_alice, later, people.wendy, b"")
    assert (second.serial, verifications(counted)) == (7, 2)


def test_only_what_is_still_there_is_remembered(world: World, people: People, counted: Path) -> None:
    put_junk(world, people, range(2, 5))
    world.trust.believe(world.backend, world.url)
    size = stored(world).stat().st_size
    assert stored(world).stat().st_mode & 0o777 == 0o600
    for serial in (2, 3):
        (world.folder / layout.roster_file(serial)).unlink()
    put_junk(world, people, range(5, 6))
    world.trust.believe(world.backend, world.url)
    assert stored(world).stat().st_size < size


def test_what_is_remembered_has_a_bound(tmp_path: Path) -> None:
    refused = Refused(StateFolder(tmp_path / "state"))
    for number in range(5000):
        refused.add(number.to_bytes(32, "big"), "x" * 1000)
    refused.save()
    assert (tmp_path / "state" / "refused.json").stat().st_size < 2 << 20
    again = Refused(StateFolder(tmp_path / "state"))
    assert again.reason(bytes(32)) == "x" * 300
    assert again.reason((4999).to_bytes(32, "big")) is None


@pytest.mark.parametrize("text", ["", "[", "{}", '{"gpg": 1}', "\udcff"])
def test_a_spoilt_memory_is_as_none(world: World, people: People, counted: Path, text: str) -> None:
    put_junk(world, people, range(2, 3))
    world.trust.believe(world.backend, world.url)
    verifications(counted)
    stored(world).write_bytes(text.encode(errors="surrogateescape"))
    assert world.trust.believe(world.backend, world.url) == world.roster
    assert verifications(counted) == 1


def test_another_gpg_judges_again(world: World, people: People, counted: Path) -> None:
    put_junk(world, people, range(2, 3))
    world.trust.believe(world.backend, world.url)
    verifications(counted)
    with (counted.parent / "gpg").open("a") as file:
        file.write("# newer\n")
    assert world.trust.believe(world.backend, world.url) == world.roster
    assert verifications(counted) == 1


@pytest.mark.parametrize("failure", ["--verify", "--import"])
def test_a_removal_is_not_missed_for_good_because_gpg_died_once(
    world: World, people: People, counted: Path, failure: str
) -> None:
    host = world.another_host()
    host.accept(world.url, world.roster)
    second = world.remove(world.roster, people.of_alice, people.wendy)
    script, dying = counted.parent / "gpg", counted.parent / "dying"
    script.write_text(
        script.read_text().replace(
            "exec", f'[ -e {dying} ] && case "$*" in *{failure}*) kill -9 $$;; esac\nexec'
        )
    )
    dying.touch()
    assert host.believe(world.backend, world.url) == world.roster
    assert len(host.damage) == 1
    dying.unlink()
    assert host.believe(world.backend, world.url) == second
