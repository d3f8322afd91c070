"""What changed in a volume from one date to another: what `dedup diff` shows.

Invariant: whatever differs of a path is named, but for what merely follows from the names in a folder: its size
and date.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pipelines.formats.entries import NO_IDENT, Entry
from pipelines.output.file_names import shown
from pipelines.restore.browse import row
from pipelines.text import size

Change = Literal["added", "removed", "changed"]
_SIGNS: dict[Change, str] = {"added": "+", "removed": "-", "changed": "~"}


class Difference(NamedTuple):
    """One path: as it was, as it is, and what differs."""

    change: Change
    old: Entry | None
    new: Entry | None
    what: tuple[str, ...] = ()

    @property
    def path(self) -> bytes:
        """Return whose difference it is."""
        entry = self.new or self.old
        return entry.path if entry else b""


def differences(old: Iterable[Entry], new: Iterable[Entry]) -> list[Difference]:
    """Return what differs, by path.  Of several entries with one path the last counts."""
    before = {entry.path: entry for entry in old}
    after = {entry.path: entry for entry in new}
    found: list[Difference] = []
    for path, entry in after.items():
        was = before.get(path)
        if was is None:
            found.append(Difference("added", None, entry))
        elif was != entry and (what := tuple(_what(was, entry))):
            found.append(Difference("changed", was, entry, what))
    found += [Difference("removed", entry, None) for path, entry in before.items() if path not in after]
    return sorted(found, key=lambda one: one.path)


def _what(old: Entry, new: Entry) -> Iterator[str]:
    if old.kind != new.kind:
        yield "kind"
    elif new.kind in ("file", "hardlink"):
        if (old.size, old.ident, old.target) != (new.size, new.ident, new.target):
            yield "contents"
        elif old.mtime != new.mtime:
            yield "contents" if new.ident == NO_IDENT else "date"
    elif new.kind != "dir" and old.target != new.target:
        yield "target"
    if old.mode != new.mode:
        yield "mode"
    if (old.owner, old.group) != (new.owner, new.group):
        yield "owner"
    if old.acl != new.acl:
        yield "access list"


def difference_line(one: Difference) -> str:
    """Return a line for people."""
    entry = one.new or one.old
    name = shown(one.path) + ("/" if entry is not None and entry.kind == "dir" else "")
    if one.old is not None and one.new is not None:
        grown = size(one.new.size)
        if one.old.size != one.new.size and "contents" in one.what:
            grown = f"{size(one.old.size)} -> {grown}"
        return f"{_SIGNS[one.change]} {grown:>20}  {name} ({', '.join(one.what)})"
    return f"{_SIGNS[one.change]} {size(entry.size if entry else 0):>20}  {name}"


def difference_row(one: Difference) -> dict[str, Any]:
    """Return a difference for JSON; entries are as in `browse.row`."""
    found: dict[str, Any] = {"change": one.change}
    if one.what:
        found["what"] = list(one.what)
    if one.old is not None:
        found["old"] = row(one.old)
    if one.new is not None:
        found["new"] = row(one.new)
    return found
