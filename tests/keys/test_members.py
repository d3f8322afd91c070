"""Making a repository, opening it, letting people in and out."""

import shutil
from pathlib import Path
from threading import Barrier, Thread

import pytest

from dedupstore.access import Access, Signer
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import DamageError, DedupError, KeyAccessError, TrustError
from dedupstore.format import crypto, layout
from dedupstore.state.folder import StateFolder
from keys import chain, members, slots
from keys import roster as rosters
from keys.gpg import Gpg
from keys.roster import Roster
from keys.trust import Trust
from tests.gpg_home import GpgHome
from tests.keys.conftest import People, World

LAST = b"n" * 32  # the name of a snapshot


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def try_init(
    people: People, folder: Path, writers: list[str], admins: list[str], gpg: Gpg | None = None
) -> Roster:
    trust = Trust(StateFolder(folder.with_name("state")))
    return members.init(LocalBackend(folder), str(folder), gpg or people.of_alice, trust, writers, admins)


# --- init ------------------------------------------------------------------------------------------------------


def test_a_new_repository_has_one_slot_for_each_and_one_roster(world: World, people: People) -> None:
    expected = [layout.content_file(layout.Kind.SLOT, member.slot) for member in world.roster.members]
    assert files(world.folder) == sorted([*expected, "place/id", "roster/00000001"])
    assert [(member.fingerprint, member.role) for member in world.roster.members] == [
        (people.alice, "admin"),
        (people.bob, "admin"),
        (people.wendy, "writer"),
    ]
    assert all(member.domain == member.fingerprint for member in world.roster.members)


def test_a_new_repository_is_pinned(people: People, tmp_path: Path, trust: Trust) -> None:
    backend, url = LocalBackend(tmp_path / "new"), str(tmp_path / "new")
    made = members.init(backend, url, people.of_alice, trust, [], ["alice@example.org"])
    assert trust.believe(backend, url) == made


def test_refuses_where_there_is_a_repository_already(world: World, people: People) -> None:
    before = files(world.folder)
    with pytest.raises(DedupError, match="there is a repository here already"):
        members.init(world.backend, world.url, people.of_alice, world.trust, [], [people.alice])
    assert files(world.folder) == before


def test_refuses_where_the_disk_of_a_known_repository_is_not_mounted(world: World, people: People) -> None:
    shutil.rmtree(world.folder)
    with pytest.raises(TrustError, match="is not there now") as caught:
        members.init(world.backend, world.url, people.of_alice, world.trust, [], [people.alice])
    assert world.roster.repository.hex() in caught.value.message
    assert files(world.folder) == []


