"""Members of a repository, as `init`, `key` and `trust` show them."""

import hashlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.listing import table

if TYPE_CHECKING:
    from keys.roster import Member, Roster


def member_table(members: "Sequence[Member]") -> str:
    """Return the members as lines of text."""
    return table(
        ("ROLE", "SINCE", "STATE", "FINGERPRINT"),
        (
            (
                member.role,
                f"roster {member.added}",
                f"removed in roster {member.removed}" if member.removed else "member",
                member.fingerprint
                if member.domain == member.fingerprint
                else f"{member.fingerprint} (deduplicates in {member.domain})",
            )
            for member in members
        ),
    )


def sealing_hash(roster: "Roster") -> str:
    """Return the SHA-256 of the public key that contents are sealed to."""
    return hashlib.sha256(roster.epoch.sealing_key).hexdigest()


def trust_command(url: str, roster: "Roster") -> str:
    """Return the command by which another host gets to believe this repository."""
    admin = roster.present("admin")[0].fingerprint
    return f"dedup -r {shlex.quote(url)} trust accept --admin {admin}"
