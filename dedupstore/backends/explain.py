"""Turn errors of the operating system and of SFTP servers into those of the contract.

Invariant: the message names the file by the place where an admin finds it, and ends in the original error.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from dedupstore.errors import BackendError, NoSpaceError, NotFoundError

_HINTS: dict[int | None, str] = {
    errno.EACCES: "check the owner and the permissions of the folders above it",
    errno.EPERM: "check the permissions of this account",
    errno.EROFS: "the file system is mounted read-only",
    errno.EIO: "check the disk and the system log",
    None: "SFTP gives no reason; check the quota and the server's log",
}


@contextmanager
def explained(doing: str, where: str) -> Iterator[None]:
    """Raise an OSError from within as NotFoundError, NoSpaceError or BackendError.

    `doing` is a verb and `where` the file: "cannot read /backup/config: Permission denied; ...".
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"cannot {doing} {where}: it does not exist") from error
    except OSError as error:
        message = f"cannot {doing} {where}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(message, "free some space or raise the quota, then run it again") from error
        raise BackendError(message, _HINTS.get(error.errno, "")) from error
