"""Several channels through one ssh: the first is the master of the others (ssh_config(5), ControlMaster).

Invariant: only the first ssh may log in.  Where the user's configuration shares connections already, it is left
to do so.
"""

import os
import re
import secrets
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from dedupstore.backends.sftp.ssh_settings import fast_ciphers, settings, with_options

_MAX_PATH = 80  # a socket's name has 108 bytes (unix(7)), and ssh adds some while it makes it
_PLAIN = re.compile(r"[A-Za-z0-9_./-]*")  # ssh would find something to replace in other paths


class Sharing:
    """The command lines of the `first` ssh and of each `further` one (None: there cannot be any).

    `command` is what `ssh_command` gives; `timeout` in seconds.
    """

    def __init__(self, command: list[str], timeout: float) -> None:
        self.first = command
        self.further: list[str] | None = None
        self._path: str | None = None
        chosen = settings(command, timeout)
        if not chosen:
            return
        # A channel that is refused must not become a login.
        further = with_options(command, "ProxyCommand=false")
        if chosen.get("controlpath", "none") != "none":
            self.further = further
            return
        first = self.first = with_options(command, *fast_ciphers(command, chosen, timeout))
        if path := _free_path():
            self._path = path
            self.first = with_options(first, "ControlMaster=yes", f"ControlPath={path}", "ControlPersist=no")
            self.further = with_options(further, "ControlMaster=no", f"ControlPath={path}")

    def close(self) -> None:
        """Remove what an ssh that was killed has left."""
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)


def _free_path() -> str | None:
    """Return a path for ssh's socket, out of reach of other users; None if there is none.

    The folder stays.  The socket goes with its ssh, also when this process is killed.
    """
    parents = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir())
    parent = next((parent for parent in parents if parent and _keeps_names(parent)), None)
    path = f"{parent}/dedup-{os.geteuid()}/{secrets.token_hex(8)}"
    if parent is None or len(path) > _MAX_PATH or not _PLAIN.fullmatch(path):
        return None
    folder = Path(path).parent
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        # ssh ends if it cannot make it, and a login would fail that needs no sharing.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(path)
        Path(path).unlink()
    except OSError:
        return None
    return path


def _keeps_names(folder: str) -> bool:
    """Return whether no other user can replace what this one makes in a folder.

    `su` leaves XDG_RUNTIME_DIR as it was: its owner could rename root's folder, and be the server to root's next ssh.
    """
    try:
        status = Path(folder).stat()
    except OSError:
        return False
    shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return status.st_uid in (0, os.geteuid()) and not shared
