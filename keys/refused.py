"""Roster files that gpg refused: each of them is judged once on this host, not by every command.

Invariant: a file is known by its SHA-256, and only what would be refused again is remembered, for as long as gpg is
the same.  This is a cache: losing it costs time only.
"""

from functools import cached_property
from pathlib import Path

import msgspec

from dedupstore.state.folder import StateFolder

_FILE = "refused.json"
_LIMIT = 4096
_LONGEST = 300


class _Stored(msgspec.Struct, frozen=True):
    gpg: str
    reasons: dict[str, str]  # by SHA-256 in hex


class Refused:
    """The refused rosters of one repository; in a state folder, or (None) for this process only."""

    def __init__(self, folder: StateFolder | None = None) -> None:
        self._folder = folder
        self._met: dict[str, str] = {}
        self._added = False

    def reason(self, digest: bytes) -> str | None:
        """Return why this file was refused, or None if it was not."""
        reason = self._met.get(digest.hex()) or self._stored.get(digest.hex())
        if reason:
            self._met[digest.hex()] = reason
        return reason

    def add(self, digest: bytes, reason: str) -> None:
        """Remember that this file was refused."""
        self._met[digest.hex()] = reason[:_LONGEST]
        self._added = True

    def save(self) -> None:
        """Store what was added, and what was asked for; the rest is not there any more."""
        if self._folder and self._added:
            kept = dict(list(self._met.items())[:_LIMIT])
            self._folder.write(_FILE, msgspec.json.encode(_Stored(_program(), kept)))
            self._added = False

    @cached_property
    def _stored(self) -> dict[str, str]:
        data = self._folder.read(_FILE) if self._folder else None
        try:
            stored = msgspec.json.decode(data or b"", type=_Stored)
        except (msgspec.MsgspecError, UnicodeError):
            return {}
        return stored.reasons if stored.gpg == _program() else {}


def _program() -> str:
    """Return what changes when gpg does: another version may know more."""
    import shutil  # only where something was refused: a start is to be quick

    path = shutil.which("gpg")
    if not path:
        return ""
    status = Path(path).stat()
    return f"{path} {status.st_mtime_ns} {status.st_size}"
