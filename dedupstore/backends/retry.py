"""Retry calls that fail in a way that may pass.

Invariant: the number of attempts, and so the time until an answer, is bounded; and a repeated `create` that
finds its own file succeeds.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from dedupstore.backends.contract import Backend, Buffer, Entry, Properties, file_bytes, has_bytes
from dedupstore.errors import AlreadyExistsError, TransientError

_T = TypeVar("_T")
_GROWTH = 3  # with the default first delay the pauses add up to 20 s: a network's hiccup, or sshd restarting


class Retry:
    """`backend`, with up to `attempts` attempts at each call that ends in a TransientError.

    The pause before the second is about `first_delay` seconds, each later one three times as long.  All vary
    by a half, so that many writers do not come back at the same moment.
    """

    def __init__(
        self,
        backend: Backend,
        attempts: int = 5,
        first_delay: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._attempts = attempts
        self._first_delay = first_delay
        self._sleep = sleep
        self._random = random.SystemRandom()

    @property
    def properties(self) -> Properties:
        """See `contract.Backend`."""
        inner = self._backend.properties
        return inner._replace(ask_durable=lambda: self._repeat(lambda _: inner.durable))

    def list(self, folder: str) -> Iterator[Entry]:
        """See `contract.Backend`."""
        return self._repeat(lambda _: self._backend.list(folder))

    def names(self, folder: str) -> Iterator[str]:
        """See `contract.Backend`."""
        return self._repeat(lambda _: self._backend.names(folder))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See `contract.Backend`."""
        return self._repeat(lambda _: self._backend.read(name, offset, length))

    def create(self, name: str, data: Buffer) -> None:
        """See `contract.Backend`."""
        view = file_bytes(data)

        def attempt(number: int) -> None:
            try:
                self._backend.create(name, view)
            except AlreadyExistsError:
                # The connection may have been lost between the effect and its answer.
                if number == 1 or not has_bytes(self._backend, name, view):
                    raise

        self._repeat(attempt)

    def size(self, name: str) -> int:
        """See `contract.Backend`."""
        return self._repeat(lambda _: self._backend.size(name))

    def close(self) -> None:
        """See `contract.Backend`."""
        self._backend.close()

    def _repeat(self, attempt: Callable[[int], _T]) -> _T:
        """Return the result of the first `attempt(number)` that succeeds; numbers count from 1."""
        delay = self._first_delay
        for number in range(1, self._attempts):
            try:
                return attempt(number)
            except TransientError:
                self._sleep(delay * self._random.uniform(0.5, 1.5))
                delay *= _GROWTH
        try:
            return attempt(self._attempts)
        except TransientError as error:
            after = f"{error.message} (after {self._attempts} attempts)"
            raise TransientError(after, error.hint) from error
