"""Which dates hold which version of a file: what `dedup find` shows.

Invariant: two dates are said to hold the same version only if everything that tells versions apart is equal: kind,
size, date of change, target, and in AFS vnode, uniquifier and data version.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Any, NamedTuple

from pipelines.formats.entries import Entry
from pipelines.output.file_names import exact, shown
from pipelines.reports.listing import iso, table
from pipelines.restore.browse import clock, row
from pipelines.streams import dates
from pipelines.streams.names import order
from pipelines.text import size


class Version(NamedTuple):
    """A version of a file, and the first and the last of `dates` snapshots in a row that hold it.

    `turn` is the number of the last one among the volume's snapshots.
    """

    volume: str
    entry: Entry
    first: dates.Dated
    last: dates.Dated
    dates: int
    turn: int


class Versions:
    """Collects versions, snapshot by snapshot; each volume's snapshots come in the order of their dates."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, bytes], list[Version]] = {}
        self._turns: dict[tuple[str, str], int] = {}

    def add(self, snapshot: dates.Dated, volume: str, entries: Iterable[Entry]) -> None:
        """Take in what a snapshot holds of a volume."""
        turn = self._turns[snapshot.domain, volume] = self._turns.get((snapshot.domain, volume), 0) + 1
        here = {entry.path: entry for entry in entries}  # of a tar's entries with one path the last counts
        for path, entry in here.items():
            versions = self._found.setdefault((snapshot.domain, volume, path), [])
            last = versions[-1] if versions else None
            if last is not None and last.turn == turn - 1 and _same(last.entry, entry):
                versions[-1] = last._replace(last=snapshot, dates=last.dates + 1, turn=turn)
            else:
                versions.append(Version(volume, entry, snapshot, snapshot, 1, turn))

    def all(self) -> list[Version]:
        """Return all versions by volume and path, each file's from the oldest to the newest."""
        keys = sorted(self._found, key=lambda key: (key[0], order(key[1]), key[2]))
        return [version for key in keys for version in self._found[key]]


def _same(one: Entry, other: Entry) -> bool:
    return (one.kind, one.size, one.mtime, one.target, one.ident) == (
        other.kind,
        other.size,
        other.mtime,
        other.target,
        other.ident,
    )


def matcher(pattern: str) -> Callable[[bytes], bool]:
    """Return what tells whether a path matches; without a slash, the pattern is of the last name alone.

    `*`, `?` and `[...]` are as in the shell, but match a slash, too.
    """
    match = re.compile(translate(pattern.strip("/"))).match
    if "/" in pattern.strip("/"):
        return lambda path: match(exact(path)) is not None
    return lambda path: match(exact(path[path.rfind(b"/") + 1 :])) is not None


def versions_table(versions: list[Version]) -> str:
    """Return the versions as lines for people."""
    return table(
        ("FIRST", "LAST", "DATES", "SIZE", "CHANGED", "VOLUME", "PATH"),
        (
            (
                f"{dates.local(version.first):%Y.%m.%dT%H:%M}",
                f"{dates.local(version.last):%Y.%m.%dT%H:%M}",
                str(version.dates),
                size(version.entry.size),
                clock(version.entry.mtime),
                version.volume,
                shown(version.entry.path) + ("/" if version.entry.kind == "dir" else ""),
            )
            for version in versions
        ),
        right=(2, 3),
    )


def versions_rows(versions: list[Version]) -> list[dict[str, Any]]:
    """Return the versions for JSON: dates in ISO 8601, otherwise as `browse.row`."""
    return [
        {
            "volume": version.volume,
            "host": version.last.host,
            "domain": version.last.domain,
            "first": iso(version.first),
            "last": iso(version.last),
            "dates": version.dates,
            **row(version.entry),
        }
        for version in versions
    ]
