"""A back end that stops the program before each listing and each create, until the test lets that one call through.

Reads and sizes are not stopped: what a listing shows is read before the next call, and belongs to the listing.

Invariant: while the test is between two calls of `let`, the program rests before a call, or has ended; what it does
with one call it has done when `let` returns.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dedupstore.backends.contract import Backend, Buffer, Entry, Properties
from dedupstore.errors import BackendError

END = "end"
_PATIENCE = 60.0  # seconds until a program that neither calls nor ends has failed
_CREATES = {"data": "pack", "tree": "pack", "snapshots": "snapshot", "checkpoints": "checkpoint"}


class Call(NamedTuple):
    """One call that waits, or the end: what it does, to which file or folder."""

    what: str
    name: str
    go: threading.Event


def kind_of_create(file: str) -> str:
    """Return what is created, by the file's name."""
    folder = file.split("/")[0]
    if folder == "runs":
        return "create " + file.rsplit(".", 1)[1]
    return "create " + _CREATES.get(folder, folder)


class StoppedError(BackendError):
    """The test wants no more of the program."""


class Gate(Backend):
    """See the module. `run` starts the program; `result` or `error` is how it ended."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._arrivals: queue.Queue[Call] = queue.Queue()
        self._current: Call | None = None
        self._stopped = False
        self.result: Any = None
        self.error: BaseException | None = None

    # -- the test's side

    def run(self, program: Callable[[], Any]) -> None:
        """Start the program in a thread of its own."""

        def work() -> None:
            try:
                self.result = program()
            except BaseException as error:
                self.error = error
            self._arrivals.put(Call(END, "", threading.Event()))

        self._thread = threading.Thread(target=work, name="program", daemon=True)
        self._thread.start()

    def waiting(self) -> Call:
        """Return the call before which the program rests."""
        if self._current is None:
            try:
                self._current = self._arrivals.get(timeout=_PATIENCE)
            except queue.Empty:
                raise AssertionError("the program neither calls the back end nor ends") from None
        return self._current

    def let(self, what: str) -> str:
        """Let the next call through, which must be `what`; return the name that it was about."""
        call = self.waiting()
        assert what == call.what, f"expected: {what}; the program would: {call.what} {call.name}"
        self._current = None
        call.go.set()
        self.waiting()
        return call.name

    def stop(self) -> None:
        """End the program as if it were killed: nothing that it calls has an effect any more."""
        self._stopped = True
        while self.waiting().what != END:
            self.waiting().go.set()
            self._current = None
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive()

    # -- the program's side

    @property
    def properties(self) -> Properties:
        return self._inner.properties

    def list(self, folder: str) -> Iterator[Entry]:
        self._arrive("list packs", folder)
        return self._inner.list(folder)

    def names(self, folder: str) -> Iterator[str]:
        self._arrive(f"names {folder}", folder)
        return self._inner.names(folder)

    def create(self, name: str, data: Buffer) -> None:
        self._arrive(kind_of_create(name), name)
        self._inner.create(name, data)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.read(name, offset, length)

    def size(self, name: str) -> int:
        return self._inner.size(name)

    def close(self) -> None:
        self._inner.close()

    def _arrive(self, what: str, name: str) -> None:
        if not self._stopped:
            call = Call(what, name, threading.Event())
            self._arrivals.put(call)
            call.go.wait()
        if self._stopped:
            raise StoppedError("the test has stopped this program")
