"""`dedup find`: which dates hold which versions of a file."""

from collections.abc import Sequence
from datetime import date, datetime, time
from fnmatch import fnmatchcase

import click

from dedupstore.errors import DedupError, NotStoredError
from pipelines import mishap, text
from pipelines.cli.arguments import read_date
from pipelines.cli.progress import counter
from pipelines.cli.workspace import Workspace
from pipelines.streams import dates


@click.command
@click.argument("pattern")
@click.option("--volume", "volumes", default="*", metavar="GLOB", help="Only in volumes of such names.")
@click.option("--since", callback=read_date, metavar="DATE", help="Only in backups of this date and later.")
@click.option("--until", callback=read_date, metavar="DATE", help="Only in backups up to this date.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of each as JSON version.")
@click.pass_obj
def command(
    workspace: Workspace,
    pattern: str,
    volumes: str,
    since: dates.When | None,
    until: dates.When | None,
    as_json: bool,
) -> None:
    """Find files by name in all volumes and tars, and show each version with the dates that hold it.

    PATTERN is a name or a glob, as *.tex; with a slash in it, it is compared with the whole path. FIRST and LAST
    are the first and the last of DATES backups in a row that hold the same version.
    """
    for option, when in (("--since", since), ("--until", until)):
        if when is not None and when.day is None:
            raise click.BadParameter("latest cannot be a bound", param_hint=option)
    from pipelines.reports.listing import to_json
    from pipelines.restore import browse
    from pipelines.restore.versions import Versions, matcher, versions_rows, versions_table
    from pipelines.streams.chains import Link, chain

    matches = matcher(pattern)
    versions = Versions()
    failed = 0
    with workspace.repository(reading=True) as repository, counter(workspace.console) as count:
        todo = [
            (snapshot, stream)
            for snapshot in sorted(repository.snapshots(), key=dates.age)
            if _within(snapshot, since, until)
            for stream in repository.streams(snapshot)
            if stream.kind in ("afs", "tar") and fnmatchcase(stream.name, volumes)
        ]
        if not todo:
            raise _nowhere(repository.snapshots(), volumes, since, until)
        for number, (snapshot, stream) in enumerate(todo):
            count(stream.name, number, len(todo))
            try:
                links = chain(repository, snapshot, stream)
                with browse.opened(repository, links, workspace.console.warn) as there:
                    entries = browse.UpToDamage(there)
                    versions.add(
                        snapshot, stream.name, [entry for entry, _ in entries if matches(entry.path)]
                    )
                if entries.damage is not None:
                    raise entries.damage
            except mishap.FATAL:
                raise
            except Exception as error:
                link, why = str(Link(snapshot, stream)), mishap.told(error)
                workspace.console.warn(why if why.startswith(link) else f"{link}: {why}")
                failed += 1
    rows = versions.all()
    if as_json:
        workspace.console.answer(to_json(versions_rows(rows)))
    elif rows:
        workspace.console.answer(versions_table(rows))
    else:
        workspace.console.say(f"nothing called {pattern} in {len(todo)} dumps and tars")
    if failed:
        raise DedupError(f"{failed} of {len(todo)} could not be read; see above")


def _nowhere(
    stored: Sequence[dates.Dated], volumes: str, since: dates.When | None, until: dates.When | None
) -> NotStoredError:
    """The error for bounds within which there is nothing to look into."""
    if not stored:
        return NotStoredError("the repository holds no backups yet")
    asked = {"--since": since, "--until": until, "--volume": None if volumes == "*" else text.safe(volumes)}
    bounds = " ".join(f"{option} {value}" for option, value in asked.items() if value is not None)
    of = f" matches {bounds}" if bounds else " is of a volume or a tar, which alone have files inside"
    return NotStoredError(f"no backup{of}", "see what there is: dedup list")


def _within(snapshot: dates.Dated, since: dates.When | None, until: dates.When | None) -> bool:
    there = dates.local(snapshot)
    return (since is None or _span(since)[0] <= there) and (until is None or there <= _span(until)[1])


def _span(when: dates.When) -> tuple[datetime, datetime]:
    """Return the first and the last instant that a date means: a day, a minute or a second."""
    day = when.day or date.max
    last = when.clock or time.max
    if when.clock is not None and not when.seconds:
        last = last.replace(second=59)
    return datetime.combine(day, when.clock or time.min), datetime.combine(day, last)
