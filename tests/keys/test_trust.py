"""What a host believes: first contact, what follows, and every way in which a repository can go wrong."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.errors import KeyAccessError, NewerFormatError, NotARepositoryError, StateError, TrustError
from dedupstore.format import layout
from keys import chain, gpg, members
from keys import roster as rosters
from keys.roster import ChunkerSettings, Epoch, Features, Member, Payload, Roster
from keys.trust import normal_url
from tests.gpg_home import gpg_with
from tests.keys.conftest import People, World
from tests.keys.test_roster import altering, without


def publish(
    world: World, before: Roster, user: gpg.Gpg, signer: str, listed: list[Member] | None = None
) -> Roster:
    """Put the next roster there with a signature of this key, whether or not it may."""
    serial = max(chain.listing(world.backend)) + 1
    payload = rosters.successor(before, serial, listed or before.members, int(time.time()))
    data = rosters.sign(payload, user, signer)
    world.backend.create(layout.roster_file(serial), data)
    return rosters.parse(data, serial).decode()


def pin_of(world: World) -> dict[str, object]:
    text = (world.trust.folder(world.roster.repository).path / "trust.json").read_text()
    return dict(json.loads(text))


@pytest.fixture
def no_gpg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From here on, gpg cannot be run."""
    monkeypatch.setenv("PATH", str(tmp_path))


# --- what is pinned --------------------------------------------------------------------------------------------


def test_the_pin_says_what_is_believed(world: World, people: People) -> None:
    pin = pin_of(world)
    assert abs(int(str(pin.pop("accepted"))) - time.time()) < 600
    assert pin == {
        "repository": world.roster.repository.hex(),
        "urls": [world.url],
        "serial": 1,
        "roster": world.roster.digest.hex(),
        "admins": [people.alice, people.bob],
    }


def test_a_roster_that_is_pinned_is_believed_without_gpg(world: World, no_gpg: None) -> None:
    assert world.trust.believe(world.backend, world.url) == world.roster


