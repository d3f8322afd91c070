"""How a new file gets into an SSH account: uploaded under a temporary name, counted, synced, then named.

Invariant: the request that gives a file its name (SFTP 3's rename, which OpenSSH makes of link and unlink and
which refuses an existing target; or a hard link, where the account may not rename) is sent only after the
server has acknowledged every byte, reported the right size and, where it can, synced the file to its disk.
`create` returns only when the name and all new folders above it are synced too; where the server cannot do that
at all, the back end is not durable.  If a server that can sync fails once, that is an error: the file may not be there
tomorrow.

Whatever the connection does between any two requests, then, there is a file in `tmp`, or the whole file under
its name; and `create` has not returned unless it is there.  Three waits are left: for the handle, for
the end of the file, for the name.
"""

import errno
import posixpath
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, TypeVar

from dedupstore.backends.contract import temporary_name
from dedupstore.errors import AlreadyExistsError, BackendError, TransientError

if TYPE_CHECKING:
    from dedupstore.backends.sftp.requests import Answer
    from dedupstore.backends.sftp.session import SftpSession

_T = TypeVar("_T")

_STOPPING = 2.0  # seconds that a server gets to remove what was begun, when the program is asked to stop


class Creator:
    """Creates files in the folder `root` of an account; `host` is for messages.

    It learns whether the account may rename, and whether its folders can be synced.  Several threads may use it at
    once, over any sessions.
    """

    def __init__(self, host: str, root: str) -> None:
        self._host, self._root = host, root
        self._may_rename = True
        self._syncs_folders: bool | None = None  # not known yet

    def durable(self, session: "SftpSession") -> bool:
        """Return whether the server can sync files, and the folders of this account."""
        if session.syncs and self._syncs_folders is None:
            with ExitStack() as stack:
                root = _lent(session.open(self._root), session, stack)
                if isinstance(root, FileNotFoundError):
                    return True  # as far as can be known before there is anything
                self._syncs_folders = not _failures(_sync(session, root))
        return session.syncs and self._syncs_folders is not False

    def create(self, session: "SftpSession", target: str, view: memoryview) -> None:
        """Store `view` as the new file `target`, a path below the root, making the folders above it.

        Raises AlreadyExistsError, TransientError, or an OSError: ENOSPC if it does not fit.
        """
        temporary = posixpath.join(self._root, temporary_name())
        try:
            self._create(session, target, temporary, view)
        except BaseException as error:
            full = isinstance(error, OSError) and error.errno is None and self._is_full(session, len(view))
            if isinstance(error, Exception):
                _remove(session, temporary)
            else:  # the program is to stop: do not wait long for a server that no longer answers
                removing = threading.Thread(target=_remove, args=(session, temporary), daemon=True)
                removing.start()
                removing.join(_STOPPING)
            if full:
                raise OSError(errno.ENOSPC, "the disk or the quota is full") from error
            if isinstance(error, FileNotFoundError):
                where = self._where(target)
                raise TransientError(f"cannot write {where}: {temporary} was removed meanwhile") from error
            raise

    def _create(self, session: "SftpSession", target: str, temporary: str, view: memoryview) -> None:
        above = posixpath.dirname(target)
        with ExitStack() as borrowed, ExitStack() as writing:  # a server lends only so many handles
            # Whether the name is free is decided later; to look now saves an upload that is repeated after
            # its answer was lost, and would stay for good where the account may not remove.
            known, made, entered = session.stat(target), session.create(temporary), session.open(above)
            free = _outcome(known)
            file, folder = _lent(made, session, writing), _lent(entered, session, borrowed)
            if not isinstance(free, OSError):
                raise self._taken(session, target)
            if not isinstance(free, FileNotFoundError):
                raise free
            if isinstance(file, FileNotFoundError):
                self._make_folders(session, posixpath.dirname(temporary))
                file = _lent(session.create(temporary), session, writing)
            if isinstance(file, OSError):
                raise file
            making = _make_folder(session, above) if isinstance(folder, FileNotFoundError) else None
            asked = session.write(file, view)
            asked += session.sync(file)
            size = session.fstat(file)
            asked.append(session.close_handle(file))
            writing.pop_all()
            parent: bytes | OSError | None = None
            if making is not None:
                _outcome(making[0])  # perhaps another thread has made it
                parent, folder = (_lent(answer, session, borrowed) for answer in making[1:])
                if isinstance(folder, FileNotFoundError):
                    self._make_folders(session, above)
                    parent, folder = None, _lent(session.open(above), session, borrowed)
            named = _sync(session, parent)
            for answer in asked[-1:] + asked:  # the last one first: to be woken once
                answer.get()
            self._check_size(target, size.get().size, len(view))
            self._publish(session, temporary, target, folder)
            self._wait_for(session, named, above)

    def _check_size(self, target: str, size: int | None, expected: int) -> None:
        if size != expected:
            raise TransientError(
                f"cannot write {self._where(target)}: the server has {size} of {expected} bytes"
            )

    def _publish(
        self, session: "SftpSession", temporary: str, target: str, folder: bytes | OSError | None
    ) -> None:
        try:
            self._name(session, temporary, target, folder)
        except OSError as error:
            # SFTP has no word for "exists already", so look.
            if isinstance(error, FileNotFoundError) or not _exists(session, target):
                raise
            raise self._taken(session, target) from error

    def _taken(self, session: "SftpSession", target: str) -> AlreadyExistsError:
        # the caller may now rely on the other file, whose writer may not have synced it yet
        self._sync_folder(session, target)
        return AlreadyExistsError(f"{self._where(target)} exists already")

    def _name(
        self, session: "SftpSession", temporary: str, target: str, folder: bytes | OSError | None
    ) -> None:
        """Give an uploaded file its name, by a rename or, if the account may not rename, by a hard link."""
        if self._may_rename:
            try:
                self._move(session, session.rename, temporary, target, folder)
                return
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.ENOTSUP):
                    raise
        self._move(session, session.hard_link, temporary, target, folder)
        self._may_rename = False
        # not awaited: such an account may not remove either; the second name costs no space
        session.remove(temporary)

    def _move(
        self,
        session: "SftpSession",
        move: "Callable[[str, str], Answer[None]]",
        temporary: str,
        target: str,
        folder: bytes | OSError | None,
    ) -> None:
        """Move it, and sync the folder that is open as `folder`; or make the folder if it is not there."""
        moved, synced = move(temporary, target), _sync(session, folder)
        try:
            moved.get()
        except FileNotFoundError:
            self._make_folders(session, posixpath.dirname(target))
            move(temporary, target).get()
            self._sync_folder(session, target)
        else:
            self._wait_for(session, synced, target)

    def _make_folders(self, session: "SftpSession", folder: str) -> None:
        """Make `folder` and what is missing between it and the root, each one durable if the server can."""
        step = self._root
        for part in ("", *posixpath.relpath(folder, step).split("/")):
            step = posixpath.join(step, part) if part else step
            try:
                session.make_folder(step).get()
            except FileNotFoundError as error:
                raise BackendError(
                    f"cannot make {self._where(step)}: the folder above it does not exist",
                    "correct the path, or create that folder first",
                ) from error
            except OSError:
                if not _exists(session, step):
                    raise
                if not part:  # the repository was there before: what lies above it is not ours
                    continue
            # also what another process has made, and may not have synced yet
            self._sync_folder(session, step)

    def _sync_folder(self, session: "SftpSession", path: str) -> None:
        """Make the name `path` durable."""
        with ExitStack() as stack:
            if session.syncs:
                folder = _lent(session.open(posixpath.dirname(path) or "."), session, stack)
                self._wait_for(session, _sync(session, folder), path)

    def _wait_for(self, session: "SftpSession", synced: "list[Answer[None] | OSError]", path: str) -> None:
        """Wait until the name `path` is durable, where the server can do that.  Raises BackendError if it failed."""
        failed = _failures(synced)
        if not failed:
            if synced and self._syncs_folders is None:
                self._syncs_folders = True
        elif self.durable(session):
            raise BackendError(
                f"cannot write {self._where(path)}: its folder cannot be synced to the server's disk: {failed[0]}",
                "check that disk and the server's log",
            ) from failed[0]

    def _is_full(self, session: "SftpSession", needed: int) -> bool:
        """Return whether "failure" can mean a full disk."""
        with suppress(OSError, TransientError):
            free = session.free_bytes(self._root)
            return free is not None and free < needed
        return False

    def _where(self, path: str) -> str:
        return f"{self._host}:{path}"


