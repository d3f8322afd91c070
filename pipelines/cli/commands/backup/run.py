"""`dedup run`: everything that the config file names, as cron does it every day."""

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from dedupstore.errors import DedupError
from dedupstore.state.folder import StateFolder
from pipelines import VERSION
from pipelines.cli.arguments import read_date, read_moment
from pipelines.cli.progress import counter
from pipelines.cli.status import ExitStatus
from pipelines.cli.stop import interruption
from pipelines.cli.workspace import Workspace
from pipelines.config import config_file
from pipelines.streams import dates

if TYPE_CHECKING:
    from pipelines.config.run_settings import RunConfig
    from pipelines.run.engine import Engine
    from pipelines.sources.protocol import Report


@click.command
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only this source; may be repeated.")
@click.option("--full", is_flag=True, help="Dump every volume in full.")
@click.option("--date", "when", callback=read_date, metavar="DATE", help="Store it under this date, not now.")
@click.option("--dry-run", is_flag=True, help="Show what would be stored; store nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def command(
    workspace: Workspace,
    names: tuple[str, ...],
    full: bool,
    when: dates.When | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Store what every [[source]] of the config file has, as one backup.

    One run at a time works on a host. A stream that fails is tried again, then reported; the others go on. A
    run that was interrupted is resumed by the next one. Prints a table on a terminal, else a short page to mail.
    """
    from pipelines.sources.kinds import parse

    file = workspace.settings.file
    wanted = _select(parse(file, config_file.read(file) or ""), names)
    moment = read_moment(when)
    from pipelines.run.privileges import privileges

    with privileges(wanted, workspace.settings.state) as root_parts:
        from dedupstore.writing.session import RunDetails
        from pipelines.reports import summary
        from pipelines.run.engine import Engine, run_day
        from pipelines.run.lock import only_run
        from pipelines.sources.kind import RunContext
        from pipelines.sources.kinds import make_sources

        console = workspace.console
        with workspace.repository(reading=False) as repository:
            details = RunDetails(os.uname().nodename, f"dedup {VERSION}", moment.time, moment.utc_offset)
            context = RunContext(wanted.run, wanted.schedule, repository, run_day(details), full, root_parts)
            sources = make_sources(wanted, context)
            alone = nullcontext() if dry_run else only_run(StateFolder(workspace.settings.state).path)
            with alone, counter(console) as progress:
                engine = Engine(
                    repository,
                    sources,
                    wanted.run,
                    details,
                    level=workspace.settings.compression,
                    progress=progress,
                )
                report = engine.plan() if dry_run else _run(engine)
    status = _status(report)
    if as_json:
        console.answer(summary.as_json(report, status))
    elif dry_run:
        console.answer(summary.plan(report))
    elif not console.quiet or status or summary.worth_saying(report):
        if sys.stdout is not None and sys.stdout.isatty():
            console.answer(summary.table(report) + "\n")
        console.answer(summary.page(report))
    return status


def _select(found: "RunConfig", names: tuple[str, ...]) -> "RunConfig":
    from dataclasses import replace

    there = [source.name for source in found.sources]
    for name in names:
        if name not in there:
            raise DedupError(f"no source is called {name!a}", f"{found.file} has: {', '.join(there)}")
    if not names:
        return found
    return replace(found, sources=tuple(source for source in found.sources if source.name in names))


def _run(engine: "Engine") -> "Report":
    try:
        return engine.run()
    except BaseException as error:
        if (stop := interruption(error)) is not None:
            stop.meaning = _left(engine)
            raise
        if not isinstance(error, DedupError):
            raise
        raise type(error)(
            f"the run failed: {error.message}", _join(error.hint, engine.resumed_next())
        ) from None


def _left(engine: "Engine") -> str:
    """Say what an interrupted run has left."""
    if engine.report.snapshot is not None:
        return "but the backup is complete and listed"
    if engine.finishing:
        return "see `dedup list` whether it was listed"
    return ", but ".join(filter(None, ("no backup was recorded", engine.resumed_next())))


def _join(*hints: str) -> str:
    return "; ".join(filter(None, hints))


def _status(report: "Report") -> int:
    if not report.of("failed"):
        return ExitStatus.DONE
    others = report.of("stored") or report.of("kept") or report.of("planned")
    return ExitStatus.INCOMPLETE if others else ExitStatus.FAILED
