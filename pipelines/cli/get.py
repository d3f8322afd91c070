"""`dedup get`: give back one stream, of a volume as one full dump."""

import sys
import time
from contextlib import ExitStack
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
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of stdout; - is stdout.",
)
@click.option("--force", is_flag=True, help="Let -o replace a file that exists.")
@click.option(
    "--raw", is_flag=True, help="Give the bytes that were stored on DATE, even of an incremental dump."
)
@click.option(
    "--domain", default="", help="Whose NAME, where several writers have one; its first letters do."
)
@click.pass_obj
def command(
    workspace: Workspace,
    when: dates.When,
    name: str,
    output: Path | None,
    force: bool,
    raw: bool,
    domain: str,
) -> None:
    """Write NAME, as of DATE, to standard output or to FILE.

    Of several of one date, the newest. FILE appears only when it is complete. It is the exact bytes that were
    stored; but where these are an incremental dump of a volume, it is merged with what it builds on, into one
    full dump for `vos restore`.
    """
    if output == Path("-"):
        output = None
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
        snapshot, stream = dates.find(when, name, repository.snapshots(), repository.streams, domain)
        date = dates.local(snapshot).strftime("%Y.%m.%dT%H:%M")
        workspace.console.detail(f"{name} of {date}, from snapshot {snapshot.name.hex()}")
        size: int | None = stream.size
        if raw or stream.kind != "afs":
            pieces = repository.read(snapshot, stream)
        else:
            from pipelines.chains import chain, full_dump

            links = chain(repository, snapshot, stream)
            workspace.console.detail(", ".join(map(str, links)))
            pieces = stack.enter_context(full_dump(repository, links))
            size = size if len(links) == 1 else None
        update = stack.enter_context(bar(workspace.console, name, size))
        written = 0

        def progress(done: int) -> None:
            nonlocal written
            written = done
            update(done, None)

        if output is not None:
            with new_file(output, force=force) as descriptor:
                write_pieces(pieces, descriptor, str(output), progress)
        else:
            pipes.prepare(1)
            write_pieces(pieces, 1, "standard output", progress)
    workspace.console.say(f"{name} {date} {text.size(written)} in {time.monotonic() - began:.1f} s")
