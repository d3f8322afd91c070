"""Which volumes are selected, by patterns of their names; also as expressions for `vos backupsys`.

Invariant: both select the same volumes.  `vos` takes POSIX basic regular expressions, after a `^`
(src/volser/vos.c, BackupSys).
"""

from collections.abc import Iterable, Sequence

from pipelines.config.patterns import wants
from pipelines.vos.listing import BACKUP, BACKUP_SUFFIX, READ_ONLY, Volume

_SPECIAL = ".[]*^$\\"


def select(volumes: Iterable[Volume], include: Sequence[str], exclude: Sequence[str]) -> list[Volume]:
    """Return the selected volumes, with their backup and read-only volumes.

    A volume whose name is unknown is included: it must not be lost silently.
    """
    suffixes = {BACKUP: BACKUP_SUFFIX, READ_ONLY: ".readonly"}
    return [
        volume
        for volume in volumes
        if not volume.name or wants(volume.name.removesuffix(suffixes.get(volume.type, "")), include, exclude)
    ]


def expression(pattern: str) -> str:
    """Return a shell pattern as a basic regular expression that matches whole names, and begins with `^`."""
    out, at = "^", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            out += ".*"
        elif character == "?":
            out += "."
        elif character == "[" and (end := _set_end(pattern, at)) >= 0:
            negated = pattern[at] == "!"
            inner = pattern[at + negated : end]
            if not negated and inner.startswith("^"):  # a plain character there, for a shell
                inner = inner[1:] + "^" if len(inner) > 1 else "^"
            out += f"[{'^' if negated else ''}{inner}]" if inner != "^" or negated else "\\^"
            at = end + 1
        else:
            out += f"\\{character}" if character in _SPECIAL else character
    return out + "$"


def _set_end(pattern: str, at: int) -> int:
    """Return where the `]` of a set is that begins before `at`, -1 if it has none."""
    at += pattern[at : at + 1] == "!"
    return pattern.find("]", at + 1)  # the first character may be `]` itself
