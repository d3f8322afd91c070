"""What is said to those who typed something else than they meant."""

import pytest

from tests.e2e.cli.conftest import World

HOW = "dedup put NAME < FILE, COMMAND | dedup put NAME, or dedup put NAME -- COMMAND; see: dedup put --help"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("put x y -- true", "the command that writes the stream goes after --"),
        ("put x tar -C / -cf - etc", "the command that writes the stream goes after --"),
        ("put x tar cf - etc", "the command that writes the stream goes after --"),
        ("put x --", "there is no command after --"),
    ],
)
def test_put_says_where_a_command_goes(world: World, line: str, why: str) -> None:
    assert f"dedup: {why}: {HOW}" == world.wendy.fails(line, b"data", status=2)
    assert b"[]\n" == world.wendy.does("list --json")


def test_put_takes_a_command_with_a_mark_of_its_own(world: World) -> None:
    world.wendy.does(["put", "x", "--format", "raw", "--", "printf", "--", "%s", "--"])
    assert b"--" == world.alice.does("get latest x")


def test_an_option_of_put_that_is_not_there_is_told_as_such(world: World) -> None:
    assert world.wendy.fails("put x --fromat raw", status=2).startswith("dedup: No such option '--fromat'")
    assert world.wendy.fails("put x -C -- true", status=2).startswith("dedup: No such option '-C'")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("list -r /x", "dedup -r ... list"),
        ("list --repository=/x", "dedup --repository ... list"),
        ("key list -v", "dedup -v ... key list"),
    ],
)
def test_an_option_that_goes_before_the_command_is_shown_there(world: World, line: str, hint: str) -> None:
    assert world.wendy.fails(line, status=2).endswith(f"; it goes before the command: {hint}")


def test_a_path_without_a_repository_is_to_be_checked_first(world: World) -> None:
    said = world.wendy.fails(f"-r {world.folder}/repositroy list")
    assert (
        f"dedup: there is no dedup repository at {world.folder}/repositroy; check the path; "
        "where there never was one, an admin makes it: dedup init" == said
    )


@pytest.mark.parametrize("line", ["--help", "key --help", "trust --help"])
def test_help_is_not_cut_off(world: World, line: str) -> None:
    assert b"..." not in world.wendy.does(line).replace(b"[ARGS]...", b"")


def test_help_says_what_a_date_is(world: World) -> None:
    said = " ".join(world.wendy.does("list --help").decode().split())
    assert (
        "DATE is 2026.11.01, with a time if need be (2026.11.01T03:15), today, yesterday, or latest" in said
    )
