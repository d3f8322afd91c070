"""`dedup ls`: what is in a stored volume or tar."""

import click

from pipelines.cli.arguments import StreamOfDate, stream_of_date
from pipelines.cli.workspace import Workspace


@click.command
@stream_of_date
@click.argument("path", default="")
@click.option("-l", "long", is_flag=True, help="Show modes, owners, sizes and dates, too.")
@click.option("-R", "deep", is_flag=True, help="Show everything below, with whole paths.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of each as JSON.")
@click.pass_obj
def command(
    workspace: Workspace,
    asked: StreamOfDate,
    path: str,
    long: bool,
    deep: bool,
    as_json: bool,
) -> None:
    """Show what was in VOLUME, or in its folder PATH, on DATE. File contents are not fetched.

    It may be a volume's dump, full or incremental, or a tar. With -l, d is a folder, l a symbolic link, m a
    mount point, h another name of a file.
    """
    from pipelines.restore import browse
    from pipelines.restore.neighbours import Neighbours

    try:
        inside = browse.inner_path(path)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="PATH") from None
    line = browse.json_line if as_json else browse.long_line if long else browse.short_line
    with workspace.repository(reading=True) as repository:
        links = asked.chain(repository)
        workspace.console.detail(", ".join(map(str, links)))
        with browse.opened(repository, links, workspace.console.warn) as found:
            entries = browse.UpToDamage(found)
            beside = Neighbours([inside], str(links[-1]), links[-1].listing_command())
            lines = browse.listing(entries, inside, line, beside, deep=deep)
    if as_json:
        workspace.console.answer("[" + ",".join(f"\n  {one}" for one in lines) + "\n]\n")
    else:
        workspace.console.answer("".join(f"{one}\n" for one in lines))
    if entries.damage is not None:
        raise entries.damage
