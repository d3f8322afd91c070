"""Files kept open for reading: the next read of a pack saves a round trip.

Invariant: no file is closed while it is being read, and at most `KEPT` are open otherwise.  A file whose opening or
reading failed is opened again by the next read.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dedupstore.errors import BackendError

if TYPE_CHECKING:
    from dedupstore.backends.sftp.requests import Answer

KEPT = 8
"""A few streams at once read a pack or two each; servers allow at least dozens in a channel."""


@dataclass(eq=False)
class _OpenFile:
    handle: "Answer[bytes]"
    readers: int = 0


class Handles:
    """The files of one session that are open for reading; `opening` and `close` are the session's own."""

    def __init__(
        self, opening: "Callable[[str], Answer[bytes]]", close: "Callable[[bytes], Answer[None]]"
    ) -> None:
        self._opening, self._close = opening, close
        self._lock = threading.Lock()
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()  # those read last are last

    @contextmanager
    def reading(self, path: str) -> "Iterator[Answer[bytes]]":
        """Yield the handle of the file at `path`, perhaps still on its way; good while the `with` block lasts."""
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _OpenFile(self._opening(path))
            file.readers += 1
            self._files.move_to_end(path)
        try:
            yield file.handle
        except BaseException:
            self._give_up(path, file)
            raise
        finally:
            for each in self._left(path, file):
                with suppress(OSError, BackendError):
                    self._close(each.handle.get())

    def _give_up(self, path: str, file: _OpenFile) -> None:
        with self._lock:
            if self._files.get(path) is file:
                del self._files[path]

    def _left(self, path: str, file: _OpenFile) -> list[_OpenFile]:
        """Note that one reader less reads a file; return what is to be closed now."""
        with self._lock:
            file.readers -= 1
            given_up = not file.readers and self._files.get(path) is not file
            idle = [path for path, kept in self._files.items() if not kept.readers]
            return [self._files.pop(path) for path in idle[:-KEPT]] + [file] * given_up
