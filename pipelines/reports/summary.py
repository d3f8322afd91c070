"""What is said at the end of a run: a table on a terminal, a page for a mail, JSON for programs.

Invariant: what failed comes first and is never left out, however long the page gets; no mail at all is an alarm.
"""

from collections.abc import Iterable
from typing import Any

from pipelines import text
from pipelines.reports import listing
from pipelines.sources.protocol import Line, Report
from pipelines.streams import dates
from pipelines.streams.names import order
from pipelines.text import count, safe


def page(report: Report) -> str:
    """Return the page that is mailed: totals, then everything that somebody must know."""
    untimely = sorted((line for line in report.lines if line.untimely), key=lambda line: order(line.name))
    parts = [_headline(report)]
    parts += _paragraph("FAILED", ((line, line.error) for line in report.of("failed")))
    parts += _paragraph(
        "Warnings", ((line, warning) for line in report.lines for warning in line.warnings), report.warnings
    )
    parts += _paragraph("In full, out of turn", ((line, line.reason) for line in untimely))
    parts += _paragraph("Gone (the backups stay)", ((line, line.reason) for line in report.of("gone")))
    parts.append(_totals(report))
    return "\n".join(parts)


def worth_saying(report: Report) -> bool:
    """Tell whether there is more to say than that all is well."""
    return bool(
        report.warnings
        or report.taken_up
        or report.of("gone")
        or any(line.warnings or line.untimely for line in report.lines)
    )


def table(report: Report) -> str:
    """Return one row for each stream."""
    rows = sorted(report.lines, key=lambda line: (line.source, order(line.name)))
    return listing.table(
        ("SOURCE", "KIND", "SIZE", "NEW", "SECONDS", "NAME", ""),
        (
            (
                *cells[:3],
                text.size(line.new) if line.state in ("stored", "kept") else "",
                f"{line.seconds:.1f}" if line.state == "stored" else "",
                *cells[3:],
            )
            for line, cells in ((line, _cells(line)) for line in rows)
        ),
        right=(2, 3, 4),
    )


def plan(report: Report) -> str:
    """Return one row for each stream of a dry run, and that it was one."""
    rows = sorted(report.lines, key=lambda line: (line.source, order(line.name)))
    shown = listing.table(("SOURCE", "KIND", "SIZE", "NAME", ""), map(_cells, rows), right=(2,))
    return f"{shown}\nnothing was stored\n"


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    return (
        line.source,
        line.kind if line.state in ("stored", "planned") else line.state.upper(),
        text.size(line.size) if line.size else "",
        line.name,
        "; ".join(filter(None, (line.error, line.reason, *line.warnings))),
    )


def as_json(report: Report, status: int) -> str:
    """Return all of it as JSON: sizes in bytes, dates in ISO 8601."""
    stored = _stored(report)
    return listing.to_json(
        {
            "date": report.today.isoformat(),
            "status": status,
            "snapshot": report.snapshot.name.hex() if report.snapshot else None,
            "taken_up": [snapshot.name.hex() for snapshot in report.taken_up],
            "seconds": round(report.seconds, 3),
            "streams": len(stored),
            "failed": len(report.of("failed")),
            "size": sum(line.size for line in stored),
            "new": sum(line.new for line in stored),
            "stored": sum(line.stored for line in stored),
            "next_full": report.next_full.isoformat() if report.next_full else None,
            "warnings": report.warnings,
            "lines": [row(line) for line in report.lines],
        }
    )


def row(line: Line) -> dict[str, Any]:
    """Return what the JSON says of one stream."""
    return {
        "source": line.source,
        "name": line.name,
        "state": line.state,
        "kind": line.kind,
        "reason": line.reason,
        "untimely": line.untimely,
        "size": line.size,
        "new": line.new,
        "stored": line.stored,
        "seconds": round(line.seconds, 3),
        "warnings": line.warnings,
        "error": line.error,
        "full_of": line.full_of.isoformat() if line.full_of else None,
    }


def _stored(report: Report) -> list[Line]:
    return [line for line in report.lines if line.state in ("stored", "kept")]


def _headline(report: Report) -> str:
    failed, warned = len(report.of("failed")), sum(bool(line.warnings) for line in report.lines)
    how = [f"{failed} FAILED"] if failed else []
    how += [f"{warned + len(report.warnings)} with warnings"] if warned or report.warnings else []
    stored = count(len(_stored(report)), "stream")
    return f"Backup of {report.today:%Y.%m.%d}: {stored} stored, {', '.join(how) or 'all is well'}\n"


def _paragraph(title: str, found: Iterable[tuple[Line, str]], more: Iterable[str] = ()) -> list[str]:
    lines = [f"  {safe(line.name or line.source)}: {safe(what)}\n" for line, what in found]
    lines += [f"  {safe(each)}\n" for each in more]
    return [f"{title}\n{''.join(lines)}"] if lines else []


def _totals(report: Report) -> str:
    stored = _stored(report)
    kinds = {
        kind: sum(line.kind == kind for line in stored) for kind in sorted({line.kind for line in stored})
    }
    size, new = sum(line.size for line in stored), sum(line.new for line in stored)
    lines = [
        f"Streams    {', '.join(f'{number} {safe(kind)}' for kind, number in kinds.items()) or 'none'}",
        f"Size       {text.size(size)}, {text.size(new)} new ({text.saved(size, new)} deduplicated), "
        f"{text.size(sum(line.stored for line in stored))} stored",
        f"Time       {report.seconds:.0f} s",
    ]
    if report.next_full:
        lines.append(f"Next full  {report.next_full:%A, %Y.%m.%d}")
    for snapshot in report.taken_up:
        lines.append(
            f"Resumed    kept {count(snapshot.streams, 'stream')} of the run of "
            f"{dates.local(snapshot):%Y.%m.%dT%H:%M:%S}, which was interrupted"
        )
    return "".join(f"{line}\n" for line in lines)
