"""A new file in a folder that is open: whole under its name, or not there at all.

Invariant: what has the name already is replaced only if the caller says that it may be; the temporary file is gone
whatever happens, but for a kill.  It is locked (flock) as long as its writer lives, so that what a kill has left can
be told from what is being written.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from dedupstore.state import atomic
from pipelines.formats.entries import Hole
from pipelines.output import pipes

_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TEMPORARY = re.compile(r"\.dedup-[0-9a-f]{16}\.part")


def temporary_name() -> str:
    """Return a name that nothing has, by which `remove_left` knows what it may remove."""
    return f".dedup-{secrets.token_hex(8)}.part"


def open_temporary(name: bytes | Path, folder: int | None = None) -> int:
    """Make a file for its owner only, and hold it locked until the descriptor is closed.  Raises `OSError`."""
    while True:
        descriptor = atomic.open_new(name, folder=folder)
        with contextlib.suppress(OSError):  # a file system without locks, where nothing is removed either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # `remove_left` came between the two


def remove_left(folder: Path) -> int:
    """Remove the temporary files of writers that were killed; return how many.  Raises `OSError`."""
    removed = 0
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for path in left:
        with contextlib.suppress(OSError):  # locked, as its writer lives; or not ours; or gone
            descriptor = os.open(path, _OLD)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)  # noqa: PTH108 - it is a string
                removed += 1
            finally:
                os.close(descriptor)
    return removed


@contextlib.contextmanager
def begin(folder: int, name: bytes, *, replace: bool) -> Iterator[int]:
    """Yield the descriptor of a file that gets its name in `folder` when the `with` block ends well.

    Raises `FileExistsError` if there is such a name and it may not be replaced, and other `OSError`.
    """
    temporary = temporary_name().encode()
    descriptor = open_temporary(temporary, folder)
    try:
        yield descriptor
        if replace:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            atomic.name_new(temporary, name, folder)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)


def write(descriptor: int, pieces: Iterable[bytes | memoryview | Hole], target: str) -> None:
    """Write pieces to an empty file; holes stay holes.  Raises as `pipes.write_all` does; `OSError`."""
    size = 0
    for piece in pieces:
        if isinstance(piece, Hole):
            os.lseek(descriptor, len(piece), os.SEEK_CUR)
        else:
            pipes.write_all(descriptor, piece, target)
        size += len(piece)
    os.truncate(descriptor, size)
