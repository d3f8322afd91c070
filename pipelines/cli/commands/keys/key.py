"""`dedup key`: who may write and read."""

from typing import TYPE_CHECKING, cast

import click

from dedupstore.errors import KeyAccessError
from pipelines.cli.members import member_table, sealing_hash, trust_command, warn_of_one_admin
from pipelines.cli.usage import FullHelpGroup
from pipelines.cli.workspace import Workspace
from pipelines.reports.listing import to_json
from pipelines.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keys.roster import Member, Role


@click.group(cls=FullHelpGroup)
def command() -> None:
    """Show and change who may write and read."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_keys(workspace: Workspace, as_json: bool) -> None:
    """Show the members, and those who were.

    With what GPG calls them, where their public keys are here. DOMAIN is where a member deduplicates.
    """
    roster = workspace.roster()
    user_ids = _user_ids(workspace, roster.members)
    if not as_json:
        workspace.console.answer(member_table(roster.members, user_ids))
        return
    answer = {
        "repository": roster.repository.hex(),
        "roster": roster.serial,
        "sealing_key_sha256": sealing_hash(roster),
        "members": [
            {
                "fingerprint": member.fingerprint,
                "user_id": user_ids.get(member.fingerprint),
                "role": member.role,
                "domain": member.domain,
                "added": member.added,
                "removed": member.removed or None,
            }
            for member in roster.members
        ],
    }
    workspace.console.answer(to_json(answer))


@command.command()
@click.argument("key", metavar="GPGKEY")
@click.option(
    "--role",
    type=click.Choice(["admin", "writer", "pruner", "reader"]),
    default="writer",
    show_default=True,
    help="What it may do.",
)
@click.option(
    "--domain", default="", metavar="NAME", help="Where it deduplicates; a new one of its own, if not given."
)
@click.pass_obj
def add(workspace: Workspace, key: str, role: str, domain: str) -> None:
    """Add a GPG key: a machine as writer, a colleague as admin.

    Writers that are given one DOMAIN share what they stored: that saves room, and each of them could then
    spoil the others' backups.
    """
    from keys import members

    url = workspace.url
    before = workspace.roster()
    arguments = (workspace.backend, url, before, workspace.gpg, workspace.trust, key)
    roster = members.add(*arguments, cast("Role", role), domain)
    newcomer = roster.members[-1]
    workspace.console.answer(f"{newcomer.fingerprint} is {role} now (roster {roster.serial})\n")
    if not domain and newcomer.domain != newcomer.fingerprint:
        workspace.console.say(
            f"Its domain is {newcomer.domain}, a new one: its backups share nothing with what was stored in\n"
            f"{newcomer.fingerprint} before, so the first of them stores everything again.\n"
        )
    workspace.console.say(f"Next, there:\n\n    {trust_command(url, roster)}\n")


@command.command()
@click.argument("key", metavar="GPGKEY")
@click.option("--yes", is_flag=True, help="Do not ask, even if it is an admin or a key of your own.")
@click.pass_obj
def remove(workspace: Workspace, key: str, yes: bool) -> None:
    """Remove a member, by fingerprint or user ID.

    Its backups stay listed. What removal does not undo is printed at the end.
    """
    from dedupstore.format import crypto
    from keys import members

    url = workspace.url
    before = workspace.roster()
    with workspace.repository(reading=False) as repository:
        leaving = members.find(before, workspace.gpg, key)
        members.refuse_last_admin(before, leaving)
        if not yes:
            _ask(workspace, leaving)
        repository.refuse_if_rolled_back()  # or its newest backups would be given up for good
        closing = repository.closing_of(crypto.signer_of(leaving.signing_key))
        arguments = (workspace.backend, url, before, workspace.gpg, workspace.trust, leaving.fingerprint)
        roster = members.remove(*arguments, closing)
    workspace.console.answer(
        f"removed {leaving.role} {_named(workspace, leaving)} (roster {roster.serial})\n"
    )
    if leaving.role == "admin":
        warn_of_one_admin(workspace.console, roster)
    can = (
        "read everything that was stored, and that will be"
        if leaving.role in ("admin", "reader")
        else "see names, dates and sizes of what was stored, and of what will be"
    )
    workspace.console.say(
        "What this does not undo: the holder of that key may have kept the repository's secrets, and with them\n"
        f"can still {can}, wherever the repository's files can be reached.\n"
        "Also revoke its SSH access to the storage. This version cannot change the repository's keys yet."
    )


def _ask(workspace: Workspace, leaving: "Member") -> None:
    """Go on only if a human confirms that an admin, or a key of this user's own, is to be removed."""
    name = _named(workspace, leaving)
    if leaving.fingerprint in workspace.gpg.secret_fingerprints():
        what = f"{name} is a key of your own: you could not use the repository with it any more"
    elif leaving.role == "admin":
        what = f"{name} is an admin, who could read and change everything here"
    else:
        return
    workspace.console.require_yes(what, "Remove it?", f"{name} was not removed")


def _named(workspace: Workspace, member: "Member") -> str:
    """Return a member's user ID, if it is known here, and the fingerprint."""
    user_id = _user_ids(workspace, [member]).get(member.fingerprint, "")
    return f"{safe(user_id)} ({member.fingerprint})" if user_id else member.fingerprint


def _user_ids(workspace: Workspace, members: "Iterable[Member]") -> dict[str, str]:
    """Return what the user's GPG calls the members; nothing if there is no GPG: the roster is shown without it."""
    try:
        return workspace.gpg.user_ids([member.fingerprint for member in members])
    except KeyAccessError as error:
        workspace.console.detail(str(error))
        return {}
