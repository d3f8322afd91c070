"""`dedup find` where there is nothing to look into: it is not the file that is missing."""

from tests.e2e.cli.conftest import World


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
