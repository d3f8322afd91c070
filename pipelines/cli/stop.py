"""Signals that ask us to stop, as an exception.

Invariant: the first signal unwinds the program, so that every `with` block cleans up.
"""

import os
import signal
import time
from types import FrameType

_IMPATIENCE = 2.0  # seconds; a signal that comes later than this after the first one means it


class Interrupted(BaseException):
    """A signal asked us to stop.  Like `KeyboardInterrupt`, it is not for `except Exception`.

    `meaning` says what that left behind, where a command knows.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.meaning = ""


def interruption(error: BaseException | None) -> Interrupted | None:
    """Return the signal behind an error, if there is one.

    One that comes while the main thread takes a lock leaves the `with` block to fail, with an error of its own.
    """
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error


def catch_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise `Interrupted` in the main thread, unless they are ignored (nohup).

    More signals do not disturb the cleaning up: some supervisors send two at once.  One that comes
    later than `_IMPATIENCE` ends the process on the spot, which is safe too, but leaves temporary files.
    """
    first: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            raise Interrupted(number)
        if now - first > _IMPATIENCE:
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
