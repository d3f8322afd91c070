"""`dedup get`: give back one stream."""

import sys
import time
from pathlib import Path

import click

from pipelines import dates, pipes, text
from pipelines.cli.dating import read_date
from pipelines.cli.progress import bar
from pipelines.cli.workspace import Workspace
from pipelines.get import check_target, new_file, write_pieces


@click.command
@click.argument("when", callback=read_date, metavar="DATE")
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE instead of stdout."
)
@click.option("--force", is_flag=True, help="Let -o replace a file that exists.")
@click.option(
    "--domain", default="", help="Whose NAME, where several writers have one; its first letters do."
)
@click.pass_obj
def command(
    workspace: Workspace, when: dates.When, name: str, output: Path | None, force: bool, domain: str
) -> None:
    """Write the exact bytes of NAME, as of DATE, to standard output or to FILE.

    Of several of one date, the newest. FILE appears only when it is complete.
    """
    if output is not None:
        check_target(output, force=force)
    elif force:
        raise click.UsageError("--force is for -o FILE")
    elif sys.stdout is None:
        raise pipes.closed("standard output")
    elif sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal; use a pipe, a redirection or -o FILE")
    began = time.monotonic()
    with workspace.repository(reading=True) as repository:
        snapshot, stream = dates.find(when, name, repository.snapshots(), repository.streams, domain)
        date = dates.local(snapshot).strftime("%Y.%m.%dT%H:%M")
        workspace.console.detail(f"{name} of {date}, from snapshot {snapshot.name.hex()}")
        pieces = repository.read(snapshot, stream)
        with bar(workspace.console, name, stream.size) as update:

            def progress(done: int) -> None:
                update(done, None)

            if output is not None:
                with new_file(output, force=force) as descriptor:
                    write_pieces(pieces, descriptor, str(output), progress)
            else:
                pipes.prepare(1)
                write_pieces(pieces, 1, "standard output", progress)
    workspace.console.say(f"{name} {date} {text.size(stream.size)} in {time.monotonic() - began:.1f} s")
