"""`dedup trust`: which repository this host believes."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dedupstore.errors import TrustError
from pipelines.cli.console import Console
from pipelines.cli.members import member_table, sealing_hash
from pipelines.cli.usage import FullHelpGroup
from pipelines.cli.workspace import Workspace

if TYPE_CHECKING:
    from keys.roster import Roster


@click.group(cls=FullHelpGroup)
def command() -> None:
    """Accept a repository on this host."""


@command.command()
@click.option("--admin", required=True, metavar="FINGERPRINT", help="An admin's full GPG fingerprint.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def accept(workspace: Workspace, admin: str, yes: bool) -> None:
    """Trust the repository that this admin's GPG key signed.

    Get the fingerprint from the admin, not from the storage. The host then remembers the repository's ID, its
    keys and its admins, and refuses a repository that was replaced or rolled back.
    """
    from dedupstore.state import heads

    url, console, trust = workspace.url, workspace.console, workspace.trust
    roster = trust.examine(workspace.backend, url, admin)
    known = trust.known(url)
    console.say(_describe(url, roster))
    if known not in (None, roster.repository.hex()):
        console.warn(f"this host knows another repository here, {known}; it will no longer trust that one")
    if not yes:
        _ask(console, url)
    trust.accept(url, roster)
    # The backups, too, are taken as they are now, even if this host saw newer ones before.
    heads.forget(trust.folder(roster.repository))
    console.answer(
        f"this host now trusts repository {roster.repository.hex()} at {url}, roster {roster.serial}\n"
    )
    here = workspace.gpg.secret_fingerprints()
    if not any(member.fingerprint in here for member in roster.present()):
        console.warn("none of your GPG keys is a member: ask an admin to run: dedup key add YOURKEY")


def _describe(url: str, roster: "Roster") -> str:
    return (
        f"repository   {roster.repository.hex()}\n"
        f"at           {url}\n"
        f"sealing key  {sealing_hash(roster)} (SHA-256)\n"
        f"roster       {roster.serial}, of {datetime.fromtimestamp(roster.time, UTC):%Y-%m-%d %H:%M} UTC\n\n"
        f"{member_table(roster.present())}"
    )


def _ask(console: Console, url: str) -> None:
    """Go on only if a human says so."""
    answer = console.confirm("Is that right?")
    if answer is None:
        raise TrustError(
            f"cannot ask whether {url} is right: there is no terminal",
            "check the values above, then add --yes",
        )
    if not answer:
        raise TrustError(f"the repository at {url} was not accepted")
