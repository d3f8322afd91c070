"""A new file in a folder that is open: whole under its name, or not there at all.

Invariant: what has the name already is replaced only if the caller says that it may be; the temporary file is gone
whatever happens, but for a kill.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator

from pipelines import pipes
from pipelines.formats.entries import HOLE

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def begin(folder: int, name: bytes, *, replace: bool) -> Iterator[int]:
    """Yield the descriptor of a file that gets its name in `folder` when the `with` block ends well.

    Raises `FileExistsError` if there is such a name and it may not be replaced, and other `OSError`.
    """
    temporary = f".dedup-{secrets.token_hex(8)}.part".encode()
    descriptor = os.open(temporary, _NEW, 0o600, dir_fd=folder)
    try:
        yield descriptor
        if replace:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            _rename_new(folder, temporary, name)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)


def write(descriptor: int, pieces: Iterable[bytes | memoryview], target: str) -> None:
    """Write pieces to an empty file; holes stay holes.  Raises as `pipes.write_all` does; `OSError`."""
    size = 0
    for piece in pieces:
        if piece is HOLE:
            os.lseek(descriptor, len(HOLE), os.SEEK_CUR)
        else:
            pipes.write_all(descriptor, piece, target)
        size += len(piece)
    os.truncate(descriptor, size)


def _rename_new(folder: int, temporary: bytes, name: bytes) -> None:
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        # There are no hard links here (a FAT stick, say): take the name first, then replace what took it.
        os.close(os.open(name, _NEW, 0o600, dir_fd=folder))
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
