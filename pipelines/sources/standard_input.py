"""Our standard input, read.

Invariant: an error is never an end."""

import io
import os
import stat

from dedupstore.errors import StreamError
from pipelines.output import pipes


class StandardInput:
    """Our standard input.  `size` is the number of bytes left if it is a file, else None."""

    def __init__(self) -> None:
        try:
            status = os.fstat(0)
            pipes.prepare(0)
            self.size = (
                max(0, status.st_size - os.lseek(0, 0, os.SEEK_CUR)) if stat.S_ISREG(status.st_mode) else None
            )
        except OSError as error:
            raise _unreadable(error) from None
        self._file = io.FileIO(0, closefd=False)

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what there is; 0 at the end.  Raises `StreamError` if it cannot be read."""
        try:
            return self._file.readinto(buffer) or 0
        except OSError as error:
            raise _unreadable(error) from None


def _unreadable(error: OSError) -> StreamError:
    return StreamError(f"cannot read standard input: {error.strerror or error}", "no backup was recorded")
