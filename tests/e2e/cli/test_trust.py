"""`dedup init`, `trust` and `key`, as they are typed."""

import json
import os
import shutil

import pytest

from tests.e2e.cli.conftest import World
from tests.gpg_home import GpgHome


def test_init_says_what_it_made_and_what_comes_next(
    people: tuple[dict[str, str], dict[str, GpgHome]], tmp_path: object, made: World
) -> None:
    keys, homes = people
    world = World(made.folder.parent / "fresh", made.folder.parent / "fresh" / "the repository", keys, homes)
    world.folder.mkdir()
    said = world.alice.dedup(f"init --writer {keys['wendy']} --admin {keys['alice']}")
    assert 0 == said.status
    repository = next(path.name for path in world.alice.state.iterdir())
    out = said.out.decode()
    assert out.startswith(f"made repository {repository} at {world.repository}\n")
    assert f"admin   roster 1  member  {keys['alice']}  its own\n" in out
    assert f"writer  roster 1  member  {keys['wendy']}  its own\n" in out
    assert f"    dedup -r '{world.repository}' trust accept --admin {keys['alice']}\n" in said.err
    assert "warning: there is one admin only" in said.err


def test_init_refuses_where_there_is_a_repository(world: World) -> None:
    said = world.host("alice", "new").fails("init --admin alice@example.org")
    assert f"dedup: there is a repository here already: {world.repository}" in said


def test_init_refuses_a_key_that_gpg_does_not_know(world: World) -> None:
    said = world.alice.fails(f"-r {world.folder}/new init --admin nobody@example.org")
    assert (
        "dedup: no GPG key here answers to 'nobody@example.org'; import its public key: gpg --import FILE"
        == said
    )


def test_init_refuses_without_an_admins_secret_key(world: World) -> None:
    said = world.wendy.fails(f"-r {world.folder}/new init --admin alice@example.org")
    assert "an admin's secret key is needed to sign, and none is here" in said


@pytest.mark.parametrize(
    "line", ["list", "put x", "get latest x", "check", "key list", "key add bob@example.org"]
)
def test_everything_refuses_a_repository_that_this_host_never_met(world: World, line: str) -> None:
    said = world.host("wendy", "new").fails(line, b"data")
    assert "dedup: unknown repository: " in said
    assert said.endswith("run: dedup trust accept --admin FINGERPRINT")


def test_accept_shows_what_it_pins(world: World) -> None:
    host = world.host("wendy", "new")
    said = host.dedup(f"trust accept --yes --admin {world.keys['bob']}")
    assert 1 == said.status
    assert "no roster here is signed by the admin" in said.err
    said = host.dedup(f"trust accept --yes --admin {world.keys['alice']}")
    assert 0 == said.status
    (repository,) = (path.name for path in world.alice.state.iterdir() if path.is_dir())
    assert (
        f"this host now trusts repository {repository} at {world.repository}, roster 1\n" == said.out.decode()
    )
    assert f"repository   {repository}\nat           {world.repository}\nsealing key  " in said.err
    for name in ("alice", "bob", "wendy"):
        assert world.keys[name] in said.err
    host.does("put x", b"data")


def test_accept_without_a_human_or_yes_refuses_and_pins_nothing(world: World) -> None:
    host = world.host("wendy", "new")
    said = host.dedup(f"trust accept --admin {world.keys['alice']}")
    assert 1 == said.status
    assert (
        f"dedup: cannot ask whether {world.repository} is right: there is no terminal; check the values above, then "
        "add --yes" in said.err
    )
    assert "unknown repository" in host.fails("list")


