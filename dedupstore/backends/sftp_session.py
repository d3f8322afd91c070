"""The verbs of SFTP, as the functions of `os` have them.

Sources: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for the extensions named ...@openssh.com.

Invariant: no reply is believed before its kind and its length are checked.  What the server refuses is raised
as the functions of `os` do: FileNotFoundError, PermissionError, or an OSError without errno for SFTP's
unspecific "failure".  A lost connection is a TransientError.

paramiko is imported by this module and `sftp_requests` only, and these only while ssh is connecting: the
import takes a third of a second.
"""

import errno
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from paramiko import Message, SFTPAttributes
from paramiko import sftp as wire

from dedupstore.backends.contract import FILE_MODE
from dedupstore.backends.sftp_requests import Reply, Requests
from dedupstore.errors import BackendError, TransientError

_SMALL_REQUEST = 32 << 10  # what every server takes (draft, section 3)
_LARGE_REQUEST = 255 << 10  # OpenSSH's limit, and the fastest
_LIST_AHEAD = 4
_EOF = wire.SFTP_EOF.to_bytes(4, "big")


class Attributes(NamedTuple):
    """Size in bytes and `st_mode` of a file; None where the server does not tell."""

    size: int | None
    mode: int | None


class Session:
    """The verbs, over `requests`.  All of them may be called from several threads at once."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._ask = requests.ask
        self._read_size = self._write_size = _SMALL_REQUEST
        if "limits@openssh.com" in requests.extensions:
            body = _extended(self._ask(wire.CMD_EXTENDED, "limits@openssh.com"), 4 * 8)
            _, read, write, _ = struct.unpack_from(">4Q", body)
            # Zero means that nothing is promised.
            self._read_size = max(_SMALL_REQUEST, min(read, _LARGE_REQUEST))
            self._write_size = max(_SMALL_REQUEST, min(write, _LARGE_REQUEST))

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

    def open(self, path: str) -> bytes:
        """A handle for reading the file at `path`."""
        return _handle(self._ask(wire.CMD_OPEN, path, wire.SFTP_FLAG_READ, SFTPAttributes()))

    def create(self, path: str) -> bytes:
        """A handle for writing a new file (mode 0600); it is an error if `path` exists."""
        flags = wire.SFTP_FLAG_WRITE | wire.SFTP_FLAG_CREATE | wire.SFTP_FLAG_EXCL
        return _handle(self._ask(wire.CMD_OPEN, path, flags, _mode(FILE_MODE)))

    def close_handle(self, handle: bytes) -> None:
        """Close it without waiting for the answer: nothing depends on it."""
        self._ask(wire.CMD_CLOSE, handle)

    def read(self, handle: bytes, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, or fewer if the file ends before."""
        step, end = self._read_size, offset + length
        asked = [(at, min(step, end - at)) for at in range(offset, end, step)]
        replies = self._requests.pipeline(
            ((wire.CMD_READ, handle, wire.int64(at), n) for at, n in asked), step
        )
        parts: list[memoryview] = []
        for (at, wanted), reply in zip(asked, replies, strict=True):
            part = _data(reply, wanted)
            while part:  # a server may send less than was asked for
                parts.append(part)
                at, wanted = at + len(part), wanted - len(part)
                if not wanted:
                    break
                part = _data(self._ask(wire.CMD_READ, handle, wire.int64(at), wanted).result(), wanted)
            if wanted:
                break
        return b"".join(parts)

    def write(self, handle: bytes, data: memoryview) -> None:
        """Write `data` from the file's start on; every part is acknowledged when this returns."""
        step = self._write_size
        requests = (
            (wire.CMD_WRITE, handle, wire.int64(at), data[at : at + step]) for at in range(0, len(data), step)
        )
        for reply in self._requests.pipeline(requests, step):
            _check_status(reply)

    def finish(self, handle: bytes) -> int | None:
        """Sync a written file to the server's disk, if it can, and close it.  Returns the size it has now."""
        synced = self._fsync(handle)
        attributes = self._ask(wire.CMD_FSTAT, handle)
        closed = self._ask(wire.CMD_CLOSE, handle)
        for status in (*synced, closed):
            _check_status(status.result())
        return _attributes(attributes).size

    def sync_folder(self, path: str) -> None:
        """Sync the names in a folder to the server's disk, if it can.

        OpenSSH opens a folder as it does a file, and syncs whatever it has opened.
        """
        handle = self.open(path)
        synced = self._fsync(handle)
        self.close_handle(handle)
        for status in synced:
            _check_status(status.result())

    def stat(self, path: str) -> Attributes:
        """Size and mode of what is at `path`, links followed."""
        return _attributes(self._ask(wire.CMD_STAT, path))

    def fstat(self, handle: bytes) -> Attributes:
        """Size and mode of an open file."""
        return _attributes(self._ask(wire.CMD_FSTAT, handle))

    def make_folder(self, path: str) -> None:
        """Make one folder (mode 0700)."""
        _check_status(self._ask(wire.CMD_MKDIR, path, _mode(0o700)).result())

    def remove(self, path: str) -> None:
        """Remove a file."""
        _check_status(self._ask(wire.CMD_REMOVE, path).result())

    def rename(self, old: str, new: str) -> None:
        """Rename a file; an existing `new` is an error (draft, section 6.5)."""
        _check_status(self._ask(wire.CMD_RENAME, old, new).result())

    def hard_link(self, old: str, new: str) -> None:
        """Give a file a second name; an existing `new` is an error."""
        if "hardlink@openssh.com" not in self._requests.extensions:
            raise OSError(errno.ENOTSUP, "the server makes no hard links")
        _check_status(self._ask(wire.CMD_EXTENDED, "hardlink@openssh.com", old, new).result())

    def free_bytes(self, path: str) -> int | None:
        """Bytes that this account may still store around `path`; None if the server cannot tell."""
        if "statvfs@openssh.com" not in self._requests.extensions:
            return None
        body = _extended(self._ask(wire.CMD_EXTENDED, "statvfs@openssh.com", path), 11 * 8)
        _, unit, _, _, available, *_ = struct.unpack_from(">11Q", body)
        return int(unit * available)

    def list(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """The names in a folder and what they are."""
        handle = _handle(self._ask(wire.CMD_OPENDIR, path))
        asked: deque[Future[Reply]] = deque()
        try:
            while True:
                while len(asked) < _LIST_AHEAD:
                    asked.append(self._ask(wire.CMD_READDIR, handle))
                reply = asked.popleft().result()
                if _at_end(reply):
                    return
                yield from _names(reply)
        finally:
            self.close_handle(handle)

    def _fsync(self, handle: bytes) -> tuple[Future[Reply], ...]:
        return (self._ask(wire.CMD_EXTENDED, "fsync@openssh.com", handle),) if self.syncs else ()


def _mode(mode: int) -> SFTPAttributes:
    attributes = SFTPAttributes()
    attributes.st_mode = mode
    return attributes


def _expect(reply: Reply, kind: int, least: int) -> None:
    """Raise what an unexpected status says; BackendError if a reply is of another kind or too short."""
    if reply.kind == wire.CMD_STATUS != kind:
        _check_status(reply)
    if reply.kind != kind or len(reply.body) < least:
        raise BackendError("the sftp server gave an answer that does not fit the question")


def _check_status(reply: Reply) -> None:
    """Raise what a status says, unless it says OK."""
    _expect(reply, wire.CMD_STATUS, 4)
    fields = Message(reply.body)
    code, text = fields.get_int(), fields.get_binary()[:200].decode(errors="replace")
    if code == wire.SFTP_OK:
        return
    said = "the server says: " + ("".join(filter(str.isprintable, text)) or f"status {code}")
    if code in (wire.SFTP_NO_CONNECTION, wire.SFTP_CONNECTION_LOST):
        raise TransientError(said)
    number = {
        wire.SFTP_NO_SUCH_FILE: errno.ENOENT,
        wire.SFTP_PERMISSION_DENIED: errno.EACCES,
        wire.SFTP_OP_UNSUPPORTED: errno.ENOTSUP,
    }.get(code)
    raise OSError(number, said) if number else OSError(said)


def _at_end(reply: Reply) -> bool:
    return bool(reply.kind == wire.CMD_STATUS and reply.body[:4] == _EOF)


def _handle(reply: Future[Reply]) -> bytes:
    found = reply.result()
    _expect(found, wire.CMD_HANDLE, 4)
    return bytes(Message(found.body).get_binary())


def _extended(reply: Future[Reply], least: int) -> memoryview:
    found = reply.result()
    _expect(found, wire.CMD_EXTENDED_REPLY, least)
    return found.body


def _data(reply: Reply, most: int) -> memoryview:
    """The bytes of a read; none at the file's end."""
    if _at_end(reply):
        return reply.body[:0]
    _expect(reply, wire.CMD_DATA, 4)
    data = reply.body[4:]
    if int.from_bytes(reply.body[:4], "big") != len(data) or len(data) > most:
        raise BackendError("the sftp server sent another number of bytes than it says")
    return data


def _attributes(reply: Future[Reply]) -> Attributes:
    found = reply.result()
    _expect(found, wire.CMD_ATTRS, 4)
    return _next_attributes(Message(found.body))


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
            raise BackendError("the sftp server sent fewer names than it says")
        fields.get_binary()  # the line that `ls -l` would print
        yield name, _next_attributes(fields)
