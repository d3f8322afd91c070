"""`dedup get`: give back one stream, of a volume as one full dump; or all streams of a date."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines import text
from pipelines.cli.arguments import StreamOfDate, domain_option, read_date
from pipelines.cli.progress import bar, counter
from pipelines.cli.status import ExitStatus
from pipelines.cli.workspace import Workspace
from pipelines.output import pipes
from pipelines.restore.get import check_target, opened, output_file, write_pieces
from pipelines.streams import dates

if TYPE_CHECKING:
    from pipelines.restore.get_all import Got


_TOLD = 5  # names in a message


def _read_output(context: click.Context, option: click.Parameter, value: str | None) -> Path | None:
    if value == "":  # somebody's unset variable: never the current folder
        raise click.BadParameter("a name is needed", context, option)
    return None if value is None else Path(value)


@click.command
@click.argument("when", callback=read_date, metavar="DATE")
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    callback=_read_output,
    metavar="FILE",
    help="Write to FILE instead of stdout; - is stdout. With --all: a folder.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Give every NAME there is, each to a file in -o FOLDER."
)
@click.option("--force", is_flag=True, help="Let -o replace a file that exists.")
@click.option(
    "--raw", is_flag=True, help="Give the bytes that were stored on DATE, even of an incremental dump."
)
@domain_option("NAME")
@click.pass_obj
def command(
    workspace: Workspace,
    when: dates.When,
    name: str | None,
    output: Path | None,
    everything: bool,
    force: bool,
    raw: bool,
    domain: str,
) -> int:
    """Write NAME, as of DATE, to standard output or to FILE.

    Of several backups of one date, the newest counts. FILE appears only when it is complete. The bytes are exactly
    those that were stored, except that an incremental dump of a volume is merged with the dumps that it builds on
    into one full dump for `vos restore`.

    With --all, every NAME of DATE goes into a file of a folder, which is made if need be: the newest of that day, or
    with latest the newest of all. Existing files are left as they are, unread. A stream that fails is reported and
    the others go on; the exit status is then 3, or 1 if none succeeds.
    """
    if output == Path("-"):
        output = None
    if everything:
        if name is not None:
            raise click.UsageError("it is either NAME or --all")
        if output is None:
            raise click.UsageError("--all needs a folder: -o FOLDER")
        return _get_all(workspace, when, output, force=force, raw=raw, domain=domain)
    if name is None:
        raise click.UsageError("Missing argument 'NAME'; for every one: --all -o FOLDER")
    if output is not None:
        check_target(output, force=force)
    elif force:
        raise click.UsageError("--force is for -o FILE")
    elif sys.stdout is None:
        raise pipes.closed("standard output")
    elif sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal; use a pipe, a redirection or -o FILE")
    began = time.monotonic()
    with workspace.repository(reading=True) as repository, ExitStack() as stack:
        snapshot, stream = StreamOfDate(when, name, domain).find(repository)
        date = _date(snapshot)
        workspace.console.detail(f"{name} of {date}, from snapshot {snapshot.name.hex()}")
        pieces, links = stack.enter_context(opened(repository, snapshot, stream, raw=raw))
        if stream.kind == "afs" and not raw:
            workspace.console.detail(", ".join(map(str, links)))
        size = stream.size if len(links) == 1 else None
        update = stack.enter_context(bar(workspace.console, name, size))
        written = 0

        def progress(done: int) -> None:
            nonlocal written
            written = done
            update(done, None)

        if output is not None:
            with output_file(output, force=force) as descriptor:
                write_pieces(pieces, descriptor, str(output), progress)
        else:
            pipes.prepare(1)
            write_pieces(pieces, 1, "standard output", progress)
    workspace.console.say(f"{name} {date} {text.size(written)} in {time.monotonic() - began:.1f} s")
    return 0


def _get_all(
    workspace: Workspace, when: dates.When, folder: Path, *, force: bool, raw: bool, domain: str
) -> int:
    from pipelines.restore.get_all import GetAll, make_folder

    console = workspace.console
    began = time.monotonic()

    def failed(name: str, why: str) -> None:
        console.fail(f"{name}: {why}")

    with workspace.repository(reading=True) as repository:
        chosen, several = dates.find_all(when, repository.snapshots(), repository.streams, domain)
        if left := make_folder(folder):
            console.say(f"removed {text.count(left, 'half file')} of a run that was killed")
        for each, error in several.items():
            failed(each, str(error))
        with counter(console) as progress:
            got = GetAll(repository, folder, force=force, raw=raw, failed=failed, progress=progress).run(
                chosen
            )
    newest = max((dates.local(snapshot).date() for snapshot, _ in chosen), default=None)
    older = [stream.name for snapshot, stream in chosen if dates.local(snapshot).date() != newest]
    if older:
        console.say(f"of days before {newest:%Y.%m.%d} are: {_names(older)}")
    got.failed += len(several)
    there = len(got.there)
    total = got.streams + got.failed + there
    of = f"of {when}" if newest is None or when.day is not None else f"up to {newest:%Y.%m.%d}"
    if there == total:
        console.say(
            f"{text.count(total, 'stream')} {of}: all are there already, in {folder}, and left untouched"
        )
    else:
        if there:
            console.say(f"{there} there already, and left untouched: {_names(got.there)}")
        console.say(
            f"{got.streams} of {text.count(total, 'stream')} {of}, {text.size(got.size)}, in {folder} "
            f"in {time.monotonic() - began:.1f} s"
        )
    return _status(got)


def _status(got: "Got") -> int:
    if not got.failed:
        return 0
    return ExitStatus.INCOMPLETE if got.streams or got.there else ExitStatus.FAILED


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{', '.join(map(text.safe, names[:_TOLD]))}{more}"


def _date(snapshot: dates.Dated) -> str:
    return dates.local(snapshot).strftime("%Y.%m.%dT%H:%M")
