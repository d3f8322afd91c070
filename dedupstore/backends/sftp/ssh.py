"""The system's own `ssh` as a child process: two streams of bytes to the sftp subsystem of a server.

There is no second transport, so ~/.ssh/config, agents, jump hosts and known_hosts work as in a shell.

Invariant: the child never prompts, never waits without bound, is out of reach of the terminal's Ctrl-C, and
is reaped by `close`.
"""

import os
import re
import resource
import select
import shlex
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from dedupstore.backends.contract import Buffer
from dedupstore.errors import BackendError, TransientError

_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")

_PERMANENT = (
    "Permission denied",
    "Too many authentication failures",
    "Host key verification failed",
    "Name or service not known",
    "Unable to negotiate",
    "subsystem request failed",
    "Bad configuration option",
    "terminating, ",
    "Can't open user config file",
)
"""What ssh says (OpenSSH's sshconnect.c and readconf.c) when trying again gives the same answer."""

_EMPTY_WORDS = ("**", "kex_exchange_identification:", "Connection closed by UNKNOWN")
"""How lines begin that hide the reason: general advice, and what follows when a jump host's ssh has failed."""

_MOST_WORDS = 16 << 20  # bytes in a file that ssh writes: what a server says on stderr could be endless
_TICK = 0.5  # seconds between two looks at the clock
_BUFFER = 1 << 20  # bytes each way: the more, the less often the two processes wait for and wake each other


class SshChannel:
    """An `ssh` child speaking to a server's sftp subsystem.

    `send` may be called from many threads, `receive` from one at a time.  Once the channel is closed, both end
    soon with an OSError or EOFError.

    `command` is what `ssh_command` gives.  `timeout` (seconds) bounds each `send`.

    Raises BackendError if ssh cannot be started.
    """

    def __init__(self, command: list[str], timeout: float) -> None:
        self._sending = threading.Lock()
        self._last_words = ""
        self._closed = False
        # A file, not a pipe: it need not be drained, and a connection that ssh shares with later ones
        # (ControlPersist) may keep it open for hours, and its end is not awaited.
        with ExitStack() as stack:
            self._stderr = stack.enter_context(tempfile.TemporaryFile())
            self._socket, theirs = socket.socketpair()
            stack.enter_context(self._socket)
            for end in (self._socket, theirs):  # the system may allow less
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            with theirs:
                self._process = _start(command, theirs.fileno(), self._stderr.fileno())
            # The kernel minds the time: with `settimeout` each call would be two.
            with suppress(OSError, ValueError):  # it has ended, or may have less
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (_MOST_WORDS, _MOST_WORDS))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _kernel_time(min(_TICK, timeout)))
            self._writable = select.poll()
            self._writable.register(self._socket, select.POLLOUT)
            self._timeout = timeout
            stack.pop_all()  # from here on `close` is responsible

    def send(self, *parts: Buffer) -> None:
        """Send all of `parts`, one after the other, not mixed with what other threads send.

        Raises OSError; the stream is then cut in the middle of a message, and only `close` is left.
        """
        with self._sending:
            left = [memoryview(part) for part in parts]
            while left:
                try:
                    sent = self._socket.sendmsg(left, (), socket.MSG_DONTWAIT)
                except BlockingIOError:
                    # `poll` waits for much room; a send that blocks would wake for each piece that ssh takes.
                    if not self._writable.poll(self._timeout * 1000):
                        raise TimeoutError("it no longer accepts data") from None
                    continue
                while left and sent >= len(left[0]):
                    sent -= len(left.pop(0))
                if left:
                    left[0] = left[0][sent:]

    def receive(self, view: memoryview, idle: Callable[[], None]) -> None:
        """Fill `view`.  Every half second without all bytes, `idle` is called: it may raise to give up.

        Raises EOFError when the stream ends first.
        """
        while view:
            try:
                count = self._socket.recv_into(view, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                idle()
                continue
            if count == 0:
                raise EOFError
            view = view[count:]
            if view:
                idle()

    def close(self, patience: float = 0.0) -> str:
        """End the child, by force after `patience` seconds, and return the last line that it wrote to stderr.

        Threads that wait in other methods are woken first.
        """
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._sending:
            if self._closed:
                return self._last_words
            self._closed = True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
            if self._process.poll() is None:
                # The session is the child's own, so this ends its jump hosts' ssh too.
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._socket.close()
            self._last_words = _last_line(self._stderr.fileno())
            self._stderr.close()
        return self._last_words


def ssh_command(host: str, user: str | None, port: int | None, timeout: float) -> list[str]:
    """Return the command that connects standard input and output to the sftp subsystem of `host`.

    The environment variable DEDUP_SSH may give the program and options to put before all others, quoted as
    in a shell.  ssh takes the first value that it finds for an option (ssh_config(5)): DEDUP_SSH wins over
    what is set here, and this over the user's configuration, which decides everything else.

    Raises BackendError if host or user could be taken for an option or more than a name.
    """
    if not _HOST.fullmatch(host):
        raise BackendError(f"{host!r} is not a host name")
    if user is not None and not _USER.fullmatch(user):
        raise BackendError(f"{user!r} is not a user name")
    try:
        program = shlex.split(os.environ.get("DEDUP_SSH", "")) or ["ssh"]
    except ValueError as error:
        raise BackendError(f"DEDUP_SSH is not a command: {error}", "check its quotes") from error
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(max(1, round(timeout))),
        # ssh gives up after three probes without an answer, about `timeout` after the last sign of life.
        "ServerAliveInterval": str(max(1, round(timeout / 4))),
        "ServerAliveCountMax": "3",
        # What the configuration may want for an interactive login would be harmful or in the way here.
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
    }
    command = [*program, *(f"-o{key}={value}" for key, value in options.items())]
    if user is not None:
        command.append(f"-l{user}")
    if port is not None:
        command.append(f"-p{port}")
    return [*command, "-s", "--", host, "sftp"]


def _kernel_time(seconds: float) -> bytes:
    """Return the seconds as the `struct timeval` of socket(7)."""
    whole = int(seconds)
    return struct.pack("@ll", whole, int((seconds - whole) * 1e6))


def _start(command: list[str], stream: int, errors: int) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, stdin=stream, stdout=stream, stderr=errors, start_new_session=True)
    except OSError as error:
        message = f"cannot start {command[0]!r}: {error.strerror}"
        raise BackendError(message, "install the OpenSSH client") from error


def connection_error(host: str, words: str) -> BackendError:
    """Return the error for a login to `host` that failed with ssh's `words`: a TransientError if it may pass."""
    message = f"cannot connect to {host}: {words}"
    if any(phrase in words for phrase in _PERMANENT):
        return BackendError(message, f"try `sftp {host}` by hand, as the same user")
    return TransientError(message, "check that the server and the network are up")


def _last_line(file: int) -> str:
    """Return the last line in `file` that says why."""
    size = os.fstat(file).st_size
    text = os.pread(file, 4096, max(0, size - 4096)).decode(errors="replace")
    lines = [line.strip() for line in reversed(text.splitlines()) if line.strip()]
    return next((line for line in lines if not line.startswith(_EMPTY_WORDS)), lines[0] if lines else "")
