"""`dedup list`: what is stored."""

from typing import TYPE_CHECKING, Any

import click

from pipelines import dates, text
from pipelines.cli.dating import read_date
from pipelines.cli.workspace import Workspace
from pipelines.listing import stream_row, table, to_json

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo


@click.command
@click.argument("when", callback=read_date, metavar="[DATE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: exact bytes, ISO dates.")
@click.pass_obj
def command(workspace: Workspace, when: dates.When | None, as_json: bool) -> None:
    """Show the dates that are stored, or the streams of one DATE."""
    with workspace.repository(reading=False) as repository:
        answer = _dates(repository, as_json) if when is None else _streams(repository, when, as_json)
        if not answer:
            workspace.console.say("the repository holds no backups yet")
        workspace.console.answer(answer)


def _dates(repository: "Repository", as_json: bool) -> str:
    days: dict[str, list[SnapshotInfo]] = {}
    for snapshot in repository.snapshots():
        days.setdefault(f"{dates.local(snapshot):%Y.%m.%d}", []).append(snapshot)
    rows = [_day_row(day, days[day]) for day in sorted(days)]
    if as_json:
        return to_json(rows)
    if not rows:
        return ""
    return table(
        ("DATE", "STREAMS", "SIZE", "STORED"),
        (
            (row["date"], str(row["streams"]), text.size(row["size"]), text.size(row["stored"]))
            for row in rows
        ),
        right=(1, 2, 3),
    )


def _day_row(day: str, snapshots: "list[SnapshotInfo]") -> dict[str, Any]:
    return {
        "date": day,
        "snapshots": len(snapshots),
        "streams": sum(snapshot.streams for snapshot in snapshots),
        "size": sum(snapshot.size for snapshot in snapshots),
        "new": sum(snapshot.new for snapshot in snapshots),
        "stored": sum(snapshot.stored for snapshot in snapshots),
    }


def _streams(repository: "Repository", when: dates.When, as_json: bool) -> str:
    found = dates.select(when, repository.snapshots())
    if when.day is None:
        newest = dates.local(found[0]).date()
        found = [snapshot for snapshot in found if dates.local(snapshot).date() == newest]
    pairs = [(snapshot, stream) for snapshot in reversed(found) for stream in repository.streams(snapshot)]
    pairs.sort(key=lambda pair: pair[1].name)
    if as_json:
        return to_json([stream_row(snapshot, stream) for snapshot, stream in pairs])
    return table(
        ("TIME", "SIZE", "STORED", "KIND", "NAME"),
        (
            (
                f"{dates.local(snapshot):%Y.%m.%dT%H:%M:%S}",
                text.size(stream.size),
                text.size(stream.stored),
                stream.kind,
                stream.name,
            )
            for snapshot, stream in pairs
        ),
        right=(1, 2),
    )
