"""A plain file, read.

Invariant: the end is reported only if size and modification time are still those from before the first byte: what is
stored is the file as it was at one moment.  No link is followed.
"""

import errno
import io
import os
import pwd
import stat

from dedupstore.errors import StreamError
from pipelines import text

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not block us

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class PlainFile:
    """An open file; `size` is in bytes.  Raises `StreamError` if it cannot be opened, or is not a plain file."""

    def __init__(self, path: str) -> None:
        self._path = text.safe(path)
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            raise unreadable(path, error) from None
        try:
            self._first = os.fstat(descriptor)
            if not stat.S_ISREG(self._first.st_mode):
                raise StreamError(f"{self._path} is {kind(self._first.st_mode)}: only plain files are stored")
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            self._file = io.FileIO(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self.size = self._first.st_size
        self._read = 0

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._file.fileno()

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what fits; 0 at the end.  Raises `StreamError` if it cannot be read or has changed."""
        try:
            count = self._file.readinto(buffer) or 0
        except OSError as error:
            raise unreadable(self._path, error) from None
        self._read += count
        if count == 0:
            self._check_unchanged()
        return count

    def _check_unchanged(self) -> None:
        first, now = self._first, os.fstat(self._file.fileno())
        if (first.st_size, first.st_mtime_ns) == (now.st_size, now.st_mtime_ns) and self._read == now.st_size:
            return
        raise StreamError(
            f"{self._path} changed while it was read ({first.st_size} bytes before, {now.st_size} after)",
            "make its program write to an excluded name, and rename the file when it is complete",
        )

    def close(self) -> None:
        """Close it."""
        self._file.close()


def kind(mode: int) -> str:
    """Return what a file of this mode is, for messages."""
    return _KINDS.get(stat.S_IFMT(mode), "not a plain file")


def unreadable(path: str, error: OSError) -> StreamError:
    """Return the error for a file or folder that could not be opened or read."""
    name = text.safe(path)
    if error.errno in (errno.EACCES, errno.EPERM):
        who = _our_name()
        return StreamError(
            f"{who} may not read {name}",
            f"let {who} read it, and enter every folder above it: setfacl or chgrp",
        )
    if error.errno == errno.ENOENT:
        return StreamError(
            f"no such file: {name}",
            "check the program that writes it",
        )
    if error.errno == errno.ELOOP:
        return StreamError(f"{name} is a symbolic link: only plain files are stored")
    return StreamError(f"cannot read {name}: {error.strerror or error}")


def _our_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"the user {os.geteuid()}"
