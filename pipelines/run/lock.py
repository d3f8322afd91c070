"""One run at a time on a host.

Invariant: the kernel holds the lock, so it ends with the process that took it, however that ends: what the file still
holds never blocks a run.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dedupstore.errors import DedupError, StateError

NAME = "run.lock"


class RunningError(DedupError):
    """Another run is active on this host."""


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the lock of this state folder, which must exist.  Raises `RunningError`, or `StateError`."""
    path = folder / NAME
    try:
        # Programs that we start do not inherit it: one that stays behind must not block the next run.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateError(f"cannot open the lock {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunningError(
                f"another run is active: {_whose(descriptor)}",
                "wait for it, or end it with kill PID",
            ) from None
        except OSError as error:
            what = f"cannot lock {path}: {error.strerror}"
            raise StateError(what, "keep the state on a disk of this host (state_dir)") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {int(time.time())}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _whose(descriptor: int) -> str:
    fields = os.pread(descriptor, 100, 0).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return "it has just started"
    pid, since = map(int, fields)
    return f"process {pid}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(since))}"
