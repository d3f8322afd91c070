"""Root's rights: which files root may trust, and how the rights are given up for good.

Invariant: after `become` nothing in this process can get them back, and of what was open before the program began,
only the standard streams are left.  What `trusted` accepts, only root could have written.
"""

import errno
import fcntl
import os
import pwd
import stat
import termios
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dedupstore.errors import DedupError
from pipelines.secrecy import keep_secret

_LAST_STREAM = 2
_MOST_LINKS = 40  # the kernel's limit


class PrivilegeError(DedupError):
    """Rights are missing, or cannot be given up."""


def trusted(path: Path) -> None:
    """Check that only root could have written the file, and every folder and link on its path.

    A user who can replace one of these, before or after this check, can give root another file.  A folder that all
    can write to is accepted if it is sticky, such as /tmp.  Raises `PrivilegeError`.
    """
    try:
        for part in _way(path):
            status = part.lstat()
            writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode)
            sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_uid != 0 or (writable and not sticky):
                raise PrivilegeError(
                    f"refused {path}: only root may have write permission on {part}",
                    f"chown -h root {part}; chmod go-w {part}",
                )
    except OSError as error:
        raise PrivilegeError(f"cannot check {path}: {error.strerror}") from None


def _way(path: Path) -> Iterator[Path]:
    """Yield each folder, link and file on the path, as the kernel resolves it; see path_resolution(7)."""
    at, links = Path("/"), 0
    left = list(reversed(path.absolute().parts[1:]))
    yield at
    while left:
        part = left.pop()
        if part == "..":
            at = at.parent
            continue
        at /= part
        yield at
        if at.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = at.readlink()
            at = Path("/") if target.is_absolute() else at.parent
            left += reversed(target.parts[target.is_absolute() :])


def user_of(name: str) -> pwd.struct_passwd:
    """Return the account of that name, which must not be root's.  Raises `PrivilegeError`."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise PrivilegeError(f"no such user: {name!a}", "create it, or correct `user` in [run]") from None
    if account.pw_uid == 0 or account.pw_gid == 0:
        raise PrivilegeError(
            f"the user {name!a} has root's rights", "set `user` in [run] to an ordinary user"
        )
    return account


def become(name: str) -> None:
    """Become that user, with its groups, home and a private umask, for good.  Needs root.

    The controlling terminal is given up as well; Ctrl-C still reaches us.  Inherited descriptors are closed: one may be
    of a file that only root can open.  Call it before the first thread is started: threads of C libraries would keep
    root's rights.  Raises `PrivilegeError` if any of root's rights is left.
    """
    account = user_of(name)
    _leave_terminal()
    _close_inherited()
    try:
        os.setgroups(os.getgrouplist(name, account.pw_gid))
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become {name}: {error.strerror}", "start it as root") from None
    _verify(account)
    keep_secret()  # which setresuid(2) may have undone
    os.environ.update(HOME=account.pw_dir, USER=name, LOGNAME=name)
    os.umask(0o077)


def can_read(name: str, paths: Iterable[str]) -> None:
    """Check that this process, which has become that user, can read the files that it will load.

    Python loads many modules, its own and ours, when they are first needed.  Raises `PrivilegeError`.
    """
    for path in paths:
        if not os.access(path, os.R_OK):
            raise PrivilegeError(
                f"{name} cannot read {path}", "install Python and dedup where this user can read them"
            )


def _leave_terminal() -> None:
    """Give up root's terminal: root's shell would run what we insert there (TIOCSTI)."""
    if os.getsid(0) == os.getpid():
        return  # there is no shell, and all of our session would get a SIGHUP
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return  # there is none
    try:
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    finally:
        os.close(terminal)


def close_all_but(keep: Container[int]) -> None:
    """Close all other descriptors."""
    for descriptor in _descriptors():
        if descriptor not in keep:
            with suppress(OSError):  # the one used to list them
                os.close(descriptor)


def _close_inherited() -> None:
    """Close what was open when the program began: what Python opens itself is marked to be closed by execve(2)."""
    for descriptor in _descriptors():
        with suppress(OSError):
            if descriptor > _LAST_STREAM and os.get_inheritable(descriptor):
                os.close(descriptor)


def _descriptors() -> list[int]:
    """Return the open descriptors; some may be above a limit that was lowered since."""
    return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208


def _verify(account: pwd.struct_passwd) -> None:
    ids = (account.pw_uid,) * 3, (account.pw_gid,) * 3
    if (os.getresuid(), os.getresgid()) != ids or 0 in os.getgroups():
        raise PrivilegeError("some of root's ids are still there after giving them up")
    for take_back in (os.setuid, os.setgid):
        try:
            take_back(0)
        except PermissionError:
            continue
        raise PrivilegeError("root's rights can be regained after giving them up")
    # proc(5): what a process may do beyond its ids; all of it goes with the last id that was 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(("CapPrm:", "CapEff:", "CapAmb:")) and int(line.split()[1], 16):
            raise PrivilegeError("some of root's capabilities are still there after giving them up")
