"""The sessions with one SSH account: one login, and several channels through it when many bytes move at once.

OpenSSH allows 2 MiB in flight in a channel, whatever the distance (channels.h, CHAN_SES_WINDOW_DEFAULT): at
100 ms there and back that is 20 MB/s.  The next channels go through the first ssh's connection and cost no
login, which may be a touch on a token and is counted by providers.

Invariant: no more than one login at a time, and no more than CHANNELS channels.  A channel is opened when it is
first needed, and again after it was lost; a server that refuses a second one is not asked again.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from dedupstore.backends.sftp.deadline import Patience
from dedupstore.backends.sftp.ssh import SshChannel, ssh_command
from dedupstore.backends.sftp.ssh_sharing import Sharing
from dedupstore.errors import BackendError

if TYPE_CHECKING:
    from dedupstore.backends.sftp.session import SftpSession

CHANNELS = 4
"""As many as fill a line of 80 MB/s at 100 ms; a server allows ten by default (MaxSessions)."""

_WINDOW = 2 << 20  # with fewer bytes on the way, one channel is as fast as several


class Pool:
    """The sessions with `host`.  A user or port of None is left to the user's ssh configuration."""

    def __init__(self, host: str, user: str | None, port: int | None, patience: Patience) -> None:
        self._host, self._user, self._port = host, user, port
        self._patience = patience
        self._connecting = threading.Lock()
        self._lock = threading.Lock()  # for what is below; never held while waiting for the server
        self._sharing: Sharing | None = None
        self._sessions: list[SftpSession] = []
        self._load: Counter[SftpSession] = Counter()  # bytes to be moved by the calls that are being answered
        self._opening = 0
        self._alone = False
        self._closed = False

    @contextmanager
    def session(self, size: int = 0) -> "Iterator[SftpSession]":
        """Yield a session for a call that moves `size` bytes; the first call logs in.

        Raises BackendError if the login is refused or the pool is closed, TransientError if it may work later.
        """
        session, load = self._take(size)
        if session is None:
            with self._connecting:
                session, load = self._take(size)
                if session is None:
                    session = self._log_in()
                    self._add(session, size)
        try:
            if load and load + size > _WINDOW and (another := self._open_another(session)):
                self._add(session, -size)
                self._add(another, size)
                session = another
            with session.call(size):
                yield session
        finally:
            self._add(session, -size)

    def close(self) -> None:
        """End all sessions.  The pool cannot be used afterwards."""
        with self._connecting:
            with self._lock:
                self._closed = True
                sessions, self._sessions = self._sessions, []
            # First those that go through the first one's connection, and all at once: each takes a round trip.
            closing = [threading.Thread(target=session.close) for session in sessions[1:]]
            for thread in closing:
                thread.start()
            for thread in closing:
                thread.join()
            for session in sessions[:1]:
                session.close()
            if self._sharing is not None:
                self._sharing.close()

    def _take(self, size: int) -> "tuple[SftpSession | None, int]":
        """Return the least busy session, if there is one, and its load so far; add `size` to that."""
        with self._lock:
            if self._closed:
                raise BackendError(f"the connection to {self._host} was closed")
            self._sessions = [session for session in self._sessions if session.alive]
            session = min(self._sessions, key=self._load.__getitem__, default=None)
            if session is None:
                return None, 0
            load = self._load[session]
            self._load[session] += size
            return session, load

    def _add(self, session: "SftpSession", size: int) -> None:
        with self._lock:
            self._load[session] += size
            if not self._load[session]:
                del self._load[session]

    def _log_in(self) -> "SftpSession":
        if self._sharing is not None:
            self._sharing.close()
        try:
            silent = self._patience.silent
            self._sharing = Sharing(ssh_command(self._host, self._user, self._port, silent), silent)
            session = self._connect(self._sharing.first, None)
        except OSError as error:
            # Never for a caller to see: a temporary folder that is missing here is not a file missing there.
            raise BackendError(f"cannot connect to {self._host}: {error}") from error
        with self._lock:
            self._alone = self._sharing.further is None
            self._sessions.append(session)
        return session

    def _open_another(self, first: "SftpSession") -> "SftpSession | None":
        """Open one more channel, unless there are enough or the server refuses."""
        with self._lock:
            sharing = self._sharing
            if (
                self._alone
                or sharing is None
                or sharing.further is None
                or len(self._sessions) + self._opening >= CHANNELS
            ):
                return None
            self._opening += 1
        session = None
        try:
            # the session that there is will do; if it has ended, the call itself fails
            with suppress(BackendError, OSError):
                session = self._connect(sharing.further, first)
        finally:
            with self._lock:
                self._opening -= 1
                self._alone = self._alone or session is None
                closed = self._closed
                if session is not None and not closed:
                    self._sessions.append(session)
        if session is not None and closed:
            session.close()
            return None
        return session

    def _connect(self, command: list[str], like: "SftpSession | None") -> "SftpSession":
        channel = SshChannel(command, self._patience.silent)
        try:
            # ssh is connecting while this imports what the others need not.
            from dedupstore.backends.sftp.requests import Requests
            from dedupstore.backends.sftp.session import SftpSession

            return SftpSession(Requests(channel, self._host, self._patience), like)
        except BaseException:
            channel.close()
            raise
