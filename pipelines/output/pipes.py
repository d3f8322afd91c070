"""Pipes and standard streams: whole writes, large buffers.

Invariant: what is written is written completely, or an error says that it was not.
"""

import contextlib
import errno
import fcntl
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from dedupstore.errors import DedupError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOST_PIECES = 1024  # that one call of writev(2) takes: IOV_MAX

_WANTED = 1 << 20  # what Linux lets anybody have; the usual 64 KiB costs a switch of process each time


class ReaderGoneError(Exception):
    """Whoever read our standard output has closed it: a reason to stop, not to complain."""


def prepare(descriptor: int) -> None:
    """Make a standard stream, or a pipe, ready for large transfers.

    Whoever had it before may have switched it to not waiting: that is undone.  A large buffer is only asked
    for: without one, it works too.  Raises `OSError` if it is not open.
    """
    os.set_blocking(descriptor, True)
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _WANTED)


def write_all(descriptor: int, data: bytes | memoryview, target: str) -> None:
    """Write all of `data`; `target` names the file in errors.

    Raises `ReaderGoneError` where the other end of a pipe was closed, `DedupError` for all other failures.
    """
    view = memoryview(data)
    while view:
        view = view[_write(descriptor, view, target) :]


def write_many(descriptor: int, pieces: Sequence[bytes | memoryview], target: str) -> None:
    """Write all of at most `MOST_PIECES` pieces with as few calls as it takes; raises what `write_all` does."""
    size = sum(map(len, pieces))
    try:
        done = os.writev(descriptor, pieces)
    except OSError as error:
        raise _failed(target, error) from None
    if done == size:
        return
    for piece in pieces:  # a pipe takes less at a time than a file
        if done < len(piece):
            write_all(descriptor, memoryview(piece)[done:], target)
        done = max(0, done - len(piece))


def text_output(descriptor: int, target: str, encoding: str) -> TextIO:
    """Return a text file on a descriptor that fails in the same way as `write_all`."""
    return io.TextIOWrapper(io.BufferedWriter(_Raw(descriptor, target)), encoding, errors="backslashreplace")


def cannot_write(target: str, error: OSError) -> DedupError:
    """Return the error for a file that could not be written."""
    hint = "make room there, or write to another place" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return DedupError(f"cannot write {target}: {error.strerror or error}", hint)


def closed(target: str) -> DedupError:
    """Return the error for a standard stream that was closed before we began."""
    return DedupError(f"{target} is closed", "give it a file, a pipe or /dev/null")


class _Raw(io.FileIO):
    def __init__(self, descriptor: int, target: str) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._target = target

    def write(self, data: "ReadableBuffer", /) -> int:
        return _write(self.fileno(), data, self._target)


def _write(descriptor: int, data: "ReadableBuffer", target: str) -> int:
    try:
        return os.write(descriptor, data)
    except OSError as error:
        raise _failed(target, error) from None


def _failed(target: str, error: OSError) -> Exception:
    return ReaderGoneError() if error.errno == errno.EPIPE else cannot_write(target, error)
