"""The files of a folder, collected in few bytes each, and never more than a folder may have.

Invariant: however many names the storage gives, it holds no more than MAX_LISTING bytes of names, and eight bytes
beside each of at most MAX_NAMES.
"""

from array import array
from collections.abc import Iterator

from dedupstore.backends.contract import MAX_LISTING, MAX_NAMES, Entry, is_name
from dedupstore.errors import BackendError

_TOGETHER = 4096  # names in one string


class Listing:
    """The files found in `folder`; `where` is for messages, `most` how many names it may have."""

    def __init__(self, folder: str, where: str, most: int = MAX_NAMES) -> None:
        self._prefix = f"{folder}/" if folder else ""
        self._where = where
        self._most = most
        self._room = MAX_LISTING
        self._count = 0
        self._full: list[str] = []  # names of _TOGETHER files each, divided by slashes, which no name has
        self._last: list[str] = []
        self._sizes = array("Q")

    def wants(self, name: str) -> bool:
        """Count a name in the folder, and return whether a file of a repository may have it.

        Raises BackendError if there are too many names.
        """
        self._count += 1
        if self._count > self._most:
            raise BackendError(
                f"cannot list {self._where}: it has more than {self._most} names",
                "check what fills it; a server that lists names without end is broken or hostile",
            )
        return "/" not in name and is_name(self._prefix + name)

    def add(self, name: str, size: int = 0) -> None:
        """Keep a file's name, which `wants` has approved, and its size."""
        self._room -= len(name) + 1
        if self._room < 0:
            raise BackendError(f"cannot list {self._where}: its names have more than {MAX_LISTING} bytes")
        self._last.append(name)
        self._sizes.append(size)
        if len(self._last) == _TOGETHER:
            self._full.append("/".join(self._last))
            self._last.clear()

    def names(self) -> Iterator[str]:
        """Yield the full names."""
        for together in self._full:
            for name in together.split("/"):
                yield self._prefix + name
        for name in self._last:
            yield self._prefix + name

    def entries(self) -> Iterator[Entry]:
        """Yield the files."""
        return map(Entry, self.names(), self._sizes)
