"""A running `vos`: its output, its errors, its end.

Invariant: it is ended in the gentlest way that works, and never outlives its owner.  A `vos dump` whose pipe
is closed frees its volume and ends within seconds.  SIGTERM and SIGKILL leave the volume busy for more than ten
minutes (772 s were measured with OpenAFS 1.8.9), less with a `vos endtrans` after them (171 s).
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from pipelines.output import pipes
from pipelines.output.error_tail import ErrorTail
from pipelines.text import size
from pipelines.vos.listing import VolumeGoneError, VosError

GRACE = (30.0, 10.0)  # seconds to end: by itself or by its closed pipe, and after SIGTERM

LARGEST_OUTPUT = 256 << 20  # bytes, of a control command; a volume in a listing takes less than 1 KiB

_GONE = ("no such entry", "does not exist", "no such volume", "unknown volume")


class VosProcess:
    """One `vos` whose standard output is a pipe.  `doing` describes it in errors.

    It has a session of its own: signals of our terminal would leave volumes busy.  Raises `VosError` if it
    cannot be started.  `killed` is called by `end` if it was ended by a signal.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        doing: str,
        killed: Callable[[], None] = lambda: None,
    ) -> None:
        self.doing = doing
        self._killed = killed
        self._errors = ErrorTail()
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors.descriptor,
                bufsize=0,
                env={**environment, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            self._errors.not_started()
            raise VosError(
                f"{arguments[0]} cannot be started: {error.strerror}",
                "install openafs-client, or set vos to its path",
            ) from None
        self._errors.started()
        assert self._process.stdout is not None  # noqa: S101 (as asked for above)
        self.pipe = self._process.stdout
        pipes.prepare(self.pipe.fileno())
        self._ending = threading.Lock()

    def output(self, seconds: float) -> bytes:
        """Return all of its output, after it has succeeded within that time.  Raises `VosError`."""
        with self:
            try:
                output = self._read(time.monotonic() + seconds)
            except subprocess.TimeoutExpired:
                self._kill(signal.SIGKILL)  # it writes nothing, so it does not notice its closed pipe
                raise VosError(
                    f"{self.doing} did not answer within {seconds:.0f} s",
                    "check the file server and the database servers",
                ) from None
            check(self.doing, self._process.returncode, self._errors.text())
            return output

    def _read(self, end: float) -> bytes:
        """Return all of its output.  Raises `TimeoutExpired` when the clock reaches `end`."""
        output = bytearray()
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while True:
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(1000 * left):
                raise subprocess.TimeoutExpired(self.doing, 0)
            data = self.pipe.read(1 << 20)  # unbuffered: what there is
            if not data:
                break
            output += data
            if len(output) > LARGEST_OUTPUT:
                raise VosError(f"{self.doing} printed more than {size(LARGEST_OUTPUT)}", "check the server")
        self._process.wait(max(0.0, end - time.monotonic()))
        return bytes(output)

    def end(self) -> tuple[int, str]:
        """Close the pipe, wait for the end, and return the exit status and the end of its standard error.

        If it does not end in time, it is killed; its status is then negative.
        """
        with self._ending:
            self.pipe.close()
            for wait, number in zip(GRACE, (signal.SIGTERM, signal.SIGKILL), strict=True):
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(wait)
                    break
                self._kill(number)
            if self._process.wait() < 0:
                self._killed()
                self._killed = lambda: None
            return self._process.returncode, self._errors.text()

    def wait_or(self, channel: int) -> bool:
        """Wait until it has ended, or `channel` is readable; return whether it has ended."""
        pidfd = os.pidfd_open(self._process.pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.register(channel, select.POLLIN)
            return any(descriptor == pidfd for descriptor, _ in poll.poll())
        finally:
            os.close(pidfd)

    def _kill(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it leads its group
            os.killpg(self._process.pid, number)

    def __enter__(self) -> "VosProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def check(doing: str, status: int, errors: str) -> None:
    """Raise `VosError` if `vos` failed; `VolumeGoneError` if there is no such volume on line."""
    if status == 0:
        return
    if any(words in errors.lower() for words in _GONE):
        raise VolumeGoneError(f"{doing} failed: {errors}", "it was removed, moved or taken off line")
    if status < 0:
        raise VosError(
            f"{doing} was killed by {_signal_name(-status)}", "its volume may stay busy for some minutes"
        )
    raise VosError(f"{doing} failed with exit status {status}{': ' if errors else ''}{errors}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
