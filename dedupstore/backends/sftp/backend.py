"""The back end that keeps a repository in an SSH account, by SFTP.

Invariant: what is read is all that was asked for, or an error.  `create` has the one for what is written, and
`pool` keeps the connection.
"""

import posixpath
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from dedupstore.backends.contract import (
    MAX_NAMES,
    Buffer,
    Entry,
    Properties,
    check_folder,
    check_name,
    check_range,
    file_bytes,
    length_to_end,
    too_short,
)
from dedupstore.backends.explain import explained
from dedupstore.backends.listing import Listing
from dedupstore.backends.sftp.create import Creator
from dedupstore.backends.sftp.deadline import Patience
from dedupstore.backends.sftp.pool import CHANNELS, Pool
from dedupstore.errors import BackendError, TransientError

if TYPE_CHECKING:
    from dedupstore.backends.sftp.session import SftpSession

_PATIENCE = Patience()
_UNKNOWN = 1 << 20  # bytes of a file that is read whole, before its size is known


class SftpBackend:
    """A repository in the folder `path` of an account; a relative path starts where the login leads.

    A `user` or `port` of None is left to the user's ssh configuration.  `most_names` is how many names a folder may
    have.  As in `LocalBackend`, the first `create` makes the folder itself, but nothing above it; files get mode
    0400 (`FILE_MODE`), folders 0700.
    """

    def __init__(
        self,
        host: str,
        user: str | None,
        port: int | None,
        path: str,
        *,
        patience: Patience = _PATIENCE,
        most_names: int = MAX_NAMES,
    ) -> None:
        self._host, self._user, self._port = host, user, port
        self._root = path
        self._most_names = most_names
        self._pool = Pool(host, user, port, patience)
        self._creator = Creator(host, path)

    @property
    def properties(self) -> Properties:
        """See `contract.Backend`."""
        return Properties(self._is_durable, parallel=CHANNELS, remote=True)

    def _is_durable(self) -> bool:
        """Ask whether the server can sync files and folders to its disk."""
        with self._pool.session() as session:
            return self._creator.durable(session)

    def list(self, folder: str) -> Iterator[Entry]:
        """See `contract.Backend`."""
        return self._look(folder).entries()

    def names(self, folder: str) -> Iterator[str]:
        """See `contract.Backend`."""
        return self._look(folder).names()

    def _look(self, folder: str) -> Listing:
        path = self._path(check_folder(folder))
        listing = Listing(folder, self._where(path), self._most_names)
        with (
            explained("list", self._where(path)),
            self._pool.session() as session,
            suppress(FileNotFoundError),
        ):
            for item, attributes in session.list(path):
                if not listing.wants(item):
                    continue
                if attributes.size is None or attributes.mode is None:
                    raise BackendError(f"the server of {self._where(path)} lists files without their sizes")
                if stat.S_ISREG(attributes.mode):
                    listing.add(item, attributes.size)
        return listing

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See `contract.Backend`."""
        check_range(offset, length)
        path = self._path(check_name(name))
        where = self._where(path)
        with (
            explained("read", where),
            self._pool.session(_UNKNOWN if length is None else length) as session,
        ):
            if length is not None:
                with session.handles.reading(path) as handle:
                    data = session.read(handle.get(), offset, length)
            else:
                data, length = _read_to_end(session, path, offset, where)
        if len(data) != length:
            raise too_short(where, offset + len(data), offset + length)
        return data

    def create(self, name: str, data: Buffer) -> None:
        """See `contract.Backend`."""
        target = self._path(check_name(name))
        view = file_bytes(data)
        with explained("write", self._where(target)), self._pool.session(len(view)) as session:
            self._creator.create(session, target, view)

    def size(self, name: str) -> int:
        """See `contract.Backend`."""
        path = self._path(check_name(name))
        where = self._where(path)
        with explained("get the size of", where), self._pool.session() as session:
            size, mode = session.stat(path).get()
        if mode is not None and not stat.S_ISREG(mode):
            raise BackendError(f"{where} is not a regular file; move it away")
        return _known(size, where)

    def close(self) -> None:
        """See `contract.Backend`."""
        self._pool.close()

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root

    def _where(self, path: str) -> str:
        return f"{self._host}:{path}"


def _read_to_end(session: "SftpSession", path: str, offset: int, where: str) -> tuple[bytes, int]:
    """Return the file's bytes from `offset` on, and how many they should be."""
    handle = session.open(path)
    try:
        # A file never changes, so its size may be asked by its name, while it is being opened.
        length = length_to_end(where, _known(session.stat(path).get().size, where), offset)
        session.allow(length)
        return session.read(handle.get(), offset, length), length
    finally:
        with suppress(OSError, TransientError):
            session.close_handle(handle.get())


def _known(size: int | None, where: str) -> int:
    if size is None:
        raise BackendError(f"the server does not report the size of {where}")
    return size
