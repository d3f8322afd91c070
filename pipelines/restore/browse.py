"""What is in a stored stream, by name: from the repository to entries, and the lines of `dedup ls`.

Invariant: looking fetches no contents.  An incremental dump shows as what the volume was at its date.
"""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dedupstore.errors import StreamError
from pipelines.formats.entries import Entries, Entry, Kind
from pipelines.output.file_names import exact, shown
from pipelines.restore.neighbours import Neighbours
from pipelines.streams.chains import Link

if TYPE_CHECKING:
    from dedupstore.repository import Repository

_LETTERS: dict[Kind, str] = {
    "file": "-",
    "dir": "d",
    "symlink": "l",
    "mount": "m",
    "hardlink": "h",
    "other": "?",
}
_ARROWS: dict[Kind, str] = {"symlink": " -> ", "mount": " -> ", "hardlink": " = "}
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59

Line = Callable[[Entry, bytes], str]
"""Shows an entry under the name that is given, without a line end."""


@contextmanager
def opened(
    repository: "Repository",
    links: list[Link],
    warn: Callable[[str], None] = lambda text: None,
    *,
    contents: bool = False,
) -> Iterator[Entries]:
    """Yield the entries of a chain of dumps (see `chains.chain`), or of a tar; `warn` gets what is odd in them.

    With `contents`, these are checked beforehand and may be asked for.  Raises `StreamError` for what has no
    entries or is damaged, and what `Repository.open_stream` raises.
    """
    kind = links[-1].stream.kind
    if kind not in ("afs", "tar"):
        raise StreamError(
            f"{links[-1]} is neither a volume dump nor a tar: it has no files inside",
            "give it back as it is: dedup get",
        )
    with ExitStack() as stack:
        streams = [stack.enter_context(repository.open_stream(*link, contents=contents)) for link in links]
        if kind == "afs":
            from pipelines.formats.afs import tree

            yield tree.entries(*streams)
        else:
            from pipelines.formats.tar import reader

            yield reader.entries(streams[0], lambda text: warn(f"{links[-1]}: {text}"))


class UpToDamage:
    """Entries up to where the stream is damaged; `damage` is then what is wrong there."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self.damage: StreamError | None = None

    def __iter__(self) -> Entries:
        try:
            yield from self._entries
        except StreamError as error:
            self.damage = error


def inner_path(text: str) -> bytes:
    """Return the path in a volume that somebody typed; b"" is everything.  Raises `ValueError`."""
    names = [name for name in os.fsencode(text).split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise ValueError(f"{shown(os.fsencode(text))}: inside a volume, no path has .. in it")
    return b"/".join(names)


def listing(entries: UpToDamage, path: bytes, line: Line, neighbours: Neighbours, *, deep: bool) -> list[str]:
    """Return the line of the file at `path`, or those of what is in that folder, sorted by name.

    With `deep`, everything below is shown too, each with its whole path.  Of several entries with one path
    the last counts.  Raises `NotStoredError` if there is nothing, and the damage if it may be behind that.
    """
    inside = path + b"/" if path else b""
    there = not path
    lines: dict[bytes, str] = {}
    implied: set[bytes] = set()  # folders of a tar that has no entries for them
    for entry, _ in entries:
        whole = entry.path
        neighbours.see(whole)
        if whole == path:
            there = True
            if entry.kind != "dir":
                lines[whole] = line(entry, whole)
        elif whole.startswith(inside):
            if deep:
                lines[whole] = line(entry, whole)
                continue
            name, below, _ = whole[len(inside) :].partition(b"/")
            if below:
                implied.add(name)
            else:
                lines[name] = line(entry, name)
    if not (there or lines or implied):
        if entries.damage is not None:
            raise entries.damage
        raise neighbours.absent([path])
    for name in implied - lines.keys():
        lines[name] = line(Entry(inside + name, "dir", 0o755, 0, 0, 0, 0), name)
    return [lines[name] for name in sorted(lines)]


def short_line(entry: Entry, name: bytes) -> str:
    """Show the name alone, folders with a slash."""
    return shown(name) + "/" if entry.kind == "dir" else shown(name)


def long_line(entry: Entry, name: bytes) -> str:
    """Show kind, permissions, owner, group, size in bytes, local date and name, much as `ls -l` does."""
    arrow = _ARROWS.get(entry.kind)
    target = f"{arrow}{shown(entry.target)}" if arrow else ""
    return (
        f"{_permissions(entry.kind, entry.mode)} {entry.owner:>7} {entry.group:>7} {entry.size:>12} "
        f"{clock(entry.mtime)} {shown(name)}{target}"
    )


@lru_cache(1024)
def _permissions(kind: Kind, mode: int) -> str:
    return _LETTERS[kind] + stat.filemode(mode)[1:]


def clock(seconds: int) -> str:
    """Return a date in this machine's zone, as `2026.11.01 03:15`."""
    return _clock(min(seconds, _LAST_SECOND) // 60)


@lru_cache(16384)
def _clock(minutes: int) -> str:
    try:
        return time.strftime("%Y.%m.%d %H:%M", time.localtime(60 * minutes))
    except (OverflowError, ValueError, OSError):
        return "?".rjust(16)


def json_line(entry: Entry, _: bytes) -> str:
    """Show the row as JSON."""
    return json.dumps(row(entry))


def row(entry: Entry) -> dict[str, Any]:
    """Return what JSON says of an entry: size in bytes, times in Unix seconds, mode as octal digits."""
    found: dict[str, Any] = {
        "path": exact(entry.path),
        "kind": entry.kind,
        "mode": f"{entry.mode:04o}",
        "owner": entry.owner,
        "group": entry.group,
        "size": entry.size,
        "mtime": entry.mtime,
    }
    if entry.target:
        found["target"] = exact(entry.target)
    if any(entry.ident):
        found["vnode"], found["uniquifier"], found["version"] = entry.ident
    if entry.acl is not None:
        found["acl"] = entry.acl.text().split("\n")
    return found
