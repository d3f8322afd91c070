"""SFTP requests and their replies over one connection: many in flight, from many threads.

Source: draft-ietf-secsh-filexfer-02, the SFTP version 3 that OpenSSH speaks.  paramiko gives the packets and
their fields.

Invariant: every request is answered or failed in bounded time.  A thread of its own receives; when no whole answer
came for some time although one is due, a call takes longer than it may (`deadline`), or the stream ends, it ends the
connection, and all that wait get a TransientError.  A connection that has ended stays so.
"""

import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from dedupstore.backends.sftp.deadline import Deadlines, Patience
from dedupstore.backends.sftp.packets import Message, SFTPAttributes, wire
from dedupstore.backends.sftp.ssh import SshChannel, connection_error
from dedupstore.errors import BackendError, TransientError

_T = TypeVar("_T")

_VERSION = 3
_MAX_GREETING = 64 << 10
_MAX_PACKET = 1 << 20  # OpenSSH's client takes a quarter of that
_LOOK = 0.5  # seconds between two looks at the deadlines
_GOODBYE = 2.0  # seconds that ssh gets to end by itself


class Reply(NamedTuple):
    """The kind of a packet, and what follows the request's number in it."""

    kind: int
    body: memoryview


class Answer(Generic[_T]):
    """The result of a request in flight."""

    def __init__(self, reply: Future[Reply], decode: Callable[[Reply], _T]) -> None:
        self._reply, self._decode = reply, decode

    def get(self) -> _T:
        """Wait for it.  Raises what the server refused, or TransientError if the connection is lost."""
        return self._decode(self._reply.result())


class _Asked(NamedTuple):
    """A request without an answer yet: its future, and where the bytes of a read belong."""

    reply: Future[Reply]
    into: memoryview | None