def test_newer_rosters_are_verified_once_and_then_pinned(
    world: World, people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    second = publish(world, world.roster, people.of_bob, people.bob, without(world.roster, people.alice))
    third = publish(world, second, people.of_bob, people.bob)
    assert world.trust.believe(world.backend, world.url) == third
    assert (pin_of(world)["serial"], pin_of(world)["admins"]) == (3, [people.bob])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert world.trust.believe(world.backend, world.url) == third


def test_a_slower_process_does_not_move_the_pin_back(world: World, people: People) -> None:
    second = publish(world, world.roster, people.of_bob, people.bob)
    world.trust.advance(world.url, second)
    world.trust.advance(world.url, world.roster)
    assert pin_of(world)["serial"] == 2


def test_relative_paths_and_links_are_the_same_place(
    world: World, no_gpg: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder.parent)
    Path("link").symlink_to("repository")
    monkeypatch.setenv("HOME", str(world.folder.parent))
    for url in ("repository", "./repository/", "link", "~/repository"):
        assert normal_url(url) == world.url
    assert normal_url("sftp://host/~/x") == "sftp://host/~/x"
    assert world.trust.believe(world.backend, "link") == world.roster


def test_a_known_repository_is_believed_at_another_place_and_remembered_there(
    world: World, people: People
) -> None:
    copy = world.folder.with_name("copy")
    shutil.copytree(world.folder, copy)
    assert world.trust.believe(LocalBackend(copy), str(copy)) == world.roster
    assert pin_of(world)["urls"] == sorted([str(copy), world.url])


# --- first contact ---------------------------------------------------------------------------------------------


def test_a_place_without_files_is_no_repository(world: World, tmp_path: Path) -> None:
    empty = LocalBackend(tmp_path / "empty")
    with pytest.raises(
        NotARepositoryError, match="there is no dedup repository at somewhere; check the path; "
    ):
        world.trust.believe(empty, "somewhere")
    with pytest.raises(NotARepositoryError, match="there is no dedup repository at somewhere"):
        world.trust.examine(empty, "somewhere", "A" * 40)


def test_a_repository_that_this_host_never_met_is_not_believed(world: World) -> None:
    with pytest.raises(TrustError, match="unknown repository") as caught:
        world.another_host().believe(world.backend, world.url)
    assert "dedup trust accept --admin FINGERPRINT" in caught.value.hint


def test_an_admins_fingerprint_makes_first_contact_and_pins_only_when_accepted(
    world: World, people: People
) -> None:
    host = world.another_host()
    assert host.examine(world.backend, world.url, people.alice.lower()) == world.roster
    assert host.known(world.url) is None
    host.accept(world.url, world.roster)
    assert host.believe(world.backend, world.url) == world.roster


def test_first_contact_takes_what_the_named_admin_signed_and_what_follows(
    world: World, people: People
) -> None:
    second = publish(world, world.roster, people.of_bob, people.bob)
    third = publish(world, second, people.of_alice, people.alice, without(second, people.bob))
    for admin in (people.alice, people.bob):
        assert world.another_host().examine(world.backend, world.url, admin) == third


def test_first_contact_passes_over_what_does_not_follow(world: World, people: People) -> None:
    second = publish(world, world.roster, people.of_alice, people.alice, without(world.roster, people.bob))
    publish(world, second, people.of_bob, people.bob)
    host = world.another_host()
    assert host.examine(world.backend, world.url, people.alice) == second
    assert [text.split(":")[0] for text in host.damage] == ["roster/00000003 cannot be trusted"]


def test_first_contact_is_not_stopped_by_what_anybody_could_put_there(world: World, people: People) -> None:
    publish(world, world.roster, people.of_wendy, people.wendy)
    newer = rosters.successor(world.roster, 3, world.roster.members, 0)
    newer = msgspec.structs.replace(newer, features=Features(["later"]))
    world.backend.create("roster/00000003", rosters.sign(newer, people.of_wendy, people.wendy))
    world.backend.create("roster/00000004", b"rubbish")
    host = world.another_host()
    assert host.examine(world.backend, world.url, people.alice) == world.roster
    assert len(host.damage) == 3
    with pytest.raises(NewerFormatError, match="roster/00000003 needs format 1, 'later'"):
        host.examine(world.backend, world.url, people.mallory)


def test_first_contact_does_not_take_the_word_of_a_removed_admin_or_a_writer(
    world: World, people: People
) -> None:
    second = publish(world, world.roster, people.of_alice, people.alice, without(world.roster, people.bob))
    publish(world, second, people.of_bob, people.bob)
    for stranger in (people.bob, people.wendy, people.mallory):
        with pytest.raises(TrustError, match="no roster here is signed by the admin"):
            world.another_host().examine(world.backend, world.url, stranger)


def test_an_admin_who_leaves_by_his_own_signature_still_vouches_for_that_roster(
    world: World, people: People
) -> None:
    second = publish(world, world.roster, people.of_bob, people.bob, without(world.roster, people.bob))
    assert world.another_host().examine(world.backend, world.url, people.bob) == second


def test_a_provider_cannot_use_an_admins_name_in_a_roster_of_his_own(
    tmp_path: Path, world: World, people: People
) -> None:
    """Mallory makes a repository that lists alice, first with her real key, then with his own under her name."""
    alices, mallorys = (people.of_mallory.export(key) for key in (people.alice, people.mallory))
    victim = Member("", "admin", 1, b"a" * 32, "x", b"s" * 32, alices, 1)
    victim = msgspec.structs.replace(victim, fingerprint=people.alice)
    mallory = Member(people.mallory, "admin", 1, b"m" * 32, "x", b"t" * 32, mallorys, 1)
    impostor = msgspec.structs.replace(victim, public_key=mallorys)
    for number, listed in enumerate(([mallory, victim], [impostor], [mallory, impostor])):
        payload = Payload(
            repository=b"m" * 16,
            serial=1,
            previous=b"",
            time=0,
            chunker=ChunkerSettings(),
            epochs=[Epoch(1, 1, bytes(1216))],
            members=listed,
        )
        backend = LocalBackend(tmp_path / str(number))
        backend.create(layout.roster_file(1), rosters.sign(payload, people.of_mallory, people.mallory))
        with pytest.raises(TrustError, match="no roster here is signed"):
            world.another_host().examine(backend, "somewhere", people.alice)


def test_a_short_key_id_is_not_enough_to_trust(world: World, people: People) -> None:
    with pytest.raises(KeyAccessError, match="full GPG fingerprint"):
        world.another_host().examine(world.backend, world.url, people.alice[-16:])


def test_a_clock_that_is_behind_hides_neither_a_repository_nor_a_removal(
    world: World, people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    behind = gpg_with(tmp_path / "bin", "--faked-system-time 20100101T000000")
    monkeypatch.setenv("PATH", str(behind), prepend=":")
    host = world.another_host()
    host.accept(world.url, host.examine(world.backend, world.url, people.alice))
    monkeypatch.undo()
    second = world.remove(world.roster, people.of_alice, people.wendy)
    monkeypatch.setenv("PATH", str(behind), prepend=":")
    assert host.believe(world.backend, world.url) == second
    assert host.damage == []


# --- afterwards ------------------------------------------------------------------------------------------------


def test_a_roster_by_a_stranger_a_writer_or_a_removed_admin_is_passed_over(
    world: World, people: People
) -> None:
    second = publish(world, world.roster, people.of_alice, people.alice, without(world.roster, people.bob))
    publish(world, second, people.of_mallory, people.mallory)
    publish(world, second, people.of_wendy, people.wendy, altering(second, people.wendy, role="admin"))
    publish(world, second, people.of_bob, people.bob)
    world.backend.create("roster/00000006", b"rubbish")
    assert world.trust.believe(world.backend, world.url) == second
    assert world.trust.believe(world.backend, world.url) == second
    assert pin_of(world)["serial"] == 2
    assert [text[:15] for text in world.trust.damage] == [f"roster/0000000{n}" for n in (3, 4, 5, 6)]
    last = publish(world, second, people.of_alice, people.alice)
    assert world.trust.believe(world.backend, world.url) == last


def test_a_removed_admin_cannot_go_on_from_the_roster_where_he_was_one(world: World, people: People) -> None:
    """Bob was removed in roster 2, and puts a roster 3 there that names roster 1."""
    second = publish(world, world.roster, people.of_alice, people.alice, without(world.roster, people.bob))
    publish(world, world.roster, people.of_bob, people.bob, without(world.roster, people.alice))
    assert world.trust.believe(world.backend, world.url) == second


def test_a_withheld_newest_roster_is_noticed(world: World, people: People) -> None:
    publish(world, world.roster, people.of_alice, people.alice, without(world.roster, people.bob))
    world.trust.believe(world.backend, world.url)
    (world.folder / "roster" / "00000002").unlink()
    with pytest.raises(TrustError, match="rollback detected: roster 2 is gone, the newest now is 1"):
        world.trust.believe(world.backend, world.url)


@pytest.mark.parametrize("left", [None, ".", "roster", "data"])
def test_a_repository_that_is_gone_is_like_a_disk_that_is_not_mounted(
    world: World, people: People, left: str | None
) -> None:
    shutil.rmtree(world.folder)
    if left:
        (world.folder / left).mkdir(parents=True)
    asks: tuple[Callable[[], object], ...] = (
        lambda: world.trust.believe(world.backend, world.url),
        lambda: world.trust.examine(world.backend, world.url, people.alice),
    )
    for ask in asks:
        with pytest.raises(TrustError) as caught:
            ask()
        assert (
            f"this host knows the repository {world.roster.repository.hex()} at {world.url}, but it is not there now"
            == caught.value.message
        )
        folder = world.trust.folder(world.roster.repository).path
        assert f"mount its disk; or, if it is gone for good, delete {folder}" == caught.value.hint


def test_another_history_from_the_pinned_serial_on_is_refused(world: World, people: People) -> None:
    publish(world, world.roster, people.of_alice, people.alice)
    world.trust.believe(world.backend, world.url)
    (world.folder / "roster" / "00000002").unlink()
    second = publish(world, world.roster, people.of_bob, people.bob, without(world.roster, people.alice))
    publish(world, second, people.of_bob, people.bob)
    with pytest.raises(TrustError, match="roster 2 is not the one that this host trusted before"):
        world.trust.believe(world.backend, world.url)


@pytest.mark.parametrize("data", [b"", b"rubbish", bytes(layout.MAX_ROSTER + 1)])
def test_a_pinned_roster_that_was_altered_is_refused(world: World, data: bytes) -> None:
    (world.folder / "roster" / "00000001").write_bytes(data)
    with pytest.raises(TrustError, match="roster 1 is not the one"):
        world.trust.believe(world.backend, world.url)


def test_a_newer_format_is_believed_only_from_an_admin(world: World, people: People) -> None:
    for serial, user, key in ((2, people.of_wendy, people.wendy), (3, people.of_alice, people.alice)):
        newer = rosters.successor(world.roster, serial, world.roster.members, 0)
        newer = msgspec.structs.replace(newer, features=Features(["later"]))
        world.backend.create(layout.roster_file(serial), rosters.sign(newer, user, key))
        if key == people.wendy:
            assert world.trust.believe(world.backend, world.url) == world.roster
    with pytest.raises(NewerFormatError, match="roster/00000003 needs format 1, 'later'"):
        world.trust.believe(world.backend, world.url)


def test_a_swapped_repository_is_refused_until_a_human_accepts_it(
    world: World, people: People, tmp_path: Path
) -> None:
    other = members.init(
        LocalBackend(tmp_path / "other"),
        str(tmp_path / "other"),
        people.of_alice,
        world.another_host(),
        [],
        [people.alice],
    )
    shutil.rmtree(world.folder)
    shutil.copytree(tmp_path / "other", world.folder)
    with pytest.raises(TrustError, match="was replaced") as caught:
        world.trust.believe(world.backend, world.url)
    assert world.roster.repository.hex() in str(caught.value)
    assert other.repository.hex() in str(caught.value)
    assert "dedup trust accept" in caught.value.hint
    world.trust.accept(world.url, world.trust.examine(world.backend, world.url, people.alice))
    assert world.trust.believe(world.backend, world.url) == other
    assert pin_of(world)["urls"] == []


def test_a_swapped_repository_with_fewer_rosters_is_called_swapped(
    world: World, people: People, tmp_path: Path
) -> None:
    publish(world, world.roster, people.of_alice, people.alice)
    world.trust.believe(world.backend, world.url)
    elsewhere = tmp_path / "other"
    members.init(
        LocalBackend(elsewhere), str(elsewhere), people.of_alice, world.another_host(), [], [people.alice]
    )
    with pytest.raises(TrustError, match="was replaced"):
        world.trust.believe(LocalBackend(elsewhere), world.url)


@pytest.mark.parametrize("text", ["", "{}", "[", '{"repository": "x"}', "\udcff"])
def test_a_spoilt_trust_file_stops_everything(world: World, text: str) -> None:
    path = world.trust.folder(world.roster.repository).path / "trust.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StateError, match="not well-formed"):
        world.trust.believe(world.backend, world.url)


def test_a_trust_file_in_another_repositorys_folder_is_refused(world: World) -> None:
    path = world.trust.folder(world.roster.repository).path / "trust.json"
    shutil.copy(path, world.trust.folder(b"q" * 16).path)
    with pytest.raises(StateError, match="it is about"):
        world.trust.believe(world.backend, world.url)