@pytest.mark.parametrize(
    ("typed", "status"), [(b"y\n", 0), (b"YES\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)]
)
def test_accept_asks_on_a_terminal(world: World, typed: bytes, status: int) -> None:
    host = world.host("wendy", "new")
    said = host.on_terminal(f"trust accept --admin {world.keys['alice']}", "stdin", typed)
    assert "Is that right? [y/N] " in said.err
    assert status == said.status
    assert status == host.dedup("list").status


@pytest.mark.parametrize("digits", [8, 16, 39])
def test_accept_wants_a_full_fingerprint(world: World, digits: int) -> None:
    part = world.keys["alice"][-digits:]
    said = world.host("wendy", "new").fails(f"trust accept --yes --admin {part}")
    assert f"dedup: '{part}' is not a full GPG fingerprint; give all 40 (or 64) digits" == said


def test_accept_takes_a_fingerprint_as_gpg_prints_it(world: World) -> None:
    key = world.keys["alice"]
    spaced = " ".join(key[at : at + 4] for at in range(0, 40, 4)).lower()
    world.host("wendy", "new").does(["trust", "accept", "--yes", "--admin", spaced])


def test_a_repository_that_was_replaced_is_refused_until_accepted(world: World) -> None:
    world.wendy.does("put x", b"data")
    shutil.rmtree(world.repository)
    world.host("alice", "new").does("init --writer wendy@example.org --admin alice@example.org")
    assert "was replaced: this host knows" in world.wendy.fails("put x", b"data")
    said = world.wendy.dedup(f"trust accept --yes --admin {world.keys['alice']}")
    assert 0 == said.status
    assert "dedup: warning: this host knows another repository here, " in said.err
    world.wendy.does("put x", b"data")


def test_a_roster_that_went_back_is_refused(world: World) -> None:
    world.alice.does("key add mallory@example.org")
    (world.repository / "roster" / "00000002").unlink()
    said = world.alice.fails("list")
    assert "dedup: refused the repository " in said
    assert "roster 2 is gone, the newest now is 1; ask the admins" in said


def test_a_new_writer_can_put_and_a_removed_one_cannot(world: World) -> None:
    said = world.alice.dedup("key add mallory@example.org --role writer --domain shared")
    assert 0 == said.status
    assert f"{world.keys['mallory']} is writer now (roster 2)\n" == said.out.decode()
    assert f"trust accept --admin {world.keys['alice']}" in said.err
    host = world.host("mallory")
    host.does(f"trust accept --yes --admin {world.keys['alice']}")
    host.does("put theirs", b"data of mallory")
    assert b"data of mallory" == world.alice.does("get latest theirs")

    said = world.alice.dedup("key remove mallory@example.org")
    assert 0 == said.status
    assert f"removed writer mallory@example.org ({world.keys['mallory']}) (roster 3)\n" == said.out.decode()
    assert "What this does not undo" in said.err
    assert "revoke its SSH access" in said.err
    assert "none of your GPG keys opens this repository" in host.fails("put theirs", b"more")
    assert b"data of mallory" == world.bob.does("get latest theirs")


def test_a_key_that_comes_back_is_given_a_new_domain_and_the_admin_is_told(world: World) -> None:
    key = world.keys["mallory"]
    assert "domain" not in world.alice.dedup("key add mallory@example.org").err
    host = world.host("mallory")
    host.does(f"trust accept --yes --admin {world.keys['alice']}")
    host.does("put before", b"first time")
    world.alice.does(f"key remove {key}")
    said = world.alice.dedup("key add mallory@example.org")
    assert (
        f"Its domain is {key}-2, a new one: its backups share nothing with what was stored in\n{key} before"
        in (said.err)
    )
    host.does("put after", b"second time")
    assert b"first time" == world.alice.does("get latest before")
    assert b"second time" == world.alice.does("get latest after")
    domains = [member["domain"] for member in json.loads(world.bob.does("key list --json"))["members"]]
    assert [key, f"{key}-2"] == domains[-2:]


def test_key_list_shows_those_who_were_too(world: World) -> None:
    world.alice.does("key add mallory@example.org --domain shared")
    world.alice.does(f"key remove {world.keys['mallory']}")
    table = world.bob.does("key list").decode().splitlines()
    heads = ["ROLE", "SINCE", "STATE", "FINGERPRINT", "DOMAIN", "USER", "ID"]
    assert heads == table[0].split()
    mallory = f"writer  roster 2  removed in roster 3  {world.keys['mallory']}  shared   mallory@example.org"
    assert mallory == table[-1]
    assert (
        f"admin   roster 1  member               {world.keys['alice']}  its own  alice@example.org"
        == table[1]
    )
    answer = json.loads(world.bob.does("key list --json"))
    assert 3 == answer["roster"]
    assert {
        "fingerprint": world.keys["mallory"],
        "user_id": "mallory@example.org",
        "role": "writer",
        "domain": "shared",
        "added": 2,
        "removed": 3,
    } == answer["members"][-1]
    assert [None] * 3 == [member["removed"] for member in answer["members"][:-1]]


def test_members_are_shown_where_gpg_does_not_know_them(world: World) -> None:
    with GpgHome() as empty:
        world.bob.environ["GNUPGHOME"] = str(empty.path)
        table = world.bob.does("key list").decode().splitlines()
        assert ["ROLE", "SINCE", "STATE", "FINGERPRINT", "DOMAIN"] == table[0].split()
        answer = json.loads(world.bob.does("key list --json"))
        assert [None] * 3 == [member["user_id"] for member in answer["members"]]
        world.bob.environ["PATH"] = "/nowhere"
        assert table == world.bob.does("key list").decode().splitlines()


def test_to_remove_oneself_takes_a_yes(world: World) -> None:
    key = world.keys["alice"]
    own = f"alice@example.org ({key}) is a key of your own: you could not use the repository with it any more"
    assert f"dedup: {own}; if that is meant, add --yes" == world.alice.fails(f"key remove {key}")
    said = world.alice.on_terminal(f"key remove {key}", "stdin", b"n\n")
    assert (1, f"{own}. Remove it? [y/N] dedup: alice@example.org ({key}) was not removed\n") == (
        said.status,
        said.err,
    )
    assert b"removed" not in world.bob.does("key list")
    said = world.alice.dedup(f"key remove {key} --yes")
    assert 0 == said.status
    assert f"removed admin alice@example.org ({key}) (roster 2)\n" == said.out.decode()
    assert "dedup: warning: there is one admin only; " in said.err


def test_to_remove_a_writer_warns_of_no_admin(world: World) -> None:
    said = world.alice.dedup("key remove wendy@example.org")
    assert 0 == said.status
    assert "there is one admin only" not in said.err


def test_fingerprints_are_taken_as_gpg_prints_them(world: World) -> None:
    def spaced(name: str) -> str:
        key = world.keys[name]
        return " ".join(key[at : at + 4] for at in range(0, 40, 4)).lower().replace(" ", "  ", 5)

    world.alice.does(["-r", f"{world.folder}/new", "init", "--admin", spaced("alice")])
    world.alice.does(["key", "add", spaced("mallory")])
    world.alice.does(["key", "remove", spaced("mallory")])
    for line in (["key", "add"], ["trust", "accept", "--admin"], ["init", "--admin"]):
        said = world.alice.fails([*line, *spaced("mallory").split()], status=2)
        assert said.endswith("; write a fingerprint without spaces, or in quotes")


def test_accept_warns_who_is_no_member(world: World) -> None:
    accept = f"trust accept --yes --admin {world.keys['alice']}"
    warning = (
        "dedup: warning: none of your GPG keys is a member: ask an admin to run: dedup key add YOURKEY\n"
    )
    assert warning in world.host("mallory").dedup(accept).err
    assert warning not in world.host("wendy", "new").dedup(accept).err


def test_key_refuses_what_makes_no_sense(world: World) -> None:
    assert "is a member already" in world.alice.fails("key add wendy@example.org")
    assert "an admin's secret key is needed" in world.wendy.fails("key add mallory@example.org")
    assert "is not a member of this repository" in world.alice.fails("key remove mallory@example.org")
    world.alice.does("key remove --yes bob@example.org")
    assert "is the last admin; add another admin first" in world.alice.fails("key remove alice@example.org")
    said = world.alice.fails("key add mallory@example.org --role king", status=2)
    assert "Invalid value for '--role'" in said


def test_a_stranger_opens_nothing(world: World) -> None:
    host = world.host("mallory")
    host.does(f"trust accept --yes --admin {world.keys['alice']}")
    for line in ("put x", "check"):
        assert "dedup: none of your GPG keys opens this repository" in host.fails(line, b"data")


def test_gpg_that_is_not_there_is_an_error(world: World) -> None:
    host = world.wendy
    python = os.path.dirname(host.command("")[0])
    host.environ["PATH"] = python if not os.path.exists(f"{python}/gpg") else "/nowhere"
    said = host.fails("put x", b"data")
    assert "dedup: gpg cannot be run: " in said
    assert ".;" not in said


def test_of_two_inits_at_once_one_makes_the_repository(world: World) -> None:
    place = world.folder / "new"
    names = ("alice", "bob")
    running = [world.host(n, f"{n}-new").start(f"-r {place} init --admin {world.keys[n]}") for n in names]
    ends = [process.communicate() for process in running]
    assert [0, 1] == sorted(process.returncode for process in running)
    lost = [process.returncode for process in running].index(1)
    assert b"dedup: there is a repository here already" in ends[lost][1]
    for number, name in enumerate(names):
        said = world.host(name, f"{name}-new").dedup(f"-r {place} list")
        assert (1 if number == lost else 0) == said.status
