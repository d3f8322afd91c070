"""Files and trees out of a volume or a tar: into a folder, or as a new tar.

A first walk, over names alone, finds out what is chosen and what is in the way; the second copies.

Invariant: nothing is written before all that was asked for is found and nothing is in its way.  What is left out
then is reported by name, and counted.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from dedupstore.errors import DedupError, StreamError
from pipelines import text
from pipelines.formats.entries import Contents, Entries, Entry, Hole
from pipelines.output import new_tar
from pipelines.output.file_names import shown
from pipelines.output.new_tree import NewTree
from pipelines.output.safe_paths import LeftOutError, not_made
from pipelines.restore.browse import UpToDamage
from pipelines.restore.hard_links import Links
from pipelines.restore.neighbours import Neighbours

Walk = Callable[[], AbstractContextManager[Entries]]
"""Begins another walk over the same entries."""

Progress = Callable[[int], None]


class Choice:
    """The paths that were asked for, each with all below it; b"" is everything."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        self._paths = dict.fromkeys(paths)
        self._longest = max(map(len, paths), default=0)

    def __contains__(self, path: bytes, /) -> bool:
        return bool(self.chosen_by(path))

    def chosen_by(self, path: bytes) -> list[bytes]:
        """Return which of the paths chose this one: itself, and what it lies in."""
        found = [b""] if b"" in self._paths else []
        if len(path) > self._longest:
            path = path[: max(0, path.rfind(b"/", 0, self._longest + 1))]
        while path:
            if path in self._paths:
                found.append(path)
            path = path[: max(0, path.rfind(b"/"))]
        return found

    def unmet(self, met: set[bytes]) -> list[bytes]:
        """Return the paths that are not in `met`, but for that of everything."""
        return [path for path in self._paths if path and path not in met]


@dataclass
class Plan:
    """What the first walk found: how many bytes of files, and the damage at which it, or the second one, ended.

    `early`: the paths of files that are not chosen but by later names, hard links; and for each time that such a file
    is there, the name to make it under.
    """

    size: int = 0
    early: dict[bytes, list[bytes]] = field(default_factory=dict)
    damage: StreamError | None = None


