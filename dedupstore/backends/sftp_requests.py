"""SFTP requests and their replies over one connection: many in flight, for many threads at once.

Source: draft-ietf-secsh-filexfer-02, the SFTP version 3 that OpenSSH speaks.  paramiko gives the packets and
their fields.

Invariant: every request is answered or failed in bounded time.  A thread of its own receives; when nothing
was heard for `timeout` seconds although an answer is due, or the stream ends, it ends the connection, and
all that wait get a TransientError.  A connection that has ended stays so.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, cast

from paramiko import Message, SFTPAttributes
from paramiko import sftp as wire

from dedupstore.backends.ssh import SshChannel, connection_error
from dedupstore.errors import BackendError, TransientError

_VERSION = 3
_MAX_GREETING = 64 << 10
_IN_FLIGHT_BYTES = 4 << 20
_IN_FLIGHT_REQUESTS = 64
_GOODBYE = 2.0  # seconds that ssh gets to end by itself
_TICK = 0.5  # seconds between two looks at the clock


class Reply(NamedTuple):
    """The kind of a packet, and what follows the request's number in it."""

    kind: int
    body: memoryview


class Requests:
    """The requests that go over `channel`, which it owns.  `host` is for messages, `timeout` in seconds.

    `extensions` has the names of the extensions that the server offers.

    Raises BackendError if the login is refused, TransientError if it may work later.
    """

    def __init__(self, channel: SshChannel, host: str, timeout: float) -> None:
        self._channel = channel
        self._host = host
        self._timeout = timeout
        self._packets: Any = wire.BaseSFTP()
        self._packets.sock = cast(Any, channel)  # paramiko wants no more than send and recv
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Reply]] = {}
        self._number = 0
        self._heard = 0.0  # when the last packet came, by the monotonic clock
        self._ended: str | None = None
        try:
            self.extensions = self._greet()
        except TimeoutError as error:
            channel.close()
            raise connection_error(host, f"no answer for {timeout:.0f} s") from error
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

    def ask(self, kind: int, *fields: object) -> Future[Reply]:
        """Send a request.  The future gives its reply, or raises TransientError."""
        message = Message()
        reply: Future[Reply] = Future()
        with self._lock:
            if self._ended is not None:
                raise self._lost()
            if not self._waiting:
                self._heard = time.monotonic()  # while nobody asked, silence meant nothing
            self._number = (self._number + 1) % (1 << 32)
            self._waiting[self._number] = reply
            message.add_int(self._number)
        for field in fields:
            _add(message, field)
        try:
            self._packets._send_packet(kind, message)
        except OSError as error:
            self._fail(error)
        except BaseException:
            self._end("a request was interrupted")  # half a packet may be out
            raise
        return reply

    def pipeline(self, requests: Iterable[tuple[Any, ...]], size: int) -> Iterator[Reply]:
        """The replies, in order, to requests that move `size` bytes each, a bounded number in flight."""
        depth = min(_IN_FLIGHT_REQUESTS, max(1, _IN_FLIGHT_BYTES // size))
        asked: deque[Future[Reply]] = deque()
        for request in requests:
            if len(asked) == depth:
                yield asked.popleft().result()
            asked.append(self.ask(*request))
        while asked:
            yield asked.popleft().result()

    def _greet(self) -> frozenset[str]:
        """Agree on the version, and learn the extensions."""
        message = Message()
        message.add_int(_VERSION)
        self._packets._send_packet(wire.CMD_INIT, message)
        kind, body = self._packets._read_packet()
        if kind != wire.CMD_VERSION or body[:4] != _VERSION.to_bytes(4, "big") or len(body) > _MAX_GREETING:
            raise wire.SFTPError("it does not speak SFTP version 3")
        fields = Message(body[4:])
        names = set()
        while fields.get_remainder():
            names.add(fields.get_binary().decode(errors="replace"))
            fields.get_binary()  # the extension's own version
        return frozenset(names)

    def _receive(self) -> None:
        """Hand every reply to whoever waits for it, until the connection ends.  Runs in its own thread."""
        try:
            while True:
                while not self._channel.readable(min(_TICK, self._timeout)):
                    self._check_silence()
                kind, body = self._packets._read_packet()
                with self._lock:
                    self._heard = time.monotonic()
                    reply = self._waiting.pop(int.from_bytes(body[:4], "big"), None)
                if reply is None:
                    raise BackendError("it sent an answer that nobody asked for")
                reply.set_result(Reply(kind, memoryview(body)[4:]))
        except Exception as error:
            self._fail(error)

    def _check_silence(self) -> None:
        with self._lock:
            silent = time.monotonic() - self._heard
            if self._ended is not None or (self._waiting and silent > self._timeout):
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
        for reply in waiting.values():
            reply.set_exception(self._lost())

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
    elif isinstance(field, memoryview):
        message.add_int(len(field))
        message.add_bytes(field)  # type: ignore[arg-type,unused-ignore]
    else:
        message.add_string(field)  # type: ignore[arg-type,unused-ignore]
