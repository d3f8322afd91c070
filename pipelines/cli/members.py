"""Members of a repository, as `init`, `key` and `trust` show them."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipelines.reports.listing import table

if TYPE_CHECKING:
    from keys.roster import Member, Roster
    from pipelines.cli.console import Console


def member_table(members: "Sequence[Member]", user_ids: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the members as lines of text; `user_ids` has what GPG calls them, by fingerprint, where it is known."""
    return table(
        ("ROLE", "SINCE", "STATE", "FINGERPRINT", "DOMAIN", *(("USER ID",) if user_ids else ())),
        (
            (
                member.role,
                f"roster {member.added}",
                f"removed in roster {member.removed}" if member.removed else "member",
                member.fingerprint,
                "its own" if member.domain == member.fingerprint else member.domain,
                *((user_ids.get(member.fingerprint, ""),) if user_ids else ()),
            )
            for member in members
        ),
    )


def warn_of_one_admin(console: "Console", roster: "Roster") -> None:
    """Warn if everything depends on one admin's key."""
    if len(roster.present("admin")) == 1:
        console.warn(
            "there is one admin only; if that GPG key is lost, so is everything: dedup key add KEY --role admin"
        )


def sealing_hash(roster: "Roster") -> str:
    """Return the SHA-256 of the public key that contents are sealed to."""
    return hashlib.sha256(roster.epoch.sealing_key).hexdigest()


def trust_command(url: str, roster: "Roster") -> str:
    """Return the command by which another host gets to believe this repository."""
    admin = roster.present("admin")[0].fingerprint
    return f"dedup -r {shlex.quote(url)} trust accept --admin {admin}"
