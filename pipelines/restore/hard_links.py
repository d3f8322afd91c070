"""Hard links in a walk over entries: which file each is a name of.

Invariant: a link leads to what has the name of its target when the link comes; a name that comes again is another's.
Only files that have links are kept in memory.
"""

from typing import Protocol

from pipelines.formats.entries import Entry


class _Paths(Protocol):
    def __contains__(self, path: bytes, /) -> bool: ...


class LinkedFile:
    """A file with hard links: the path under which it came, and the names that it has by now."""

    def __init__(self, origin: bytes) -> None:
        self.origin = origin
        self.names = [origin]
        self.is_early = False

    def made_as(self, choice: _Paths) -> bytes | None:
        """Return a name that it has and that was chosen."""
        return next((name for name in self.names if name in choice), None)


class Links:
    """The hard links of a walk so far.  A link leads to what has the name of its target when it comes."""

    def __init__(self) -> None:
        self._files: dict[bytes, LinkedFile] = {}

    def see(self, entry: Entry) -> LinkedFile | None:
        """Take note of an entry: its name is no other's any more.  Return the file that a hard link leads to."""
        if entry.kind != "hardlink" or entry.target == entry.path:
            file = None
        else:
            file = self._files.setdefault(entry.target, LinkedFile(entry.target))
        if entry.target != entry.path and (before := self._files.pop(entry.path, None)):
            before.names.remove(entry.path)
        return file

    def add(self, file: LinkedFile, name: bytes) -> None:
        """Give a file one more name."""
        file.names.append(name)
        self._files[name] = file
