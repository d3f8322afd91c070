"""What a program says on its standard error, of which the end is kept for the message of its failure.

Invariant: a program that says much is never held up, and costs no more memory than one that says little.
"""

import os
import threading

from pipelines.text import safe

_KEPT = 2000  # bytes
_PATIENCE = 1.0  # seconds for the last words; a daemon that it left behind keeps the pipe open for ever


class ErrorTail:
    """The end of a standard error.  Give `descriptor` to the program, then call `started`."""

    def __init__(self) -> None:
        self._ours, self.descriptor = os.pipe()
        self._text = b""
        self._thread = threading.Thread(target=self._read, name="stderr", daemon=True)

    def started(self) -> None:
        """Close our copy of the program's end, and listen."""
        os.close(self.descriptor)
        self._thread.start()

    def not_started(self) -> None:
        """Close both ends: there is no program."""
        os.close(self.descriptor)
        os.close(self._ours)

    def text(self) -> str:
        """Return the last lines as one, safe to show; "" if it said nothing."""
        self._thread.join(_PATIENCE)
        lines = self._text[-_KEPT:].decode(errors="replace").splitlines()
        return safe(" / ".join(line.strip() for line in lines[-3:] if line.strip()))

    def _read(self) -> None:
        while data := os.read(self._ours, 65536):
            self._text = (self._text + data)[-_KEPT:]
        os.close(self._ours)