def _outcome(answer: "Answer[_T]") -> _T | OSError:
    """Return the result or the error, for requests sent together: all answers must be awaited."""
    try:
        return answer.get()
    except OSError as error:
        return error


def _lent(answer: "Answer[bytes]", session: "SftpSession", stack: ExitStack) -> bytes | OSError:
    """Return the handle that was asked for, closed when `stack` ends."""
    handle = _outcome(answer)
    if isinstance(handle, bytes):

        def close(kind: type[BaseException] | None, *_: object) -> None:
            if kind is None or issubclass(kind, Exception):  # otherwise the connection's end closes it
                with suppress(TransientError):  # then it is closed; nothing depends on the answer
                    session.close_handle(handle)

        stack.push(close)
    return handle


def _remove(session: "SftpSession", path: str) -> None:
    with suppress(OSError, TransientError):
        session.remove(path).get()


def _make_folder(session: "SftpSession", folder: str) -> "tuple[Answer[None], Answer[bytes], Answer[bytes]]":
    """Begin to make a folder, and to open the one above it, and itself."""
    made = session.make_folder(folder)
    return made, session.open(posixpath.dirname(folder) or "."), session.open(folder)


def _exists(session: "SftpSession", path: str) -> bool:
    try:
        session.stat(path).get()
    except FileNotFoundError:
        return False
    return True


def _sync(session: "SftpSession", folder: bytes | OSError | None) -> "list[Answer[None] | OSError]":
    """Begin to make the names in an open folder durable; where it could not be opened, say why."""
    if folder is None or not session.syncs:
        return []
    return [folder] if isinstance(folder, OSError) else [*session.sync(folder)]


def _failures(synced: "list[Answer[None] | OSError]") -> list[OSError]:
    failed = []
    for each in synced:
        try:
            if isinstance(each, OSError):
                raise each
            each.get()
        except OSError as error:
            failed.append(error)
    return failed
