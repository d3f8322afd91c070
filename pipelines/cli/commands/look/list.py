"""`dedup list`: what is stored."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

import click

from pipelines import text
from pipelines.cli.arguments import read_date
from pipelines.cli.workspace import Workspace
from pipelines.reports.listing import stream_row, table, to_json
from pipelines.streams import dates
from pipelines.streams.names import order

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo

_SUMS = ("snapshots", "streams", "size", "new", "stored")


@click.command
@click.argument("when", callback=read_date, metavar="[DATE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: exact bytes, ISO dates.")
@click.pass_obj
def command(workspace: Workspace, when: dates.When | None, as_json: bool) -> None:
    """Show the dates that are stored, or the streams of one DATE.

    DATE is 2026.11.01, with a time if need be (2026.11.01T03:15), today, yesterday, or latest: the newest that
    there is.
    """
    with workspace.repository(reading=False) as repository:
        answer = _dates(repository, as_json) if when is None else _streams(repository, when, as_json)
        if not answer:
            workspace.console.say("the repository holds no backups yet")
        workspace.console.answer(answer)


def _dates(repository: "Repository", as_json: bool) -> str:
    days: dict[date, dict[str, int]] = {}
    for snapshot in repository.snapshots():
        day = dates.local(snapshot).date()
        row = days.get(day) or days.setdefault(day, dict.fromkeys(_SUMS, 0))
        row["snapshots"] += 1
        row["streams"] += snapshot.streams
        row["size"] += snapshot.size
        row["new"] += snapshot.new
        row["stored"] += snapshot.stored
    rows = [(day.isoformat().replace("-", "."), days[day]) for day in sorted(days)]
    if as_json:
        return to_json([{"date": day, **sums} for day, sums in rows])
    if not rows:
        return ""
    return table(
        ("DATE", "STREAMS", "SIZE", "STORED"),
        (
            (day, str(sums["streams"]), text.size(sums["size"]), text.size(sums["stored"]))
            for day, sums in rows
        ),
        right=(1, 2, 3),
    )


def _streams(repository: "Repository", when: dates.When, as_json: bool) -> str:
    found = dates.select(when, repository.snapshots())
    if when.day is None:
        newest = dates.local(found[0]).date()
        found = [snapshot for snapshot in found if dates.local(snapshot).date() == newest]
    pairs = [(snapshot, stream) for snapshot in reversed(found) for stream in repository.streams(snapshot)]
    pairs.sort(key=lambda pair: order(pair[1].name))
    if as_json:
        return to_json([stream_row(snapshot, stream) for snapshot, stream in pairs])
    writers = _writers(snapshot for snapshot, _ in pairs)
    several = len(writers) > 1
    return table(
        ("TIME", "SIZE", "STORED", "KIND", *(("HOST",) if several else ()), "NAME"),
        (
            (
                f"{dates.local(snapshot):%Y.%m.%dT%H:%M:%S}",
                text.size(stream.size),
                text.size(stream.stored),
                stream.kind,
                *((writers[snapshot.host, snapshot.domain],) if several else ()),
                stream.name,
            )
            for snapshot, stream in pairs
        ),
        right=(1, 2),
    )


def _writers(snapshots: "Iterable[SnapshotInfo]") -> dict[tuple[str, str], str]:
    """Return how to call each writer, by host and domain: by its host, and by its domain where that is not enough."""
    pairs = {(snapshot.host, snapshot.domain) for snapshot in snapshots}
    hosts = Counter(host for host, _ in pairs)
    return {(host, domain): host if hosts[host] == 1 else f"{host} ({domain[:8]})" for host, domain in pairs}
