"""What a command writes to its standard output, as a source.

Invariant: the end is reported only after the command has ended with status 0.  When the source is left before
that, the command is told in the gentlest way that works, and it never outlives the source.
"""

import signal
import subprocess
from collections.abc import Sequence
from types import TracebackType

from dedupstore.errors import StreamError
from pipelines import pipes

GRACE = (30.0, 10.0)  # seconds to end by itself: after its pipe was closed, and after SIGTERM


class Command:
    """A running command; a context manager.  Its standard error and standard input are ours.

    Only its name is ever shown: arguments may hold secrets.  Raises `StreamError` if it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], grace: tuple[float, float] = GRACE) -> None:
        self.name = arguments[0]
        self.size = None  # known only at its end
        self._grace = grace
        try:
            self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, bufsize=0)
        except FileNotFoundError:
            raise StreamError(f"the command {self.name} was not found", "give its full path") from None
        except OSError as error:
            raise StreamError(f"the command {self.name} cannot be started: {error.strerror}") from None
        assert self._process.stdout is not None  # noqa: S101 (as asked for two lines above)
        self._pipe = self._process.stdout
        pipes.prepare(self._pipe.fileno())

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what there is; 0 after the command ended well.  Raises `StreamError` if it ended otherwise."""
        count: int = self._pipe.readinto(buffer)  # type: ignore[attr-defined]  # it is a FileIO, as unbuffered
        if count == 0:
            self._judge(self._process.wait())
        return count

    def _judge(self, status: int) -> None:
        if status > 0:
            what = f"failed with exit status {status}"
        elif status < 0:
            what = f"was killed by {_signal_name(-status)}"
        else:
            return
        raise StreamError(f"the command {self.name} {what}", "nothing was listed; see what it said above")

    def close(self) -> None:
        """End the command if it still runs, and wait for it.

        Closing the pipe comes first: `vos dump` then frees its volume within some seconds, while one that is
        killed leaves it busy for minutes.
        """
        self._pipe.close()
        for wait, then in zip(self._grace, (self._process.terminate, self._process.kill), strict=True):
            try:
                self._process.wait(wait)
                return
            except subprocess.TimeoutExpired:
                then()
        self._process.wait()

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