class Requests:
    """The requests that go over `channel`, which it owns.  `host` is for messages.

    `extensions` has the names of the extensions that the server offers; `deadlines` those of the calls for which
    requests are made.

    Raises BackendError if the login is refused, TransientError if it may work later.
    """

    def __init__(self, channel: SshChannel, host: str, patience: Patience) -> None:
        self._channel = channel
        self._host = host
        self._patience = patience
        self.deadlines = Deadlines(patience)
        self._lock = threading.Lock()
        self._waiting: dict[int, _Asked] = {}
        self._number = 0
        self._heard = 0.0  # when the last packet came, by the monotonic clock
        self._ended: str | None = None
        try:
            self.extensions = self._greet()
        except TimeoutError as error:
            channel.close()
            raise connection_error(host, f"no answer for {patience.silent:.0f} s") from error
        except (OSError, EOFError, wire.SFTPError) as error:
            words = channel.close(_GOODBYE) or f"no greeting from its sftp server: {error}"
            raise connection_error(host, words) from error
        except BaseException:
            channel.close()
            raise
        self._receiver = threading.Thread(target=self._receive, name=f"sftp {host}", daemon=True)
        self._receiver.start()

    @property
    def alive(self) -> bool:
        """False once the connection is lost or closed."""
        return self._ended is None

    def close(self) -> None:
        """End the connection."""
        self._end("it was closed", _GOODBYE)
        self._receiver.join()

    def ask(
        self, kind: int, *fields: object, data: memoryview | None = None, into: memoryview | None = None
    ) -> Future[Reply]:
        """Send a request.  The future gives its reply, or raises TransientError.

        `data` is its last field: it is sent from where it lies.  The bytes that a read brings, up to as many
        as `into` has, are received there, and the reply's body is a view of them.
        """
        message = Message()
        reply: Future[Reply] = Future()
        with self._lock:
            if self._ended is not None:
                raise self._lost()
            if not self._waiting:
                self._heard = time.monotonic()  # with no request in flight, silence means nothing
            self._number = (self._number + 1) % (1 << 32)
            self._waiting[self._number] = _Asked(reply, into)
            message.add_int(self._number)
        for field in fields:
            _add(message, field)
        try:
            self._send(kind, message, data)
        except OSError as error:
            self._fail(error)
        except BaseException:
            self._end("a request was interrupted")  # half a packet may be out
            raise
        return reply

    def _send(self, kind: int, message: Message, data: memoryview | None = None) -> None:
        if data is None:
            body = message.asbytes()
            self._channel.send(struct.pack(">IB", 1 + len(body), kind) + body)
        else:
            message.add_int(len(data))
            body = message.asbytes()
            self._channel.send(struct.pack(">IB", 1 + len(body) + len(data), kind) + body, data)

    def _greet(self) -> frozenset[str]:
        """Agree on the version, and learn the extensions."""
        message = Message()
        message.add_int(_VERSION)
        self._send(wire.CMD_INIT, message)
        until = time.monotonic() + self._patience.silent

        def wait() -> None:
            if time.monotonic() > until:
                raise TimeoutError

        kind, version, length = self._receive_header(wait)
        if kind != wire.CMD_VERSION or version != _VERSION or length > _MAX_GREETING:
            raise wire.SFTPError("it does not speak SFTP version 3")
        fields = Message(self._receive_bytes(length, wait))
        names = set()
        while fields.get_remainder():
            names.add(fields.get_binary().decode(errors="replace"))
            fields.get_binary()  # the extension's own version
        return frozenset(names)

    def _receive(self) -> None:
        """Hand every reply to the thread that waits for it, until the connection ends.  Runs in its own thread."""
        looked = 0.0
        try:
            while True:
                kind, number, length = self._receive_header(self._check_time)
                now = time.monotonic()
                if now > looked + _LOOK:  # a server that never pauses leaves no other time for it
                    self.deadlines.check()
                    looked = now
                with self._lock:
                    self._heard = now + length / self._patience.rate  # until when the rest must have come
                    asked = self._waiting.get(number)
                if asked is None:
                    raise BackendError("it sent an answer to no request")
                reply = self._receive_reply(kind, length, asked.into)
                with self._lock:
                    # not before: if the connection ends meanwhile, this request fails, too
                    failed = self._waiting.pop(number, None) is None
                    self._heard = time.monotonic()
                if not failed:
                    asked.reply.set_result(reply)
                del asked, reply  # they hold a file's bytes, and the next answer may be long in coming
        except Exception as error:
            self._fail(error)

    def _receive_header(self, idle: Callable[[], None]) -> tuple[int, int, int]:
        """Return a packet's kind, the number that follows, and how many bytes come after both."""
        header = bytearray(9)
        self._channel.receive(memoryview(header), idle)
        length, kind, number = struct.unpack(">IBI", header)
        if not 5 <= length < _MAX_PACKET:
            raise wire.SFTPError(f"it does not speak SFTP: it sent {bytes(header)!r}")
        return kind, number, length - 5

    def _receive_bytes(self, length: int, idle: Callable[[], None]) -> bytearray:
        body = bytearray(length)
        self._channel.receive(memoryview(body), idle)
        return body

    def _receive_reply(self, kind: int, length: int, into: memoryview | None) -> Reply:
        if kind != wire.CMD_DATA or into is None:
            return Reply(kind, memoryview(self._receive_bytes(length, self._check_time)))
        count = int.from_bytes(self._receive_bytes(min(4, length), self._check_time), "big")
        if count != length - 4 or count > len(into):
            raise BackendError("it sent a wrong number of bytes")
        self._channel.receive(into[:count], self._check_time)
        return Reply(kind, into[:count])

    def _check_time(self) -> None:
        self.deadlines.check()
        with self._lock:
            silent = time.monotonic() - self._heard
            if self._ended is not None or (self._waiting and silent > self._patience.silent):
                raise TimeoutError(f"no answer for {silent:.0f} s")

    def _fail(self, error: Exception) -> None:
        if isinstance(error, (EOFError, ConnectionError)):
            self._end(None, _GOODBYE)  # ssh is about to end, and knows more
        else:
            self._end(str(error))

    def _end(self, reason: str | None, patience: float = 0.0) -> None:
        """End it, once; without a reason, ssh's last words are the reason."""
        with self._lock:
            if self._ended is not None:
                return
            self._ended = reason or "the server closed it"
            waiting, self._waiting = self._waiting, {}
        words = self._channel.close(patience)
        if reason is None and words:
            self._ended = words
        for asked in waiting.values():
            asked.reply.set_exception(self._lost())

    def _lost(self) -> TransientError:
        return TransientError(f"lost the connection to {self._host}: {self._ended}")


def _add(message: Message, field: object) -> None:
    """Put one field into a message in the form that its type stands for."""
    if isinstance(field, wire.int64):
        message.add_int64(field)
    elif isinstance(field, int):
        message.add_int(field)
    elif isinstance(field, SFTPAttributes):
        attributes: Any = field
        attributes._pack(message)
    else:
        message.add_string(field)  # type: ignore[arg-type,unused-ignore]
