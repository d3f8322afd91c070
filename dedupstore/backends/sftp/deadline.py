"""Deadlines: how long a server may be silent, and how long a whole call may take.

Invariant: every call ends.  What it may take grows with the bytes that it moves, at a rate that a slow and shared
line still reaches, and has an end: `Patience().longest` is 4 hours and 48 minutes.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dedupstore.backends.contract import MAX_FILE_SIZE


class Patience(NamedTuple):
    """How long a server may be `silent` while an answer is due, and how long a `call` may take (seconds).

    A call may take one second more for each `rate` bytes.  On a line of 256 kbit/s eight calls at once get so much
    each; the seconds of a call cover what its ssh had taken for others before: 16 MiB at most.
    """

    silent: float = 60.0
    call: float = 900.0
    rate: int = 4096

    @property
    def longest(self) -> float:
        """How long a call takes at most: one that moves the largest file."""
        return self.call + MAX_FILE_SIZE / self.rate


class Deadlines:
    """The deadlines of the calls in progress.  Several threads may use this at once, each for one call."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._until: dict[int, tuple[float, float]] = {}  # by thread: when it must end, and may at the latest

    @contextmanager
    def call(self, size: int) -> Iterator[None]:
        """Treat what this thread does within as one call, which moves so many bytes."""
        now = time.monotonic()
        with self._lock:
            self._until[threading.get_ident()] = now + self._patience.call, now + self._patience.longest
        self.allow(size)
        try:
            yield
        finally:
            with self._lock:
                del self._until[threading.get_ident()]

    def allow(self, size: int) -> None:
        """Extend the deadline of this thread's call by so many bytes more."""
        thread = threading.get_ident()
        with self._lock:
            if thread in self._until:
                until, latest = self._until[thread]
                self._until[thread] = min(latest, until + size / self._patience.rate), latest

    def check(self) -> None:
        """Raise TimeoutError if a call should have ended."""
        with self._lock:
            first = min(self._until.values(), default=None)
        if first is not None and first[0] < time.monotonic():
            raise TimeoutError("the server is too slow: a call missed its deadline")
