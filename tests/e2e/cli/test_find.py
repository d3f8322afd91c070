"""`dedup find` where there is nothing to look into: it is not the file that is missing."""

from tests.e2e.cli.conftest import World
from tests.e2e.stored_volumes import put
from tests.pipelines.volumes import facts_of, sample


def test_bounds_that_no_backup_matches_are_named(stored: World) -> None:
    said = stored.alice.fails("find x --since 2026.11.02 --until 2026.11.03T04:00 --volume proj.*")
    assert (
        "dedup: no backup matches --since 2026.11.02 --until 2026.11.03T04:00 --volume proj.*; "
        "see what there is: dedup list" == said
    )


def test_streams_without_files_inside_are_told(stored: World) -> None:
    said = stored.alice.fails("find x")
    assert said.startswith("dedup: no backup is of a volume or a tar, which alone have files inside; ")


def test_an_empty_repository_is_said_to_be_empty(world: World) -> None:
    assert "dedup: the repository holds no backups yet" == world.alice.fails("find x --volume user.*")


def test_a_dump_with_absurd_facts_costs_only_itself(world: World) -> None:
    """Every command that looks into streams goes on; what is hostile in them never reaches the terminal."""
    incremental, full = sample(3), sample(2)
    known = facts_of(incremental, b"\xab" * 32)
    hostile = {
        "late": known | {"since": 2**62, "until": 2**62},
        "coloured": known | {"name": "\x1b[31m", "is": "\x1b[31m"},
        "end": known | {"since": 253_402_200_000, "until": 253_402_200_000},
    }
    for name, facts in hostile.items():
        put(world.wendy, name, incremental, day=0, facts=facts)
    put(world.wendy, "good", full, day=0)
    said = world.alice.dedup("find '*'")
    assert 1 == said.status
    assert "dedup: 3 of 4 could not be read; see above" == said.err.splitlines()[-1]
    assert 3 == said.err.count("dedup: warning: ")
    assert b" good " in said.out
    assert "a backup of about 9999" in said.err
    for line in (
        "list latest",
        "list latest --json",
        "get latest --all -o out",
        "ls latest late",
        "ls latest good",
    ):
        said = world.alice.dedup(line)
        assert "bug" not in said.err
        assert "\x1b" not in said.err + said.out.decode()
    assert ["good"] == [path.name for path in (world.alice.folder / "out").iterdir()]
    assert "could not" not in world.alice.dedup("extract latest good .").err
