"""Root's rights: what root may believe, and how they are given up for good.

Invariant: after `become` nothing in this process can get them back, and nothing is open that was open before the
program began, but the standard streams; what `trusted` accepts, nobody but root could
have written.
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
_MOST_LINKS = 40  # as the kernel has it


class PrivilegeError(DedupError):
    """Rights are missing, or could not be given up."""


def trusted(path: Path) -> None:
    """Check that only root could have written the file, or anything by which it is found.

    That is every folder and every link on the way: whoever may exchange one of them between this check and the
    use of the file, or before, gives root another file.  A folder in which everybody may write is well if it is
    sticky, as /tmp is.  Raises `PrivilegeError`.
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
        raise PrivilegeError(f"{path} cannot be checked: {error.strerror}") from None


def _way(path: Path) -> Iterator[Path]:
    """Give each folder, link and file by which the kernel finds the path; see path_resolution(7)."""
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
        raise PrivilegeError(f"there is no user {name!a}", "make it, or correct `user` in [run]") from None
    if account.pw_uid == 0 or account.pw_gid == 0:
        raise PrivilegeError(f"the user {name!a} has root's rights", "give an ordinary user in [run]")
    return account


def become(name: str) -> None:
    """Become that user, with its groups, home and a private umask, for good.  Needs root.

    The controlling terminal is given up, too; Ctrl-C still reaches us.  So is what whoever started us left open: it may
    be a file that only root can open.  Call it before the first thread is started:
    threads of C libraries would keep root's rights otherwise.  Raises `PrivilegeError` if anything of root is left.
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
    """Check that this process, which has become that user, can read the files that it is still to load.

    Python loads much of itself and of us when it is first needed.  Raises `PrivilegeError`.
    """
    for path in paths:
        if not os.access(path, os.R_OK):
            raise PrivilegeError(
                f"{name} cannot read {path}", "install dedup with a Python and in a folder that it can read"
            )


def _leave_terminal() -> None:
    """Give up root's terminal: what we could type there (TIOCSTI), root's shell would do."""
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
            with suppress(OSError):  # the one by which they were listed
                os.close(descriptor)


def _close_inherited() -> None:
    """Close what was open when the program began: Python marks all that it opens itself to be closed by execve(2)."""
    for descriptor in _descriptors():
        with suppress(OSError):
            if descriptor > _LAST_STREAM and os.get_inheritable(descriptor):
                os.close(descriptor)


def _descriptors() -> list[int]:
    """Return what is open; the highest number may be above a limit that was lowered since."""
    return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208


def _verify(account: pwd.struct_passwd) -> None:
    ids = (account.pw_uid,) * 3, (account.pw_gid,) * 3
    if (os.getresuid(), os.getresgid()) != ids or 0 in os.getgroups():
        raise PrivilegeError("some of root's ids are left after giving them up")
    for take_back in (os.setuid, os.setgid):
        try:
            take_back(0)
        except PermissionError:
            continue
        raise PrivilegeError("root's rights could be taken back after giving them up")
    # proc(5): what a process may do beyond its ids; all of it goes with the last id that was 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(("CapPrm:", "CapEff:", "CapAmb:")) and int(line.split()[1], 16):
            raise PrivilegeError("some of root's capabilities are left after giving them up")
