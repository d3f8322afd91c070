"""A program, whose standard output is read.

Invariant: the end is reported only after the program has ended with status 0.  If it is closed before that, the
program is ended in the gentlest way that works, and it never outlives the stream.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from dedupstore.errors import StreamError
from pipelines.output import pipes
from pipelines.output.error_tail import ErrorTail

GRACE = (30.0, 10.0)  # seconds to exit: after its pipe was closed, and after SIGTERM


class Command:
    """A running program; a context manager.  Its standard input and standard error are ours.

    With `alone`, it is one of several that run unattended: its standard input is empty, signals of our terminal
    do not reach it, and its standard error is kept for the message.  Only its name is ever shown: arguments may
    hold secrets.  Raises `StreamError` if it cannot be started.
    """

    def __init__(
        self, arguments: Sequence[str], grace: tuple[float, float] = GRACE, *, alone: bool = False
    ) -> None:
        self.name = arguments[0]
        self.size = None  # known only at its end
        self._grace = grace
        self._alone = alone
        self._errors = ErrorTail() if alone else None
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL if alone else None,
                stdout=subprocess.PIPE,
                stderr=self._errors.descriptor if self._errors else None,
                bufsize=0,
                start_new_session=alone,
            )
        except OSError as error:
            if self._errors:
                self._errors.not_started()
            if isinstance(error, FileNotFoundError):
                raise StreamError(f"the command {self.name} was not found", "give its full path") from None
            raise StreamError(f"the command {self.name} cannot be started: {error.strerror}") from None
        if self._errors:
            self._errors.started()
        assert self._process.stdout is not None  # noqa: S101 (as asked for two lines above)
        self._pipe = self._process.stdout
        pipes.prepare(self._pipe.fileno())

    def fileno(self) -> int:
        """Return the descriptor, which is readable when `readinto` will not wait."""
        return self._pipe.fileno()

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what there is; 0 after the program has succeeded.  Raises `StreamError` if it failed."""
        count: int = self._pipe.readinto(buffer)  # type: ignore[attr-defined]  # it is a FileIO, as unbuffered
        if count == 0:
            self._judge(self._wait())
        return count

    def _wait(self) -> int:
        """Return the exit status, after the output has ended."""
        try:
            return self._process.wait(sum(self._grace) if self._alone else None)
        except subprocess.TimeoutExpired:
            raise StreamError(
                f"the command {self.name} closed its output but does not exit",
                "no backup was recorded; make it exit when it has written everything",
            ) from None

    def _judge(self, status: int) -> None:
        if status > 0:
            what = f"failed with exit status {status}"
        elif status < 0:
            what = f"was killed by {_signal_name(-status)}"
        else:
            return
        if self._errors is None:
            raise StreamError(
                f"the command {self.name} {what}", "no backup was recorded; see its messages above"
            )
        errors = self._errors.text()
        raise StreamError(f"the command {self.name} {what}{': ' if errors else ''}{errors}")

    def close(self) -> None:
        """End the program if it still runs, and wait for it.

        The pipe is closed first: `vos dump` then frees its volume within seconds, while a killed one leaves it busy
        for minutes.
        """
        self._pipe.close()
        for wait, number in zip(self._grace, (signal.SIGTERM, signal.SIGKILL), strict=True):
            try:
                self._process.wait(wait)
                return
            except subprocess.TimeoutExpired:
                self._send(number)
        self._process.wait()

    def _send(self, number: int) -> None:
        if self._alone:  # it leads the process group of all that it started
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def __enter__(self) -> "Command":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
