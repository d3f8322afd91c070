"""The comparison's report says what the figures say: ratios, targets, and where a peer wins."""

from pathlib import Path

import pytest

from bench.peers.measure import Cost
from bench.peers.report import BEGIN, END, between, report
from bench.peers.results import Results, Spread, load
from bench.peers.steps import best, named, shown
from bench.peers.tools import version_of
from bench.peers.wins import wins


def made(step: str, **walls: float) -> Results:
    """Results of one step of 100 MB, with one round that took each tool so many seconds."""
    results = Results(versions=dict.fromkeys(walls, "1.0"))
    for tool, wall in walls.items():
        results.note(step, tool, 100_000_000, Cost(wall, wall, 50.0), 1_000_000)
    return results


def line(results: Results, begin: str) -> str:
    return next(each for each in report(results).splitlines() if each.startswith(begin))


def test_the_best_peer_is_the_fastest_that_encrypts_and_deduplicates() -> None:
    measured = made("full", dedup=1.0, borg=4.0, restic=3.0, bup=2.0, zstd=0.5).steps["full"]

    assert best(measured) == "restic"


def test_a_target_that_is_reached_is_said_to_be() -> None:
    results = made("full", dedup=1.0, borg=2.5)

    assert "| initial full | 100 | borg 1.0: 40.0 | 2.50 | 2: reached |" == line(results, "| initial full")


def test_a_target_that_is_missed_is_said_to_be() -> None:
    results = made("full", dedup=1.0, borg=1.5)

    assert "| initial full | 100 | borg 1.0: 66.7 | 1.50 | 2: **not reached** |" == line(
        results, "| initial full"
    )


def test_a_peer_that_wins_is_marked_in_words() -> None:
    results = made("restore", dedup=2.0, restic=1.0)

    assert "restic 1.0: 100 **and wins** | 0.50 |" in line(results, "| restore of everything")
    assert ["restore of everything into a folder", "faster, seconds", "2.00", "restic 1.0 1.00"] in wins(
        results
    )


def test_what_looks_equal_is_no_win() -> None:
    assert [] == wins(made("full", dedup=1.0, borg=0.9999))


def test_a_step_beside_its_limit() -> None:
    results = made("again", dedup=1.0, borg=4.0)
    results.note("limits", "BLAKE3", 100_000_000, Cost(0.4, 0.4, 20.0))

    assert "|  |  | BLAKE3: 250 | 0.40 | 0.5: **not reached** |" in report(results)


def test_sizes_are_compared_after_the_last_day() -> None:
    results = made("week next", dedup=1.0, restic=1.0)
    results.steps["week next"].stored = {"dedup": [60], "restic": [100]}

    assert "size after all days: 0.60 of what restic 1.0 keeps; at most 0.65: reached" in report(results)


def test_a_tool_that_is_missing_is_named_with_the_reason() -> None:
    results = made("full", dedup=1.0)
    results.missing["bup"] = "bup is not installed"

    assert "- not measured: bup: bup is not installed" in report(results)


def test_medians_come_with_their_spread() -> None:
    assert "100 (9.50-123)" == shown(Spread(100.2, 9.5, 123.4))
    assert "2.00" == shown(Spread(2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("borg 2.0.0b23\n", "2.0.0b23"),
        ("restic 0.18.0 compiled with go1.24.4 on linux/amd64", "0.18.0"),
        ("*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***", "1.5.4"),
        ("nothing of the kind\n", "nothing of the kind"),
    ],
)
def test_a_version_is_found_in_what_a_program_says(said: str, version: str) -> None:
    assert version == version_of(said)


def test_a_title_has_the_version_where_a_reader_looks_for_it() -> None:
    versions = {"borg2-64k": "2.0.0b23", "zstd": "1.5.4"}

    assert "borg 2.0.0b23, chunks of 64 KiB" == named("borg2-64k", Results(versions=versions))
    assert "zstd 1.5.4 -3 -T2" == named("zstd", Results(versions=versions))


def test_the_figures_go_between_the_marks_of_a_page() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n" == between(page, "new\n")


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(SystemExit, match="has no lines"):
        between("a page of somebody", "new\n")


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    results = made("full", dedup=1.0, borg=2.0)
    results.save(tmp_path / "results")

    assert results == load(tmp_path / "results")


def test_a_later_measurement_takes_the_place_of_the_same_tool_s() -> None:
    results = made("full", dedup=1.0, borg=2.0)

    results.join(made("full", dedup=0.5))

    assert {"dedup": [0.5], "borg": [2.0]} == {
        tool: [cost.wall for cost in costs] for tool, costs in results.steps["full"].costs.items()
    }


def test_figures_of_other_work_are_not_mixed() -> None:
    results, other = made("full", dedup=1.0, borg=2.0), Results()
    other.note("full", "dedup", 5, Cost(1.0, 1.0, 1.0))

    results.join(other)

    assert ["dedup"] == list(results.steps["full"].costs)