class LeftOut:
    """Tells what is left out, and counts it."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self._count = 0

    def add(self, error: LeftOutError) -> None:
        """Warn of one entry."""
        self._count += 1
        self.warn(error.message)

    def close(self) -> None:
        """Raise `DedupError` if there was any."""
        if self._count:
            what = "1 entry was" if self._count == 1 else f"{self._count} entries were"
            raise DedupError(f"{what} left out; see above. Everything else was extracted")


def plan(walk: Walk, choice: Choice, tree: NewTree | None, neighbours: Neighbours) -> Plan:
    """Walk over the names.

    Raises `NotStoredError` for a path that is not there, `DedupError` if something is in the way in `tree`.
    """
    result = Plan()
    met: set[bytes] = set()
    obstacles: list[str] = []
    links = Links()
    early: dict[bytes, bytes] = {}  # names to make a file under before they come, and where it is then
    with walk() as found:
        entries = UpToDamage(found)
        for entry, _ in entries:
            neighbours.see(entry.path)
            if (file := links.see(entry)) is not None:
                if entry.path in choice and not file.is_early and file.made_as(choice) is None:
                    file.is_early = True
                    if (before := early.get(entry.path)) is not None:
                        result.early[before].remove(entry.path)  # the later one counts
                    early[entry.path] = file.origin
                    result.early.setdefault(file.origin, []).append(entry.path)
                links.add(file, entry.path)
            chosen_by = choice.chosen_by(entry.path)
            if not chosen_by:
                continue
            met.update(chosen_by)
            if entry.kind == "file":
                result.size += entry.size
            if tree is not None and len(obstacles) < 2 and (obstacle := _obstacle(tree, entry)):
                obstacles.append(obstacle)
    result.damage = entries.damage
    if unmet := choice.unmet(met):
        raise result.damage or neighbours.absent(unmet)
    if obstacles:
        more = ", and it is not the only one in the way" if len(obstacles) > 1 else ""
        raise DedupError(f"{obstacles[0]}{more}", "extract into an empty folder: -C FOLDER")
    return result


def _obstacle(tree: NewTree, entry: Entry) -> str:
    if not entry.path or entry.kind in ("mount", "other"):
        return ""
    try:
        return tree.obstacle(entry)
    except LeftOutError:  # reported when it is its turn
        return ""


class _Item(NamedTuple):
    """One entry to make: under which path, and what a link leads to; `lost` is a link to what is not made."""

    path: bytes
    target: bytes
    entry: Entry
    contents: Contents | None
    lost: bool = False


def _items(entries: Entries, choice: Choice, plan: Plan) -> Iterator[_Item]:
    """Yield what is to be made, in the order of the entries.

    A file of which only later names are chosen is made under the first of these.  What else comes under that name
    before it does is passed over: the later one counts.
    """
    links = Links()
    todo = {path: deque(names) for path, names in plan.early.items()}
    early: set[bytes] = set()  # names that are made before they come
    hidden: set[bytes] = set()  # paths of what was passed over
    for entry, contents in entries:
        path, file = entry.path, links.see(entry)
        if file is not None:
            made, mine = file.made_as(choice), todo.get(file.origin)
            if made is None and not file.is_early and mine and mine[0] == path:
                file.is_early = True
                early.discard(mine.popleft())
                made = path
            links.add(file, path)
            if path in early:
                hidden.add(path)
            elif path in choice:
                lost = made is None or (made != path and made in hidden | early)
                hidden.discard(path)
                yield _Item(path, made or entry.target, entry, contents, lost)
        elif path in early:
            hidden.add(path)
        elif path in choice:
            hidden.discard(path)
            yield _Item(path, entry.target, entry, contents)
        if entry.kind != "hardlink" and path not in choice and (names := todo.get(path)):
            early.add(names[0])
            yield _Item(names[0], entry.target, entry, contents)


def _lost(path: bytes, target: bytes) -> LeftOutError:
    return LeftOutError(
        f"{shown(path)} is left out: {shown(target)}, of which it is another name, was replaced by a later one"
    )


def to_tar(walk: Walk, choice: Choice, found: Plan, left_out: LeftOut) -> Iterator[bytes | memoryview]:
    """Yield a tar of what `plan` has found."""
    with walk() as opened:
        entries = UpToDamage(opened)
        for path, target, entry, contents, lost in _items(iter(entries), choice, found):
            try:
                if lost:
                    raise _lost(path, target)
                if entry.kind != "hardlink" or path != target:  # else it was made under this name
                    yield from new_tar.member(entry, path, target, contents)
            except LeftOutError as error:
                left_out.add(error)
    found.damage = found.damage or entries.damage
    yield new_tar.END


def to_folder(
    walk: Walk,
    choice: Choice,
    found: Plan,
    tree: NewTree,
    notes: "Notes",
    left_out: LeftOut,
    progress: Progress,
) -> None:
    """Make what `plan` has found in `tree`; what files cannot keep goes into `notes`.

    `progress` gets how many bytes are done.
    """
    done = 0

    def pieces(contents: Contents | None) -> Iterator[bytes | memoryview | Hole]:
        nonlocal done
        for piece in contents() if contents else ():
            yield piece
            done += len(piece)
            progress(done)

    with walk() as opened:
        entries = UpToDamage(opened)
        for path, target, entry, contents, lost in _items(iter(entries), choice, found):
            notes.add(entry)
            try:
                if lost:
                    raise _lost(path, target)
                if entry.kind == "dir":
                    if path:  # the folder that we extract into stays as it is
                        tree.folder(entry)
                elif entry.kind == "file":
                    tree.file(path, entry, pieces(contents))
                elif entry.kind == "symlink":
                    tree.symlink(path, entry)
                elif entry.kind == "hardlink":
                    tree.hardlink(path, target)
                elif entry.kind == "other":
                    raise not_made(path)
            except StreamError as error:  # within its contents; a stream that ends there says so again
                if found.damage is None:
                    left_out.add(LeftOutError(f"{shown(path)} is left out: {error.message}"))
            except LeftOutError as error:
                left_out.add(error)
    found.damage = found.damage or entries.damage
    for failure in tree.finish():
        left_out.add(failure)
    if tree.plain:
        left_out.warn("owners, permissions or dates could not all be set here")
    if tree.bare:
        left_out.warn(f"extended attributes or access lists were not kept: {text.count(tree.bare, 'file')}")


class Notes:
    """What plain files and folders cannot keep, as lines of text: access lists and mount points.

    A context manager, as it holds a temporary file.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed at our own end

    def __enter__(self) -> "Notes":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: Entry) -> None:
        """Note what there is to note of an entry."""
        lines = []
        if entry.kind == "mount":
            lines = [f"mount point {shown(entry.target)}"]
        elif entry.acl is not None:
            lines = entry.acl.text().split("\n")
        if lines:
            self._file.write("\n    ".join([shown(entry.path) or ".", *lines, ""]).rstrip(" ").encode())

    def save(self, tree: NewTree, name: str, title: str) -> str:
        """Save them in the tree's root, under that name or with a number added; return it, or "" for nothing."""
        if not self._file.tell():
            return ""
        self._file.seek(0)
        return tree.note(name, chain([f"# {title}\n".encode()], self._file))
