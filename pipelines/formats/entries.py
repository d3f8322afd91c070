"""What a stream holds, name by name, whatever its format: the rows that ls, find, diff and extract work on.

Invariant: nothing here is trusted.  Paths and targets are bytes from outside: they may hold anything, `..` too,
and code that writes files by them must check each.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pipelines.formats.acl import Acl

Kind = Literal["file", "dir", "symlink", "mount", "hardlink", "other"]


class Hole:
    """A piece of contents: so many zero bytes, which may become a hole in a file."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def zeros(self) -> Iterator[bytes]:
        """Yield the bytes."""
        for at in range(0, self._size, len(_ZEROS)):
            yield _ZEROS[: self._size - at]


NO_IDENT = (0, 0, 0)
_ZEROS = bytes(64 << 10)


class Entry(NamedTuple):
    """One name.

    `path` is relative, without a slash at either end; b"" is the root.  `mode` are the permission bits with
    setuid, setgid and sticky, `owner` and `group` numbers, `mtime` Unix seconds, `size` bytes.  `target` is the
    text of a symbolic link or an AFS mount point, or the path of which a hard link is another name.  `ident` is
    an AFS vnode's number, uniquifier and data version, `NO_IDENT` in a tar.  Of kind "other" are devices,
    pipes and what is unknown.  `nanoseconds` are those after the second `mtime`.  `attributes` are records of a
    tar's extended header: extended attributes and access lists of the file system.
    """

    path: bytes
    kind: Kind
    mode: int
    owner: int
    group: int
    mtime: int
    size: int
    target: bytes = b""
    ident: tuple[int, int, int] = NO_IDENT
    acl: "Acl | None" = None
    nanoseconds: int = 0
    attributes: tuple[tuple[bytes, bytes], ...] = ()


Contents = Callable[[], Iterator[bytes | memoryview | Hole]]
"""Yields a file's data; to be called before the next entry is asked for, or never: then nothing is fetched."""

Entries = Iterator[tuple[Entry, Contents | None]]
