"""`dedup init`: make a repository."""

import click

from pipelines.cli.members import member_table, trust_command, warn_of_one_admin
from pipelines.cli.workspace import Workspace


@click.command
@click.option(
    "--writer", "writers", multiple=True, metavar="GPGKEY", help="Writer: may store, cannot read contents."
)
@click.option(
    "--admin", "admins", multiple=True, required=True, metavar="GPGKEY", help="Admin: may do everything."
)
@click.pass_obj
def command(workspace: Workspace, writers: tuple[str, ...], admins: tuple[str, ...]) -> None:
    """Make a repository, for these GPG keys.

    Run it on an admin's machine: the keys that read never need to be anywhere else. Two admins or more are
    wise: without an admin's GPG key, nothing can be read again.
    """
    from keys.members import init

    url = workspace.url
    roster = init(workspace.backend, url, workspace.gpg, workspace.trust, writers, admins)
    present = roster.present()
    workspace.console.answer(
        f"made repository {roster.repository.hex()} at {url}\n\n{member_table(present)}\n"
    )
    workspace.console.say("This host trusts it already. Next, on every other host, as its writer or admin:\n")
    workspace.console.say(f"    {trust_command(url, roster)}\n")
    warn_of_one_admin(workspace.console, roster)
