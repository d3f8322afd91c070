"""The back end that keeps a repository in an SSH account, by SFTP.

Invariant: a name appears by one request of the server that refuses an existing target (SFTP 3's rename, which
OpenSSH makes of link and unlink; or a hard link, where the account may not rename), and only after every byte
was acknowledged, counted and, where the server can, synced to its disk.

The connection is made when it is first needed, and made again by the next call after it was lost.  All
threads share it: a login may cost a touch on a token, and providers count logins.
"""

import errno
import posixpath
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from dedupstore.backends.contract import (
    TEMPORARY_FOLDER,
    Buffer,
    Entry,
    check_folder,
    check_name,
    check_range,
    file_bytes,
    is_name,
    length_to_end,
    too_short,
)
from dedupstore.backends.explain import explained
from dedupstore.backends.ssh import SshChannel
from dedupstore.errors import AlreadyExistsError, BackendError, TransientError

if TYPE_CHECKING:
    from dedupstore.backends.sftp_session import Session


class SftpBackend:
    """A repository in the folder `path` of an account; a relative path starts where the login leads.

    A `user` or `port` of None is left to the user's ssh configuration.  `timeout` (seconds) is how long the
    server may be silent while an answer is due.  As in `LocalBackend`, the first `create` makes the folder
    itself, but nothing above it; files get mode 0600, folders 0700.
    """

    def __init__(
        self, host: str, user: str | None, port: int | None, path: str, *, timeout: float = 60.0
    ) -> None:
        self._host, self._user, self._port = host, user, port
        self._root = path
        self._timeout = timeout
        self._connecting = threading.Lock()
        self._session: Session | None = None
        self._closed = False
        self._may_rename = True

    @property
    def durable(self) -> bool:
        """Whether the server can sync files to its disk; connects to find out."""
        return self._connected().syncs

    def list(self, folder: str) -> Iterator[Entry]:
        """See `contract.Backend`."""
        path = self._path(check_folder(folder))
        entries = []
        session = self._connected()
        with explained("list", self._where(path)), suppress(FileNotFoundError):
            for item, attributes in session.list(path):
                name = f"{folder}/{item}" if folder else item
                if not is_name(name):
                    continue
                if attributes.size is None or attributes.mode is None:
                    raise BackendError(f"the server of {self._where(path)} lists files without their sizes")
                if stat.S_ISREG(attributes.mode):
                    entries.append(Entry(name, attributes.size))
        return iter(entries)

    def names(self, folder: str) -> Iterator[str]:
        """See `contract.Backend`."""
        return (entry.name for entry in self.list(folder))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See `contract.Backend`."""
        check_range(offset, length)
        path = self._path(check_name(name))
        where = self._where(path)
        session = self._connected()
        with explained("read", where):
            handle = session.open(path)
            try:
                if length is None:
                    length = length_to_end(where, _known(session.fstat(handle).size, where), offset)
                data = session.read(handle, offset, length)
            finally:
                with suppress(TransientError):
                    session.close_handle(handle)
        if len(data) != length:
            raise too_short(where, offset + len(data), offset + length)
        return data

    def create(self, name: str, data: Buffer) -> None:
        """See `contract.Backend`."""
        target = self._path(check_name(name))
        temporary = self._path(f"{TEMPORARY_FOLDER}/{secrets.token_hex(16)}")
        view = file_bytes(data)
        where = self._where(target)
        session = self._connected()
        with explained("write", where):
            # Not what decides, but it saves an upload that is repeated after its answer was lost; and where
            # the account may not remove, such an upload would stay for good.
            if _exists(session, target):
                raise self._taken(session, target)
            try:
                self._upload(session, temporary, view, where)
                self._publish(session, temporary, target)
            except BaseException as error:
                full = (
                    isinstance(error, OSError) and error.errno is None and self._is_full(session, len(view))
                )
                with suppress(OSError, TransientError):
                    session.remove(temporary)
                if full:
                    raise OSError(errno.ENOSPC, "the disk or the quota is full") from error
                if isinstance(error, FileNotFoundError):
                    raise TransientError(f"cannot write {where}: {temporary} went away meanwhile") from error
                raise

    def size(self, name: str) -> int:
        """See `contract.Backend`."""
        path = self._path(check_name(name))
        where = self._where(path)
        session = self._connected()
        with explained("look at", where):
            size, mode = session.stat(path)
        if mode is not None and not stat.S_ISREG(mode):
            raise BackendError(f"{where} is not a file; move it away")
        return _known(size, where)

    def close(self) -> None:
        """See `contract.Backend`."""
        with self._connecting:
            self._closed = True
            if self._session is not None:
                self._session.close()

    def _connected(self) -> "Session":
        with self._connecting:
            if self._closed:
                raise BackendError(f"the connection to {self._host} was closed")
            if self._session is None or not self._session.alive:
                self._session = self._connect()
            return self._session

    def _connect(self) -> "Session":
        try:
            channel = SshChannel(self._host, self._user, self._port, self._timeout)
            try:
                # ssh is connecting while this imports paramiko.
                from dedupstore.backends.sftp_requests import Requests
                from dedupstore.backends.sftp_session import Session

                return Session(Requests(channel, self._host, self._timeout))
            except BaseException:
                channel.close()
                raise
        except OSError as error:
            # Never for a caller to see: a temporary folder that is missing here is not a file missing there.
            raise BackendError(f"cannot connect to {self._host}: {error}") from error

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root

    def _where(self, path: str) -> str:
        return f"{self._host}:{path}"

    def _upload(self, session: "Session", temporary: str, view: memoryview, where: str) -> None:
        try:
            handle = session.create(temporary)
        except FileNotFoundError:
            self._make_folders(session, posixpath.dirname(temporary))
            handle = session.create(temporary)
        try:
            session.write(handle, view)
        except BaseException:
            with suppress(TransientError):
                session.close_handle(handle)
            raise
        size = session.finish(handle)
        if size != len(view):
            raise TransientError(f"cannot write {where}: the server has {size} of {len(view)} bytes")

    def _publish(self, session: "Session", temporary: str, target: str) -> None:
        try:
            self._name(session, temporary, target)
        except OSError as error:
            # SFTP has no word for "exists already", so look.
            if isinstance(error, FileNotFoundError) or not _exists(session, target):
                raise
            raise self._taken(session, target) from error
        _sync_folder(session, target)

    def _taken(self, session: "Session", target: str) -> AlreadyExistsError:
        # The caller may now rely on the other file, whose writer may not have come to its sync yet.
        _sync_folder(session, target)
        return AlreadyExistsError(f"{self._where(target)} exists already")

    def _name(self, session: "Session", temporary: str, target: str) -> None:
        """Give an uploaded file its name, by a rename or, if the account may not rename, by a hard link."""
        if self._may_rename:
            try:
                self._move(session, session.rename, temporary, target)
                return
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.ENOTSUP):
                    raise
        self._move(session, session.hard_link, temporary, target)
        self._may_rename = False
        with suppress(OSError):  # such an account may not remove either; the second name costs no space
            session.remove(temporary)

    def _move(
        self, session: "Session", move: Callable[[str, str], None], temporary: str, target: str
    ) -> None:
        try:
            move(temporary, target)
        except FileNotFoundError:
            self._make_folders(session, posixpath.dirname(target))
            move(temporary, target)

    def _make_folders(self, session: "Session", folder: str) -> None:
        """Make `folder` and what is missing between it and the root, each one durable if the server can."""
        step = self._root
        for part in ("", *posixpath.relpath(folder, step).split("/")):
            step = posixpath.join(step, part) if part else step
            try:
                session.make_folder(step)
            except FileNotFoundError as error:
                raise BackendError(
                    f"cannot make {self._where(step)}: the folder above it does not exist",
                    "correct the path or make that folder first",
                ) from error
            except OSError:
                if not _exists(session, step):
                    raise
            else:
                _sync_folder(session, step)

    def _is_full(self, session: "Session", needed: int) -> bool:
        """Whether "failure" can mean a full disk."""
        with suppress(OSError, TransientError):
            free = session.free_bytes(self._root)
            return free is not None and free < needed
        return False


def _exists(session: "Session", path: str) -> bool:
    try:
        session.stat(path)
    except FileNotFoundError:
        return False
    return True


def _sync_folder(session: "Session", path: str) -> None:
    """Make the name `path` durable; a server that will not open a folder must do so by itself."""
    if session.syncs:
        with suppress(OSError):
            session.sync_folder(posixpath.dirname(path) or ".")


def _known(size: int | None, where: str) -> int:
    if size is None:
        raise BackendError(f"the server does not tell the size of {where}")
    return size
