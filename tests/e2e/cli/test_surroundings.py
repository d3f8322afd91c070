"""Options, config file, state folder: what a command finds around it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import World


def test_no_repository_named_is_wrong_usage(world: World) -> None:
    del world.wendy.environ["DEDUP_REPOSITORY"]
    assert (
        "dedup: no repository is named; use -r URL, DEDUP_REPOSITORY or the config file; see: dedup list --help"
        == world.wendy.fails("list", status=2)
    )


def test_the_config_file_names_repository_keys_and_state(world: World) -> None:
    host = world.wendy
    config = host.folder / "dedup.toml"
    config.write_text(
        f'repository = "{world.repository}"\ngpg_home = "{host.home.path}"\nstate_dir = "{host.state}"\n'
    )
    for name in ("DEDUP_REPOSITORY", "GNUPGHOME", "DEDUP_STATE_DIR"):
        del host.environ[name]
    host.does(f"--config {config} put x", b"data")
    host.environ["DEDUP_CONFIG"] = str(config)
    assert b"x\n" in host.does("list latest")


def test_a_wrong_config_file_is_an_error(world: World) -> None:
    config = world.wendy.folder / "dedup.toml"
    config.write_text('repositry = "/x"\n')
    said = world.wendy.fails(f"--config {config} list")
    assert said.startswith(f"dedup: {config}, line 1: unknown key 'repositry'; known keys: repository, ")


@pytest.mark.parametrize(
    ("line", "why"), [("frobnicate", "No such command"), ("list --frob", "No such option")]
)
def test_what_there_is_not_is_wrong_usage(world: World, line: str, why: str) -> None:
    assert why in world.wendy.fails(line, status=2)


def test_an_empty_option_never_falls_back_to_another_repository(world: World) -> None:
    assert "the repository's URL is empty" in world.wendy.fails(["-r", "", "list"])


def test_help_is_an_answer(world: World) -> None:
    for line in ("--help", "-h", "put -h", "key -h", "key add -h", "trust accept --help"):
        assert b"Usage: dedup " in world.wendy.does(line)


def test_a_state_folder_that_cannot_be_is_an_error(world: World) -> None:
    (world.folder / "file").write_text("in the way")
    world.wendy.environ["DEDUP_STATE_DIR"] = f"{world.folder}/file/state"
    said = world.wendy.fails("list")
    assert f"dedup: the state folder {world.folder}/file/state cannot be used: Not a directory; " in said


def test_a_state_folder_that_others_can_enter_is_an_error(world: World) -> None:
    world.wendy.state.chmod(0o755)
    said = world.wendy.fails("list")
    assert f"dedup: other users may enter the state folder {world.wendy.state}; run: chmod 700 " in said


def test_state_that_cannot_be_read_is_an_error(world: World) -> None:
    (folder,) = (path for path in world.wendy.state.iterdir() if path.is_dir())
    (folder / "trust.json").write_text("{")
    assert "trust.json is not well-formed" in world.wendy.fails("list")


def test_a_cache_that_was_thrown_away_is_made_again(world: World) -> None:
    world.wendy.does("put x", b"data")
    (folder,) = (path for path in world.wendy.state.iterdir() if path.is_dir())
    for path in sorted(folder.rglob("cache*/*"), reverse=True):
        path.unlink()
    assert b"x\n" in world.wendy.does("list latest")


def test_an_ordinary_error_never_shows_where_it_came_from(world: World) -> None:
    said = world.wendy.dedup("-v get latest x")
    assert 1 == said.status
    assert "Traceback" not in said.err


@pytest.mark.parametrize(("option", "shown"), [("", False), ("-v", True)])
def test_a_bug_is_called_one_and_verbose_shows_where_it_is(world: World, option: str, shown: bool) -> None:
    script = (
        "from pipelines.streams import dates\ndates.select = None\nfrom pipelines.cli import main\nimport sys\n"
        f"sys.argv = ['dedup', *{option.split()}, 'list', 'latest']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=world.wendy.environ, check=False
    )
    assert (1, "") == (done.returncode, done.stdout)
    assert (
        "dedup: TypeError: 'NoneType' object is not callable; this is a bug: run again with -v" in done.stderr
    )
    assert shown == ("Traceback (most recent call last):\n" in done.stderr)


def test_a_gpg_home_that_is_not_there_names_the_config(world: World) -> None:
    host = world.wendy
    config = host.folder / "dedup.toml"
    config.write_text(f'gpg_home = "{world.folder}/gone"\n')
    del host.environ["GNUPGHOME"]
    assert (
        f"dedup: there is no folder {world.folder}/gone, which is gpg_home in {config}; "
        "correct it, or take it out for gpg's own choice" == host.fails(f"--config {config} put x", b"data")
    )


def test_a_password_in_a_url_is_never_shown(world: World) -> None:
    for line in ("-v -r sftp://user:geheim@host/x list", "-r sftp://user:geheim@host/x init --admin alice@x"):
        said = world.wendy.dedup(line)
        assert 1 == said.status
        assert "the repository's URL holds a password" in said.err
        assert "geheim" not in said.err


def test_verbose_says_what_is_used(world: World) -> None:
    said = world.wendy.dedup("-v list")
    assert f"repository {world.repository}, state in {world.wendy.state}\n" in said.err


def test_a_repository_is_known_by_every_path_to_it(world: World) -> None:
    (world.folder / "link").symlink_to(world.repository)
    world.wendy.does(f"-r {world.folder}/link list")
    relative = Path("..") / world.repository.name
    world.wendy.does(f"-r {relative} list")


@pytest.mark.parametrize("line", ["", "key", "trust"])
def test_nothing_asked_shows_the_help_as_text(world: World, line: str) -> None:
    said = world.wendy.dedup(line)
    assert said.status == 2
    assert said.err.startswith("dedup: missing command\nUsage: ")
    assert "\\n" not in said.err
