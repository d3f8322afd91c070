"""`dedup restore`: a stored volume back into AFS."""

import time

import click

from pipelines import text
from pipelines.cli.arguments import StreamOfDate, stream_of_date
from pipelines.cli.progress import bar
from pipelines.cli.workspace import Workspace


@click.command
@stream_of_date
@click.argument("new_name", metavar="NEWNAME")
@click.option("--server", metavar="SERVER", help="Where to make it; by default where VOLUME is now.")
@click.option("--partition", metavar="PARTITION", help="The partition there, as a or /vicepa.")
@click.option("--overwrite", is_flag=True, help="Let it replace NEWNAME, of which a clone is kept.")
@click.option("--yes", is_flag=True, help="Do not ask before NEWNAME is replaced by another volume.")
@click.option("--localauth", is_flag=True, help="Use the server's own key, as vos -localauth does.")
@click.option("--cell", default="", metavar="CELL", help="Another cell than this machine's own.")
@click.pass_obj
def command(
    workspace: Workspace,
    asked: StreamOfDate,
    new_name: str,
    server: str | None,
    partition: str | None,
    overwrite: bool,
    yes: bool,
    localauth: bool,
    cell: str,
) -> None:
    """Restore VOLUME, as it was on DATE, as the volume NEWNAME, with this machine's vos.

    All is checked before vos is started. After a failure, what it left of a new volume is removed.
    """
    if (server is None) != (partition is None):
        raise click.UsageError("--server and --partition go together")
    if localauth and cell:
        raise click.UsageError("--cell is not for --localauth: the key is that of this machine's own cell")
    from pipelines.restore import volume
    from pipelines.restore.to_afs import Site, Vos

    try:
        volume.check_name(new_name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NEWNAME") from None
    console = workspace.console
    began = time.monotonic()
    with workspace.repository(reading=True) as repository:
        links = asked.chain(repository)
        console.detail(", ".join(map(str, links)))
        volume.check_kind(links[-1])
        vos = Vos.find(localauth=localauth, cell=cell)
        site = None if server is None or partition is None else Site(server, partition)
        target = volume.find_target(vos, new_name, asked.name, site, overwrite=overwrite)
        if target.replaced is not None and new_name != asked.name and not yes:
            what = f"{new_name} is to be replaced by the backup of {asked.name}, another volume"
            console.require_yes(what, "Replace it?", "nothing was replaced")
        needed = volume.check_dumps(repository, links)
        volume.check_space(vos, target, needed)
        if target.replaced is not None:
            console.say(
                f"replacing {volume.describe(target.replaced, new_name)}, {text.size(1024 * target.replaced.size_k)}, "
                f"last changed {time.strftime('%Y.%m.%dT%H:%M', time.localtime(target.replaced.update))}; "
                f"as it is now it stays in {new_name}.backup until the next vos backup"
            )
            with bar(console, f"verifying {asked.name}", needed) as update:
                volume.verify(repository, links, lambda done: update(done, None))
            volume.keep_clone(vos, target.replaced)
        with bar(console, asked.name, needed) as update:
            made = volume.restore(
                vos, repository, links, target, lambda done: update(done, None), console.warn
            )
    console.say(
        f"{links[-1]}, {text.size(needed)}, is restored as {new_name} ({made}) on {target.site} "
        f"in {time.monotonic() - began:.1f} s. Next:"
    )
    steps = volume.next_steps(vos, target, asked.name)
    width = min(60, max(len(line) for line, _ in steps))
    for line, purpose in steps:
        console.say(f"  {line:{width}}  {purpose}".rstrip())
