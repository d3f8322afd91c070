"""`dedup extract`: files and trees out of a stored volume or tar."""

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import click

from pipelines import text
from pipelines.cli.arguments import StreamOfDate, stream_of_date
from pipelines.cli.progress import bar
from pipelines.cli.workspace import Workspace
from pipelines.output import pipes
from pipelines.streams import names


@click.command
@stream_of_date
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-C",
    "--directory",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Extract into FOLDER, not into the current one.",
)
@click.option("--tar", "as_tar", is_flag=True, help="Write a tar to standard output instead.")
@click.option("--setuid", is_flag=True, help="Keep the setuid, setgid and sticky bits.")
@click.option("--links-out", is_flag=True, help="Make symbolic links even if they lead out of FOLDER.")
@click.pass_obj
def command(
    workspace: Workspace,
    asked: StreamOfDate,
    paths: tuple[str, ...],
    folder: Path | None,
    as_tar: bool,
    setuid: bool,
    links_out: bool,
) -> None:
    """Extract each PATH of VOLUME, with all below it, as it was on DATE. The path . is everything.

    Files keep their paths, modes and times, and their owners if root does it. Nothing that exists is replaced,
    nothing is made outside of FOLDER. Access lists and mount points go into a text file beside, VOLUME.acls.
    """
    if as_tar:
        if folder is not None or setuid or links_out:
            raise click.UsageError("-C, --setuid and --links-out are not for --tar, which keeps all")
        if sys.stdout is None:
            raise pipes.closed("standard output")
        if sys.stdout.isatty():
            raise click.UsageError("standard output is a terminal; use a pipe or a redirection")
    from pipelines.formats.entries import Entries
    from pipelines.output.new_tree import ALL_BITS, PLAIN_BITS, NewTree
    from pipelines.restore import browse, extract
    from pipelines.restore.get import write_pieces
    from pipelines.restore.neighbours import Neighbours

    console = workspace.console
    try:
        wanted = [browse.inner_path(path) for path in paths]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="PATH") from None
    choice = extract.Choice(wanted)
    left_out = extract.LeftOut(console.warn)
    with workspace.repository(reading=True) as repository:
        links = asked.chain(repository)
        beside = Neighbours(wanted, str(links[-1]), links[-1].listing_command())

        def look() -> AbstractContextManager[Entries]:
            return browse.opened(repository, links, console.warn)

        def fetch() -> AbstractContextManager[Entries]:
            return browse.opened(repository, links, contents=True)

        if as_tar:
            found = extract.plan(look, choice, None, beside)
            pipes.prepare(1)
            with bar(console, asked.name, found.size) as update:
                pieces = extract.to_tar(fetch, choice, found, left_out)
                write_pieces(pieces, 1, "standard output", lambda done: update(done, None))
        else:
            bits = ALL_BITS if setuid else PLAIN_BITS
            with (
                NewTree(folder or Path(), bits=bits, owners=os.geteuid() == 0, links_out=links_out) as tree,
                extract.Notes() as notes,
            ):
                found = extract.plan(look, choice, tree, beside)
                with bar(console, asked.name, found.size) as update:
                    extract.to_folder(
                        fetch, choice, found, tree, notes, left_out, lambda done: update(done, None)
                    )
                kept = notes.save(
                    tree, names.beside(asked.name, ".acls"), f"access lists and mount points of {links[-1]}"
                )
            if kept:
                console.say(f"access lists and mount points: {(folder or Path()) / kept}")
    console.say(f"{links[-1]} {text.size(found.size)} extracted")
    if found.damage is not None:
        raise found.damage
    left_out.close()
