"""What is said at the end of a run."""

import json
from datetime import date

from pipelines.reports import summary
from pipelines.sources.protocol import Line, Report

TODAY = date(2026, 11, 1)
NEXT = date(2026, 11, 8)


def stored(name: str, kind: str = "incr", **more: object) -> Line:
    sizes = {"size": 1_000_000, "new": 20_000, "stored": 5_000, "seconds": 1.26}
    return Line("cell", name, "stored", kind, next_full=NEXT, **{**sizes, **more})  # type: ignore[arg-type]


def test_a_good_run_is_a_few_lines() -> None:
    report = Report(TODAY, [stored("user.a"), stored("user.b"), stored("user.c", "full")], seconds=61.4)
    assert summary.page(report) == (
        "Backup of 2026.11.01: 3 streams stored, all is well\n"
        "\n"
        "Streams    1 full, 2 incr\n"
        "Size       3.0 MB, 60.0 kB new (98.0 % deduplicated), 15.0 kB stored\n"
        "Time       61 s\n"
        "Next full  Sunday, 2026.11.08\n"
    )
    assert not summary.worth_saying(report)


def test_what_somebody_must_know_comes_before_the_totals() -> None:
    report = Report(
        TODAY,
        [
            stored("user.a", warnings=["as of yesterday"]),
            stored("user.b", "full", reason="re-created", untimely=True),
            Line("cell", "user.bad", "failed", error="vos dump failed: busy"),
            Line("cell", "user.gone", "gone", reason="volume 7 is not there any more"),
        ],
        ["vos backupsys fs1: Could not backup user.a"],
    )
    assert summary.page(report).partition("Streams ")[0] == (
        "Backup of 2026.11.01: 2 streams stored, 1 FAILED, 2 with warnings\n"
        "\n"
        "FAILED\n"
        "  user.bad: vos dump failed: busy\n"
        "\n"
        "Warnings\n"
        "  user.a: as of yesterday\n"
        "  vos backupsys fs1: Could not backup user.a\n"
        "\n"
        "In full, out of turn\n"
        "  user.b: re-created\n"
        "\n"
        "Gone (the backups stay)\n"
        "  user.gone: volume 7 is not there any more\n"
        "\n"
    )
    assert summary.worth_saying(report)


def test_a_run_that_stored_nothing_says_so() -> None:
    report = Report(TODAY, [Line("cell", "", "failed", error="no server answers")])
    page = summary.page(report)
    assert page.startswith(
        "Backup of 2026.11.01: 0 streams stored, 1 FAILED\n\nFAILED\n  cell: no server answers\n"
    )
    assert "Streams    none\n" in page


def test_names_and_errors_cannot_write_on_a_terminal() -> None:
    report = Report(TODAY, [Line("cell", "a\x1b[2J", "failed", error="x\ny\x07")])
    for text in (summary.page(report), summary.table(report)):
        assert "\x1b" not in text
        assert "\x07" not in text
    assert r"  a\x1b[2J: x\ny\x07" in summary.page(report)


def test_the_table_has_one_line_a_stream() -> None:
    report = Report(TODAY, [stored("user.b"), Line("cell", "user.a", "failed", error="busy\nlocked")])
    head, first, second = summary.table(report).splitlines()
    assert ["SOURCE", "KIND", "SIZE", "NEW", "SECONDS", "NAME"] == head.split()
    assert ["cell", "FAILED", "user.a", r"busy\nlocked"] == first.split()
    assert "cell    incr    1.0 MB  20.0 kB      1.3  user.b" == second.rstrip()


def test_the_json_has_exact_numbers() -> None:
    report = Report(TODAY, [stored("user.a"), Line("cell", "user.bad", "failed", error="busy")], seconds=2.0)
    found = json.loads(summary.as_json(report, 3))
    lines = found.pop("lines")
    assert found == {
        "date": "2026-11-01",
        "status": 3,
        "snapshot": None,
        "taken_up": [],
        "seconds": 2.0,
        "streams": 1,
        "failed": 1,
        "size": 1_000_000,
        "new": 20_000,
        "stored": 5_000,
        "next_full": "2026-11-08",
        "warnings": [],
    }
    assert ["user.a", "user.bad"] == [line["name"] for line in lines]
    assert (1.26, "busy") == (lines[0]["seconds"], lines[1]["error"])


def test_fulls_out_of_turn_are_sorted_by_name() -> None:
    lines = [stored(name, "full", reason="re-created", untimely=True) for name in ("b", "c", "a")]
    assert "out of turn\n  a: re-created\n  b: re-created\n  c: re-created\n\n" in summary.page(
        Report(TODAY, lines)
    )


def test_a_plan_has_no_columns_of_what_was_done_and_says_that_nothing_was() -> None:
    lines = [
        Line("cell", "user.b", "planned", "full", "new", size=2_000_000),
        Line("cell", "user.a", "failed", error="busy"),
    ]
    assert summary.plan(Report(TODAY, lines)) == (
        "SOURCE  KIND      SIZE  NAME\n"
        "cell    FAILED          user.a  busy\n"
        "cell    full    2.0 MB  user.b  new\n"
        "\n"
        "nothing was stored\n"
    )
