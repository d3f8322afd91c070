"""The verbs of SFTP: each sends its request at once, and gives an `Answer` that may be waited for later.

Sources: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for the extensions named ...@openssh.com.

A server has to give requests for one file the results that they would have if each waited for the one before
(draft, section 6.1), and OpenSSH's does all in order: what does not depend on an answer costs no round trip.

Invariant: no reply is used before its kind and its length are checked.  What the server refuses is raised
as the functions of `os` do: FileNotFoundError, PermissionError, or an OSError without errno for SFTP's
unspecific "failure".  A lost connection is a TransientError.

This module and `requests` are only imported while ssh is connecting.
"""

import errno
import io
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from dedupstore.backends.contract import FILE_MODE
from dedupstore.backends.sftp.handles import Handles
from dedupstore.backends.sftp.packets import Message, SFTPAttributes, wire
from dedupstore.backends.sftp.requests import Answer, Reply, Requests
from dedupstore.errors import BackendError, TransientError

_SMALL_REQUEST = 32 << 10  # what every server takes (draft, section 3)
_LARGE_REQUEST = 255 << 10  # OpenSSH's limit, and the fastest
_IN_FLIGHT_BYTES = 4 << 20  # twice what OpenSSH lets be on the way in one channel
_IN_FLIGHT_REQUESTS = 96
_LIST_AHEAD = 4
_NAME_BYTES = 128  # what a name of a listing costs on the way, at least
_EOF = wire.SFTP_EOF.to_bytes(4, "big")


class Attributes(NamedTuple):
    """Size in bytes and `st_mode` of a file; None where the server does not say."""

    size: int | None
    mode: int | None


class _Limits(NamedTuple):
    """The most bytes in one request."""

    read: int = _SMALL_REQUEST
    write: int = _SMALL_REQUEST


