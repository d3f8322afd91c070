"""A stream on its way from its source into the store: time-outs, and stopping it from outside.

Invariant: if the source or the store stalls, the source is closed in bounded time, so that no volume's transaction
stays open.  After that the store gets an error, never an end.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Protocol

from dedupstore.errors import DedupError, StreamError
from pipelines.config.run_settings import RunSettings

_FOR_EVER = 10.0**9


class Flow(Protocol):
    """What is read and can be waited for: its `fileno` is readable when `readinto` will not wait."""

    def fileno(self) -> int: ...  # noqa: D102

    def readinto(self, buffer: memoryview, /) -> int: ...  # noqa: D102

    def close(self) -> None:
        """End it in the gentlest way that works; a second call does nothing."""
        ...


class StoppedError(StreamError):
    """The run was stopped."""


class Transfer:
    """A flow under time-outs: what the store reads, and a context manager that closes the flow.

    The watchdog calls `look` now and then; the threads of the store call everything else.  `size` is the number of
    bytes so far.  `ended` is called when the flow is closed for good; `now` is the clock, in seconds.
    """

    def __init__(
        self,
        flow: Flow,
        name: str,
        limits: RunSettings,
        *,
        ended: Callable[["Transfer"], None] = lambda transfer: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.size = 0  # bytes so far
        self._flow = flow
        self._on_end = ended
        self._name = name
        self._limits = limits
        self._now = now
        self._began = now()
        self._left = self._began  # when the store last got something, or the beginning
        self._why: DedupError | None = None
        self._ended = self._closed = False
        self._busy = threading.Lock()  # held while the flow is read or closed
        self._state = threading.Lock()  # guards _closed, and with it the life of _wake
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what there is.  Raises `StreamError` if the source sent nothing, or ran, for too long."""
        with self._busy:
            self._wait()
            count = self._flow.readinto(buffer)
            self._ended = count == 0
            self.size += count
            self._left = self._now()
        if self._why is not None:
            raise self._why
        return count

    def look(self) -> None:
        """Close the flow if the store does not read what it has, or the stream takes too long."""
        if self._busy.locked() or self._ended:
            return  # a read has its own time-outs
        waits = self._now() - self._left
        if waits > (self._limits.stall_timeout or _FOR_EVER):
            self.stop(
                StreamError(
                    f"{self._name}: the store accepted nothing for {waits:.0f} s",
                    "its source was closed to release it; check the storage server",
                )
            )
        elif self._now() - self._began > (self._limits.total_timeout or _FOR_EVER):
            self.stop(self._too_long())

    def stop(self, why: DedupError) -> None:
        """Give the store this error, and close the flow; from any thread, without waiting."""
        with self._state:
            if self._closed or self._ended:
                return
            self._why = self._why or why
            os.eventfd_write(self._wake, 1)
        threading.Thread(target=self._close_idle, name="close", daemon=True).start()

    def _close_idle(self) -> None:
        with self._busy:  # a reader that waits has been woken up
            self._flow.close()

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(self, *_: object) -> None:
        with self._state:
            self._why = self._why or StoppedError(f"{self._name} was abandoned")
            if not self._closed:
                os.eventfd_write(self._wake, 1)
        with self._busy:
            self._flow.close()
        with self._state:
            if not self._closed:
                self._closed = True
                os.close(self._wake)
        self._on_end(self)

    def _wait(self) -> None:
        """Wait until the flow has something, or has ended; called with the lock held."""
        if self._why is None and not self._closed:
            poll = select.poll()
            poll.register(self._flow.fileno(), select.POLLIN)
            poll.register(self._wake, select.POLLIN)
            began = self._now()
            total = self._began + (self._limits.total_timeout or _FOR_EVER) - began
            idle = self._limits.idle_timeout or _FOR_EVER
            if not poll.poll(1000 * min(max(0.0, total), idle, 10**6)):
                self._why = self._too_long() if total <= idle else self._too_quiet(self._now() - began)
        if self._why is not None:
            raise self._why

    def _too_long(self) -> StreamError:
        return StreamError(
            f"{self._name} took longer than {self._limits.total_timeout} s",
            "raise total_timeout in [run], or check why it is slow",
        )

    def _too_quiet(self, seconds: float) -> StreamError:
        return StreamError(
            f"{self._name}: its source sent nothing for {seconds:.0f} s",
            "check its server; the limit is idle_timeout in [run]",
        )
