"""A back end that fails on purpose: the wrapper with which other tests break the world at one point."""

import os
import threading
from collections.abc import Callable, Container, Iterator
from typing import TypeVar

from dedupstore.backends.contract import Backend, Buffer, Entry
from dedupstore.errors import BackendError, NoSpaceError, NotFoundError, TransientError

_T = TypeVar("_T")

KILLED = 86
"""The exit status of a process that `kill_at` ended."""


class Faulty:
    """`inner`, with faults.  Calls of list, read, create and size count from 1 and are kept in `calls`.

    The calls whose numbers are in `fail_at` raise `error`; call number `kill_at` ends the process at once, as
    SIGKILL does: before the call has its effect, or after it with `after=True`.  With `room`, creating more
    bytes than that in all raises NoSpaceError.
    """

    def __init__(
        self,
        inner: Backend,
        *,
        fail_at: Container[int] = (),
        kill_at: int = 0,
        after: bool = False,
        error: type[BackendError] = TransientError,
        room: int | None = None,
    ) -> None:
        self.calls: list[tuple[str, str]] = []
        self.properties = inner.properties
        self.closed = False
        self._inner = inner
        self._fail_at, self._kill_at, self._after, self._error = fail_at, kill_at, after, error
        self._room = room
        self._lost: set[str] = set()
        self._changes: dict[str, Callable[[bytes], bytes]] = {}
        self._lock = threading.Lock()

    def lose(self, name: str) -> None:
        """From now on be a server that acknowledged `name` and does not have it."""
        self._lost.add(name)

    def change(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """From now on give what `change` makes of the bytes of `name` to whoever reads it, whole or in part."""
        self._changes[name] = change

    def list(self, folder: str) -> Iterator[Entry]:
        """See `contract.Backend`."""
        entries = self._call("list", folder, lambda: [*self._inner.list(folder)])
        return iter([entry for entry in entries if entry.name not in self._lost])

    def names(self, folder: str) -> Iterator[str]:
        """See `contract.Backend`."""
        return iter([entry.name for entry in self.list(folder)])

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See `contract.Backend`."""

        def effect() -> bytes:
            self._find(name)
            change = self._changes.get(name)
            if change is None:
                return self._inner.read(name, offset, length)
            end = None if length is None else offset + length
            return change(self._inner.read(name))[offset:end]

        return self._call("read", name, effect)

    def create(self, name: str, data: Buffer) -> None:
        """See `contract.Backend`."""

        def effect() -> None:
            with self._lock:
                if self._room is not None:
                    if memoryview(data).nbytes > self._room:
                        raise NoSpaceError(f"cannot write {name}: the disk is full")
                    self._room -= memoryview(data).nbytes
            self._inner.create(name, data)

        self._call("create", name, effect)

    def size(self, name: str) -> int:
        """See `contract.Backend`."""
        self._find(name)
        return self._call("size", name, lambda: self._inner.size(name))

    def close(self) -> None:
        """See `contract.Backend`."""
        self.closed = True
        self._inner.close()

    def _find(self, name: str) -> None:
        if name in self._lost:
            raise NotFoundError(f"cannot read {name}: it does not exist")

    def _call(self, method: str, name: str, effect: Callable[[], _T]) -> _T:
        with self._lock:
            self.calls.append((method, name))
            number = len(self.calls)
        if not self._after:
            self._fault(number, name)
        result = effect()
        if self._after:
            self._fault(number, name)
        return result

    def _fault(self, number: int, name: str) -> None:
        if number == self._kill_at:
            os._exit(KILLED)
        if number in self._fail_at:
            raise self._error(f"fault at call {number}, {name}")


def flip(position: int) -> Callable[[bytes], bytes]:
    """A change for `Faulty.change`: one bit of the byte at `position`."""

    def change(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

    return change


def truncate(length: int) -> Callable[[bytes], bytes]:
    """A change for `Faulty.change`: only the first `length` bytes are left."""
    return lambda data: data[:length]
