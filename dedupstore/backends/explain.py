"""Turns what an operating system or an SFTP server said into the errors of the contract.

Invariant: the message names the file by the place where an admin finds it, and ends in what was said.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from dedupstore.errors import BackendError, NoSpaceError, NotFoundError

_HINTS: dict[int | None, str] = {
    errno.EACCES: "check the owner and the rights of the folders above it",
    errno.EPERM: "check what this account may do there",
    errno.EROFS: "the file system is mounted read-only",
    errno.EIO: "look at the disk and at the system log",
    None: "SFTP does not say why; the quota may be full, or the server's log may tell",
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
        said = f"cannot {doing} {where}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(said, "free some space or raise the quota, then run it again") from error
        raise BackendError(said, _HINTS.get(error.errno, "")) from error
