"""Tables and JSON of what is stored.

Invariant: a table has one line a row, whatever the cells hold.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

from pipelines.streams import dates
from pipelines.text import safe

if TYPE_CHECKING:
    from dedupstore.format.run_records import Stream
    from dedupstore.repository import SnapshotInfo


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return lines of aligned columns; those in `right` (from 0) are flush right."""
    shown = [list(heads), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    flush = set(right)
    lines = (
        "  ".join(
            cell.rjust(width) if i in flush else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def to_json(value: Any) -> str:
    """Return the value as JSON in plain ASCII, with the line end."""
    import json  # costs more than a table does

    return json.dumps(value, indent=2) + "\n"


def stream_row(snapshot: "SnapshotInfo", stream: "Stream") -> dict[str, Any]:
    """Return what the JSON of `list` and `put` says of a stream: sizes in bytes, dates in ISO 8601."""
    return {
        "name": stream.name,
        "time": iso(snapshot),
        "kind": stream.kind,
        "size": stream.size,
        "new": stream.new,
        "stored": stream.stored,
        "snapshot": snapshot.name.hex(),
        "host": snapshot.host,
        "domain": snapshot.domain,
    }


def iso(snapshot: dates.Dated) -> str:
    """Return a snapshot's date in ISO 8601 with its offset from UTC, as `2026-11-01T03:15:20+01:00`."""
    return dates.local(snapshot).replace(tzinfo=timezone(timedelta(seconds=snapshot.utc_offset))).isoformat()
