"""`dedup diff`: what changed in a volume from one date to another."""

from collections import Counter

import click

from pipelines.cli.arguments import StreamOfDate, domain_option, read_date
from pipelines.cli.workspace import Workspace
from pipelines.streams import dates


@click.command
@click.argument("old_date", callback=read_date, metavar="DATE")
@click.argument("new_date", callback=read_date, metavar="DATE")
@click.argument("name", metavar="VOLUME")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of each as JSON, old and new.")
@domain_option()
@click.pass_obj
def command(
    workspace: Workspace, old_date: dates.When, new_date: dates.When, name: str, as_json: bool, domain: str
) -> None:
    """Show what was added (+), removed (-) and changed (~) in VOLUME from the first DATE to the second.

    File contents are not fetched: a file counts as changed by its size, its date and, in AFS, its version.
    """
    from pipelines.reports.listing import to_json
    from pipelines.restore import browse
    from pipelines.restore.differences import difference_line, difference_row, differences

    with workspace.repository(reading=True) as repository:
        old, new = (StreamOfDate(when, name, domain).chain(repository) for when in (old_date, new_date))
        with browse.opened(repository, old) as before, browse.opened(repository, new) as after:
            found = differences((entry for entry, _ in before), (entry for entry, _ in after))
    if as_json:
        workspace.console.answer(to_json([difference_row(one) for one in found]))
    else:
        workspace.console.answer("".join(f"{difference_line(one)}\n" for one in found))
    counts = Counter(one.change for one in found)
    workspace.console.say(
        f"{old[-1]} to {dates.local(new[-1].snapshot):%Y.%m.%dT%H:%M}: {counts['added']} added, "
        f"{counts['removed']} removed, {counts['changed']} changed"
    )