class SftpSession:
    """The verbs, over `requests`.  All of them may be called from several threads at once.

    Its limits are those of `like`, a session with the same server, or else are asked for.  `handles` keeps files open
    that are read in parts; `call` and `allow` are those of `Deadlines`.
    """

    def __init__(self, requests: Requests, like: "SftpSession | None" = None) -> None:
        self._requests = requests
        self._ask = requests.ask
        self.call, self.allow = requests.deadlines.call, requests.deadlines.allow
        self._limits: Answer[_Limits] | None = None
        if like is not None:
            self._limits = like._limits
        elif "limits@openssh.com" in requests.extensions:
            # not awaited before many bytes are to be moved
            self._limits = Answer(self._ask(wire.CMD_EXTENDED, "limits@openssh.com"), _limits)
        self.handles = Handles(self.open, self.close_handle)

    @property
    def alive(self) -> bool:
        """False once the connection is lost or closed."""
        return self._requests.alive

    @property
    def syncs(self) -> bool:
        """Whether the server can sync a file to its disk."""
        return "fsync@openssh.com" in self._requests.extensions

    def close(self) -> None:
        """End the connection."""
        self._requests.close()

    def open(self, path: str) -> Answer[bytes]:
        """Open the file at `path` for reading; gives its handle.  OpenSSH opens a folder too, to be synced."""
        return Answer(self._ask(wire.CMD_OPEN, path, wire.SFTP_FLAG_READ, SFTPAttributes()), _handle)

    def create(self, path: str) -> Answer[bytes]:
        """Create a file (mode FILE_MODE) for writing; gives its handle, or an error if `path` exists."""
        flags = wire.SFTP_FLAG_WRITE | wire.SFTP_FLAG_CREATE | wire.SFTP_FLAG_EXCL
        return Answer(self._ask(wire.CMD_OPEN, path, flags, _mode(FILE_MODE)), _handle)

    def close_handle(self, handle: bytes) -> Answer[None]:
        """Close it."""
        return Answer(self._ask(wire.CMD_CLOSE, handle), _check_status)

    def read(self, handle: bytes, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset`, or fewer if the file ends before; waits for them."""
        file = io.BytesIO()  # gives its bytes away without copying them, once no view of them is left
        if length:
            file.seek(length - 1)
            file.write(b"\0")
        count = self._read_into(handle, offset, file.getbuffer())
        return file.getvalue() if count == length else file.getvalue()[:count]

    def _read_into(self, handle: bytes, offset: int, view: memoryview) -> int:
        """Fill `view` as far as the file goes; return how many bytes that were."""
        step = self._limits_for(len(view)).read
        depth = _depth(step)
        asked: deque[tuple[int, Future[Reply]]] = deque()

        def ask(at: int, end: int) -> Future[Reply]:
            into = view[at:end]
            return self._ask(wire.CMD_READ, handle, wire.int64(offset + at), len(into), into=into)

        count = at = 0
        while count < len(view):
            while at < len(view) and len(asked) < depth:
                asked.append((min(at + step, len(view)), ask(at, at + step)))
                at += step
            many = len(asked) if at >= len(view) else _woken_for(depth)
            asked[many - 1][1].result()
            for end, reply in [asked.popleft() for _ in range(many)]:
                count += _count(reply.result())
                while count < end:  # a server may send less than was asked for
                    more = _count(ask(count, end).result())
                    if not more:
                        return count
                    count += more
        return count

    def _limits_for(self, size: int) -> _Limits:
        return self._limits.get() if self._limits and size > _SMALL_REQUEST else _Limits()

    def write(self, handle: bytes, data: memoryview) -> list[Answer[None]]:
        """Send `data`, for the file's start on.  Returns the answers that are still to come."""
        step = self._limits_for(len(data)).write
        depth = _depth(step)
        asked: deque[Answer[None]] = deque()
        for at in range(0, len(data), step):
            if len(asked) == depth:
                asked[_woken_for(depth) - 1].get()
                for _ in range(_woken_for(depth)):
                    asked.popleft().get()
            request = self._ask(wire.CMD_WRITE, handle, wire.int64(at), data=data[at : at + step])
            asked.append(Answer(request, _check_status))
        return [*asked]

    def sync(self, handle: bytes) -> list[Answer[None]]:
        """Sync an open file or folder to the server's disk; gives no answers if the server cannot."""
        if not self.syncs:
            return []
        return [Answer(self._ask(wire.CMD_EXTENDED, "fsync@openssh.com", handle), _check_status)]

    def stat(self, path: str) -> Answer[Attributes]:
        """Get size and mode of what is at `path`, links followed."""
        return Answer(self._ask(wire.CMD_STAT, path), _attributes)

    def fstat(self, handle: bytes) -> Answer[Attributes]:
        """Get size and mode of an open file."""
        return Answer(self._ask(wire.CMD_FSTAT, handle), _attributes)

    def make_folder(self, path: str) -> Answer[None]:
        """Make one folder (mode 0700)."""
        return Answer(self._ask(wire.CMD_MKDIR, path, _mode(0o700)), _check_status)

    def remove(self, path: str) -> Answer[None]:
        """Remove a file."""
        return Answer(self._ask(wire.CMD_REMOVE, path), _check_status)

    def rename(self, old: str, new: str) -> Answer[None]:
        """Rename a file; an existing `new` is an error (draft, section 6.5)."""
        return Answer(self._ask(wire.CMD_RENAME, old, new), _check_status)

    def hard_link(self, old: str, new: str) -> Answer[None]:
        """Give a file a second name; an existing `new` is an error."""
        if "hardlink@openssh.com" not in self._requests.extensions:
            raise OSError(errno.ENOTSUP, "the server has no hard links")
        return Answer(self._ask(wire.CMD_EXTENDED, "hardlink@openssh.com", old, new), _check_status)

    def free_bytes(self, path: str) -> int | None:
        """Return the free bytes that this account may use at `path`; None if the server cannot tell."""
        if "statvfs@openssh.com" not in self._requests.extensions:
            return None
        body = _extended(self._ask(wire.CMD_EXTENDED, "statvfs@openssh.com", path).result(), 11 * 8)
        _, unit, _, _, available, *_ = struct.unpack_from(">11Q", body)
        return int(unit * available)

    def list(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """Yield the names in a folder, and their attributes."""
        handle = _handle(self._ask(wire.CMD_OPENDIR, path).result())
        asked: deque[Future[Reply]] = deque()
        try:
            while True:
                while len(asked) < _LIST_AHEAD:
                    asked.append(self._ask(wire.CMD_READDIR, handle))
                reply = asked.popleft().result()
                if _at_end(reply):
                    return
                yield from _names(reply)
                self.allow(_NAME_BYTES * int.from_bytes(reply.body[:4], "big"))
        finally:
            self.close_handle(handle)


def _limits(reply: Reply) -> _Limits:
    _, read, write, _ = struct.unpack_from(">4Q", _extended(reply, 4 * 8))
    # Zero means that nothing is promised.
    return _Limits(*(max(_SMALL_REQUEST, min(size, _LARGE_REQUEST)) for size in (read, write)))


def _depth(size: int) -> int:
    """Return how many requests that move `size` bytes each in flight pay off."""
    return min(_IN_FLIGHT_REQUESTS, max(1, _IN_FLIGHT_BYTES // size))


def _woken_for(depth: int) -> int:
    """Return for how many replies to wait at once, with so many requests in flight.

    Replies come one after the other.  To wake a thread for each costs more than what it does with it.
    """
    return max(1, depth // 4)


def _mode(mode: int) -> SFTPAttributes:
    attributes = SFTPAttributes()
    attributes.st_mode = mode
    return attributes


def _expect(reply: Reply, kind: int, least: int) -> None:
    """Raise what an unexpected status says; BackendError if a reply is of another kind or too short."""
    if reply.kind == wire.CMD_STATUS != kind:
        _check_status(reply)
    if reply.kind != kind or len(reply.body) < least:
        raise BackendError("the sftp server sent an answer that does not match the request")


def _check_status(reply: Reply) -> None:
    """Raise the error that a status stands for, unless it is OK."""
    _expect(reply, wire.CMD_STATUS, 4)
    fields = Message(reply.body)
    code, text = fields.get_int(), fields.get_binary()[:200].decode(errors="replace")
    if code == wire.SFTP_OK:
        return
    message = "the server says: " + ("".join(filter(str.isprintable, text)) or f"status {code}")
    if code in (wire.SFTP_NO_CONNECTION, wire.SFTP_CONNECTION_LOST):
        raise TransientError(message)
    number = {
        wire.SFTP_NO_SUCH_FILE: errno.ENOENT,
        wire.SFTP_PERMISSION_DENIED: errno.EACCES,
        wire.SFTP_OP_UNSUPPORTED: errno.ENOTSUP,
    }.get(code)
    raise OSError(number, message) if number else OSError(message)


def _at_end(reply: Reply) -> bool:
    return bool(reply.kind == wire.CMD_STATUS and reply.body[:4] == _EOF)


def _handle(reply: Reply) -> bytes:
    _expect(reply, wire.CMD_HANDLE, 4)
    return bytes(Message(reply.body).get_binary())


def _extended(reply: Reply, least: int) -> memoryview:
    _expect(reply, wire.CMD_EXTENDED_REPLY, least)
    return reply.body


def _count(reply: Reply) -> int:
    """Return how many bytes a read gave; 0 at the file's end."""
    if _at_end(reply):
        return 0
    _expect(reply, wire.CMD_DATA, 0)
    return len(reply.body)


def _attributes(reply: Reply) -> Attributes:
    _expect(reply, wire.CMD_ATTRS, 4)
    return _next_attributes(Message(reply.body))


def _next_attributes(fields: Message) -> Attributes:
    parser: Any = SFTPAttributes
    attributes = parser._from_msg(fields)
    return Attributes(attributes.st_size, attributes.st_mode)


def _names(reply: Reply) -> Iterator[tuple[str, Attributes]]:
    _expect(reply, wire.CMD_NAME, 4)
    fields = Message(reply.body)
    for _ in range(fields.get_int()):
        name = fields.get_binary().decode(errors="replace")
        if not name:  # paramiko reads nothing from where nothing is
            raise BackendError("the sftp server sent fewer names than announced")
        fields.get_binary()  # the line that `ls -l` would print
        yield name, _next_attributes(fields)
