"""A private folder of this host's own state: small files that appear whole, and locks.

Invariant: the folder belongs to this uid and no one else may enter it; a file in it is always one that was
written completely, even if power fails while it is replaced.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dedupstore.errors import StateError
from dedupstore.state import atomic


class StateFolder:
    """The state of one repository on this host, at `path` (made, mode 0700, if it is not there).

    Raises `StateError` if it cannot be made, belongs to another user, or lets others in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
        except OSError as error:
            raise _unusable(path, error) from None
        if status.st_uid != os.geteuid():
            raise StateError(
                f"the state folder {path} belongs to uid {status.st_uid}, not to you",
                "run as that user, or set DEDUP_STATE_DIR",
            )
        if status.st_mode & 0o077:
            raise StateError(f"other users may enter the state folder {path}", f"run: chmod 700 {path}")

    def folder(self, name: str) -> "StateFolder":
        """Return a folder within this one."""
        return StateFolder(self.path / name)

    def read(self, name: str) -> bytes | None:
        """Return the file's content, or None if there is no such file."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.path, error) from None

    def write(self, name: str, data: bytes) -> None:
        """Put the file there, whole and durable, in place of what was there before."""
        try:
            atomic.replace(self.path / name, data)
        except OSError as error:
            raise _unusable(self.path, error) from None

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the named lock; waits for another process, which the kernel frees when it ends."""
        try:
            descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def unusable(what: str, reason: str, number: int | None) -> StateError:
    """Return the error for a part of the state, with what to do; `number` is the system's, if it gave one."""
    hint = "make it writable, or set DEDUP_STATE_DIR to another folder"
    if number in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space: its disk or quota is full"
    return StateError(f"{what} cannot be used: {reason}", hint)


def _unusable(path: Path, error: OSError) -> StateError:
    return unusable(f"the state folder {path}", error.strerror or str(error), error.errno)
