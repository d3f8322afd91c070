"""New files and their names: whole or not there at all, even if power fails between any two lines.

Invariant: `replace` gives the name only to a file whose bytes are on the disk, and returns only when the name is, too;
`name_new` takes no name from another file.  New files are private to their owner, and no link is followed.

Two writers have their own way, for a reason: a server's disk is synced by requests (`backends.sftp.create`), and files
that a durable row must name before anyone reads them need no second name (`cache.hint_files`, `cache.column_files`).
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

_NO_LINKS = (
    errno.EPERM,
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.ENOSYS,
)  # what file systems without them answer
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_new(path: bytes | Path, mode: int = 0o600, folder: int | None = None) -> int:
    """Create a file and open it for writing; raise `FileExistsError` if the name is taken, even by a link."""
    return os.open(path, _NEW, mode, dir_fd=folder)


def write_new(path: Path, data: bytes | memoryview, mode: int = 0o600) -> None:
    """Create a file with these bytes, on the disk when this returns; its name is not."""
    descriptor = open_new(path, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Put a file there, whole and durable, in place of what was there before."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        write_new(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def name_new(temporary: bytes | Path, path: bytes | Path, folder: int | None = None) -> None:
    """Give a file its name; raise `FileExistsError` if the name is taken.

    The temporary name may stay, for the caller to remove.  Neither name is synced.
    """
    try:
        os.link(temporary, path, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # there are no hard links here (a FAT stick, say): take the name first, then replace what took it
        os.close(open_new(path, folder=folder))
        os.replace(temporary, path, src_dir_fd=folder, dst_dir_fd=folder)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