def test_refuses_keys_that_make_no_sense_together(people: People, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    wrong = [
        ([people.wendy], [], "needs an admin"),
        ([people.wendy, "wendy@example.org"], [people.alice], f"{people.wendy} is given twice"),
        ([people.wendy], [people.alice, people.alice[-16:]], f"{people.alice} is given twice"),
        ([people.alice, people.wendy], [people.alice], f"{people.alice} is given as admin and as writer"),
    ]
    for writers, admins, message in wrong:
        with pytest.raises(DedupError, match=message):
            try_init(people, folder, writers, admins)
    assert files(folder) == []


def test_refuses_keys_that_cannot_be_used(people: People, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with GpgHome() as home:
        signer, admin = home.make_key("signer", algorithm="ed25519"), home.make_key("admin")
        with pytest.raises(KeyAccessError, match=f"{signer} cannot encrypt"):
            try_init(people, folder, [signer], [admin], home.gpg)
        with pytest.raises(KeyAccessError, match="no GPG key here"):
            try_init(people, folder, [people.wendy], [admin], home.gpg)
    with pytest.raises(KeyAccessError, match="an admin's secret key is needed") as caught:
        try_init(people, folder, [people.wendy], [people.alice, people.bob], people.of_wendy)
    assert people.bob in caught.value.message
    assert files(folder) == []


def test_a_cancelled_signature_leaves_no_repository(people: People, tmp_path: Path) -> None:
    with GpgHome() as home:
        admin = home.make_key("admin", passphrase="open sesame")
        home.cancel_passphrase()
        with pytest.raises(KeyAccessError, match=f"could not sign with the key {admin}: cancelled"):
            try_init(people, tmp_path / "new", [], [admin], home.gpg)
    assert chain.listing(LocalBackend(tmp_path / "new")) == {}


def test_of_two_inits_at_once_exactly_one_wins(people: People, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    barrier = Barrier(2)
    won: list[Roster] = []
    lost: list[DedupError] = []

    class Late(LocalBackend):
        """Waits, before the roster is stored, until the other one wants to store its own."""

        def create(self, name: str, data: bytes | bytearray | memoryview) -> None:
            if name == "roster/00000001":
                barrier.wait(60)
            super().create(name, data)

    def run(name: str, gpg: Gpg, key: str) -> None:
        trust = Trust(StateFolder(tmp_path / name))
        try:
            won.append(members.init(Late(folder), str(folder), gpg, trust, [people.wendy], [key]))
        except DedupError as error:
            lost.append(error)

    threads = [
        Thread(target=run, args=("first", people.of_alice, people.alice)),
        Thread(target=run, args=("second", people.of_bob, people.bob)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.message for error in lost] == [f"there is a repository here already: {folder}"]
    backend = LocalBackend(folder)
    assert [chain.fetch(backend, 1, chain.listing(backend)[1]).decode()] == won


@pytest.mark.parametrize(
    "settings",
    [
        *("export-options export-pka", "export-filter keep-uid=mbox=nobody"),
        "default-key MALLORY\nencrypt-to-default-key\nlocal-user MALLORY",
    ],
)
def test_a_repository_does_not_depend_on_the_gpg_conf_of_its_admin(
    people: People, tmp_path: Path, settings: str
) -> None:
    with people.everyone.subset(people.alice, people.mallory) as home:
        (home.path / "gpg.conf").write_text(settings.replace("MALLORY", people.mallory))
        first = try_init(people, tmp_path / "new", [], [people.alice], home.gpg)
        backend, url = LocalBackend(tmp_path / "new"), str(tmp_path / "new")
        trust = Trust(StateFolder(tmp_path / "state"))
        second = members.add(backend, url, first, home.gpg, trust, people.bob, "admin")
    assert members.unlock(backend, second, people.of_bob, reading=True).domain == people.bob
    third = members.add(backend, url, second, people.of_bob, trust, people.wendy, "writer")
    other = Trust(StateFolder(tmp_path / "other"))
    assert other.examine(backend, url, people.bob) == third
    with pytest.raises(KeyAccessError, match="none of your GPG keys"):
        members.unlock(backend, third, people.of_mallory, reading=True)


def test_an_admins_key_must_be_able_to_sign(world: World, people: People, tmp_path: Path) -> None:
    with GpgHome() as home:
        home.run("--import", data=people.everyone.run("--export-secret-keys", people.alice))
        mute = home.make_key("mute", algorithm="ed25519", usage="cert")
        home.run("--passphrase", "", "--quick-add-key", mute, "cv25519", "encr", "0")
        with pytest.raises(KeyAccessError, match=f"{mute} cannot encrypt and sign"):
            world.add(world.roster, home.gpg, mute, "admin")
        with pytest.raises(KeyAccessError, match=f"{mute} cannot encrypt and sign"):
            try_init(people, tmp_path / "new", [], [people.alice, mute], home.gpg)
        assert world.add(world.roster, home.gpg, mute, "writer").members[-1].fingerprint == mute


# --- unlock ----------------------------------------------------------------------------------------------------


def test_an_admin_gets_everything(world: World, people: People) -> None:
    access = members.unlock(world.backend, world.roster, people.of_alice, reading=True)
    alice, bob, wendy = world.roster.members
    assert isinstance(access, Access)
    assert (access.repository, access.epoch, access.domain) == (world.roster.repository, 1, people.alice)
    assert access.signers == {
        crypto.signer_of(key): Signer(name, role, name, key)
        for key, name, role in (
            (alice.signing_key, people.alice, "admin"),
            (bob.signing_key, people.bob, "admin"),
            (wendy.signing_key, people.wendy, "writer"),
        )
    }
    assert access.content_sizes == (4096, 16384, 65536)
    assert access.raw_sizes == (2048, 8192, 32768)
    assert access.skeleton_sizes == (2048, 8192, 32768)
    assert access.layout_sizes == (256, 1024, 4096)
    assert slots.sealing_public(access.sealing_private[1]) == access.sealing_public


def test_a_writer_can_write_but_not_open_what_is_sealed(world: World, people: People) -> None:
    for reading in (False, True):
        access = members.unlock(world.backend, world.roster, people.of_wendy, reading=reading)
        assert access.domain == people.wendy
        assert access.sealing_private == {}
        assert len(access.catalogue_keys[1]) == 32


def test_who_has_two_keys_reads_as_admin_and_writes_as_writer(world: World, people: People) -> None:
    for reading, domain in ((True, people.alice), (False, people.wendy)):
        assert (
            members.unlock(world.backend, world.roster, people.everyone.gpg, reading=reading).domain == domain
        )


def test_a_stranger_is_told_whose_keys_open_it(world: World, people: People) -> None:
    with pytest.raises(KeyAccessError, match="none of your GPG keys opens this repository") as caught:
        members.unlock(world.backend, world.roster, people.of_mallory, reading=True)
    assert f"{people.alice} (admin)" in caught.value.message
    assert f"{people.wendy} (writer)" in caught.value.message
    assert caught.value.hint == "ask an admin to run: dedup key add YOURKEY"


def test_who_was_removed_is_told_so(world: World, people: People) -> None:
    roster = world.remove(world.roster, people.of_alice, people.wendy)
    with pytest.raises(KeyAccessError) as caught:
        members.unlock(world.backend, roster, people.of_wendy, reading=False)
    assert (
        f"none of your GPG keys opens this repository: {people.wendy} (writer) was removed in roster 2"
        == caught.value.message
    )
    back = world.add(roster, people.of_alice, people.wendy, "writer")
    access = members.unlock(world.backend, back, people.of_wendy, reading=False)
    assert access.domain == f"{people.wendy}-2"


def test_a_swapped_slot_is_refused(world: World, people: People) -> None:
    """The storage gives alice bob's slot file under the name of hers."""
    alice, bob, _ = (world.folder / "slots" / member.slot.hex() for member in world.roster.members)
    shutil.copy(bob, alice)
    with pytest.raises(DamageError, match="was altered"):
        members.unlock(world.backend, world.roster, people.of_alice, reading=True)


def test_a_key_with_a_passphrase_unlocks_through_the_agent(
    people: People, tmp_path: Path, trust: Trust
) -> None:
    with GpgHome() as home:
        key = home.make_key("admin", passphrase="open sesame")
        home.answer_passphrase("open sesame")
        backend = LocalBackend(tmp_path / "new")
        roster = members.init(backend, str(tmp_path / "new"), home.gpg, trust, [], [key])
        assert members.unlock(backend, roster, home.gpg, reading=True).domain == key
        home.cancel_passphrase()
        with pytest.raises(KeyAccessError, match=f"{key} is needed to open this repository: .*: cancelled"):
            members.unlock(backend, roster, home.gpg, reading=True)


# --- add and remove --------------------------------------------------------------------------------------------


def test_a_new_writer_can_open_it_and_share_a_domain(world: World, people: People) -> None:
    roster = world.add(world.roster, people.of_bob, "mallory", "writer", people.wendy)
    access = members.unlock(world.backend, roster, people.of_mallory, reading=False)
    old = members.unlock(world.backend, roster, people.of_wendy, reading=False)
    assert access.domain == people.wendy
    assert (access.id_key, access.catalogue_keys) == (old.id_key, old.catalogue_keys)
    assert access.sealing_private == {}
    assert access.signers[crypto.signer_of(roster.members[-1].signing_key)].name == people.mallory


def test_a_new_reader_holds_what_opens_contents_and_a_pruner_does_not(world: World, people: People) -> None:
    roster = world.add(world.roster, people.of_bob, "mallory", "reader")
    reader = members.unlock(world.backend, roster, people.of_mallory, reading=True)
    assert slots.sealing_public(reader.sealing_private[1]) == reader.sealing_public
    pruner = world.add(
        world.remove(roster, people.of_bob, people.mallory), people.of_bob, "mallory", "pruner"
    )
    assert {} == members.unlock(world.backend, pruner, people.of_mallory, reading=True).sealing_private


def test_a_new_admin_can_read_and_sign_and_every_host_follows(world: World, people: People) -> None:
    second = world.add(world.roster, people.of_alice, people.mallory, "admin")
    access = members.unlock(world.backend, second, people.of_mallory, reading=True)
    assert access.sealing_private.keys() == {1}
    host = world.another_host()
    third = members.remove(world.backend, world.url, second, people.of_mallory, host, people.alice, b"")
    assert world.trust.believe(world.backend, world.url) == third


def test_a_new_pruner_gets_no_sealing_keys(world: World, people: People) -> None:
    roster = world.add(world.roster, people.of_alice, people.mallory, "pruner")
    access = members.unlock(world.backend, roster, people.of_mallory, reading=False)
    assert access.sealing_private == {}


def test_the_pin_moves_with_each_change_so_that_no_gpg_is_needed(
    world: World, people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    second = world.add(world.roster, people.of_alice, people.mallory, "writer")
    third = world.remove(second, people.of_alice, people.mallory, LAST)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert world.trust.believe(world.backend, world.url) == third


def test_refuses_to_add_a_member_or_to_be_asked_by_a_writer(world: World, people: People) -> None:
    with pytest.raises(DedupError, match=f"{people.wendy} is a member already"):
        world.add(world.roster, people.of_alice, "wendy", "admin")
    with pytest.raises(KeyAccessError, match="an admin's secret key is needed"):
        world.add(world.roster, people.of_wendy, "mallory", "admin")
    with pytest.raises(KeyAccessError, match="an admin's secret key is needed"):
        world.remove(world.roster, people.of_wendy, people.bob)


@pytest.mark.parametrize("domain", ["a//b", "line\nbreak", "x" * 256])
def test_refuses_a_domain_that_is_no_plain_name(world: World, people: People, domain: str) -> None:
    before = files(world.folder)
    with pytest.raises(DedupError, match="the name"):
        world.add(world.roster, people.of_alice, people.mallory, "writer", domain)
    assert files(world.folder) == before


def test_a_removed_writer_is_locked_out_and_its_closing_list_is_on_record(
    world: World, people: People
) -> None:
    roster = world.remove(world.roster, people.of_bob, "wendy", LAST)
    gone = roster.members[2]
    assert (gone.fingerprint, gone.removed, gone.closing) == (people.wendy, 2, LAST)
    signer = rosters.membership(roster).signers[crypto.signer_of(gone.signing_key)]
    assert signer == Signer(people.wendy, "writer", people.wendy, gone.signing_key, LAST)
    with pytest.raises(KeyAccessError, match="none of your GPG keys"):
        members.unlock(world.backend, roster, people.of_wendy, reading=False)


def test_who_comes_back_gets_a_new_signing_key_beside_the_old_one(world: World, people: People) -> None:
    second = world.remove(world.roster, people.of_alice, people.wendy, LAST)
    third = world.add(second, people.of_alice, people.wendy, "writer")
    old, new = (member for member in third.members if member.fingerprint == people.wendy)
    assert old.signing_key != new.signing_key
    signers = members.unlock(world.backend, third, people.of_wendy, reading=False).signers
    assert [LAST, None] == [signers[crypto.signer_of(one.signing_key)].closing for one in (old, new)]
    assert members.find(third, people.of_alice, people.wendy) == new


def test_who_comes_back_gets_a_domain_that_was_never_used(world: World, people: People) -> None:
    def back(roster: Roster, domain: str = "") -> Roster:
        left = world.remove(roster, people.of_alice, people.wendy)
        return world.add(left, people.of_alice, people.wendy, "writer", domain)

    second = back(world.roster)
    third = back(second)
    assert [m.domain for m in third.members[2:]] == [people.wendy, f"{people.wendy}-2", f"{people.wendy}-3"]
    access = members.unlock(world.backend, third, people.of_wendy, reading=False)
    assert access.domain == f"{people.wendy}-3"
    assert back(third, people.wendy).members[-1].domain == people.wendy  # if an admin says so


def test_a_newcomer_does_not_get_the_domain_that_another_uses_under_its_name(
    world: World, people: People
) -> None:
    left = world.remove(world.roster, people.of_alice, people.wendy)
    second = world.add(left, people.of_alice, people.wendy, "writer", people.mallory)
    third = world.add(second, people.of_alice, people.mallory, "writer")
    assert [m.domain for m in third.members[-2:]] == [people.mallory, f"{people.mallory}-2"]


def test_refuses_to_remove_the_last_admin_a_stranger_or_someone_twice(world: World, people: People) -> None:
    def remove(roster: Roster, spec: str) -> Roster:
        return world.remove(roster, people.of_alice, spec)

    second = remove(world.roster, people.bob)
    with pytest.raises(DedupError, match=f"{people.alice} is the last admin"):
        remove(second, people.alice)
    with pytest.raises(DedupError, match="is not a member"):
        remove(second, "mallory")
    with pytest.raises(DedupError, match=f"{people.bob} was removed already, in roster 2"):
        remove(second, people.bob)
    assert max(chain.listing(world.backend)) == 2


def test_a_member_is_found_without_its_public_key_in_the_local_keyring(people: People, world: World) -> None:
    """Bob's host knows only its own key: signatures are verified with the keys in the roster."""
    with GpgHome() as home:
        home.run("--import", data=people.everyone.run("--export-secret-keys", people.bob))
        assert members.find(world.roster, home.gpg, people.wendy.lower()[-16:]).fingerprint == people.wendy
        second = world.remove(world.roster, home.gpg, people.alice)
    host = world.another_host()
    assert host.examine(world.backend, world.url, people.alice) == second


def test_of_two_admins_changes_at_once_one_is_asked_to_try_again(world: World, people: People) -> None:
    second = world.remove(world.roster, people.of_alice, people.wendy)
    with pytest.raises(DedupError, match="another admin changed the roster meanwhile; try again"):
        world.remove(world.roster, people.of_bob, people.wendy)
    assert world.trust.believe(world.backend, world.url) == second


def test_a_foreign_file_in_the_roster_folder_stops_no_admin(world: World, people: People) -> None:
    world.backend.create("roster/00000002", b"put here by a writer")
    third = world.remove(world.roster, people.of_alice, people.wendy, LAST)
    assert (third.serial, third.members[2].removed) == (3, 3)
    assert world.trust.believe(world.backend, world.url) == third


def test_what_the_store_learns_before_anything_is_unlocked(world: World, people: People) -> None:
    known = rosters.membership(world.roster)
    assert (known.repository, known.serial) == (world.roster.repository, 1)
    assert known.digest == layout.sha256((world.folder / "roster" / "00000001").read_bytes())
    assert {signer.name for signer in known.signers.values()} == {people.alice, people.bob, people.wendy}


def test_a_roster_that_others_could_not_verify_is_not_published(
    people: People, tmp_path: Path, trust: Trust
) -> None:
    """The admin's key got a new signing subkey after the roster was made."""
    with GpgHome() as home:
        admin, other = home.make_key("admin"), home.make_key("other")
        backend, url = LocalBackend(tmp_path / "new"), str(tmp_path / "new")
        roster = members.init(backend, url, home.gpg, trust, [], [admin])
        home.run("--passphrase", "", "--quick-add-key", admin, "ed25519", "sign", "0")
        with pytest.raises(KeyAccessError, match="others could not verify"):
            members.add(backend, url, roster, home.gpg, trust, other, "writer")
        assert trust.believe(backend, url) == roster
