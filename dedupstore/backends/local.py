"""The back end that keeps a repository in a folder of this machine.

Invariant: a name appears by one `link(2)`, which refuses an existing target, and only after the file's bytes
are on the disk; `create` returns only when the name is on the disk too.

Power may fail between any two steps of `create`: up to the link there is only a file in `tmp`; between the
link and the sync of its folder the file is there whole or not there, and `create` has not returned yet.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dedupstore.backends.contract import (
    FILE_MODE,
    MAX_NAMES,
    Buffer,
    Entry,
    Properties,
    check_folder,
    check_name,
    check_range,
    file_bytes,
    length_to_end,
    temporary_name,
    too_short,
)
from dedupstore.backends.explain import explained
from dedupstore.backends.listing import Listing
from dedupstore.errors import AlreadyExistsError, BackendError, TransientError
from dedupstore.state import atomic

# A link in a file's place is not followed, a pipe not waited for.
_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TO_LIST = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


class LocalBackend:
    """A repository in the folder `root`.

    The first `create` makes `root` itself, but nothing above it: a path that was mistyped, or whose disk is
    not mounted, must not come to life as a new folder.  Files get mode 0400 (`FILE_MODE`), folders
    0700.  `most_names` is how many names a folder may have.
    """

    properties = Properties(lambda: True, parallel=1, remote=False)

    def __init__(self, root: Path | str, *, most_names: int = MAX_NAMES) -> None:
        self._root = Path(root).absolute()
        self._most_names = most_names

    def list(self, folder: str) -> Iterator[Entry]:
        """See `contract.Backend`."""
        return self._look(folder, sizes=True).entries()

    def names(self, folder: str) -> Iterator[str]:
        """See `contract.Backend`."""
        return self._look(folder, sizes=False).names()

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See `contract.Backend`."""
        check_range(offset, length)
        path = self._root / check_name(name)
        with explained("read", str(path)), _opened(path, _TO_READ) as file:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise BackendError(f"{path} is not a regular file; move it away")
            if length is None:
                length = length_to_end(str(path), status.st_size, offset)
            if offset + length > status.st_size:
                raise too_short(str(path), status.st_size, offset + length)
            pieces = []
            while length:
                piece = os.pread(file, length, offset)
                if not piece:
                    raise too_short(str(path), offset, offset + length)
                pieces.append(piece)
                offset, length = offset + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def create(self, name: str, data: Buffer) -> None:
        """See `contract.Backend`."""
        target = self._root / check_name(name)
        view = file_bytes(data)
        temporary = self._root / temporary_name()
        with explained("write", str(target)):
            try:
                self._write(temporary, view)
                self._publish(temporary, target)
            except FileNotFoundError as error:
                raise TransientError(
                    f"cannot write {target}: {error.filename} was removed meanwhile"
                ) from error
            finally:
                # a leftover harms nothing, and the first error is the one to report
                with suppress(OSError):
                    temporary.unlink()

    def size(self, name: str) -> int:
        """See `contract.Backend`."""
        path = self._root / check_name(name)
        with explained("get the size of", str(path)):
            status = path.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise BackendError(f"{path} is not a regular file; move it away")
        return status.st_size

    def close(self) -> None:
        """See `contract.Backend`."""

    def _look(self, folder: str, *, sizes: bool) -> Listing:
        path = self._root / check_folder(folder)
        listing = Listing(folder, str(path), self._most_names)
        with (
            explained("list", str(path)),
            suppress(FileNotFoundError),
            # or else the way to the folder is walked again for each file's size
            _opened(path, _TO_LIST) as descriptor,
            os.scandir(descriptor) as found,
        ):
            for item in found:
                if listing.wants(item.name) and item.is_file(follow_symlinks=False):
                    # another process may have removed its own temporary file meanwhile
                    with suppress(FileNotFoundError):
                        listing.add(item.name, item.stat(follow_symlinks=False).st_size if sizes else 0)
        return listing

    def _write(self, temporary: Path, view: memoryview) -> None:
        try:
            atomic.write_new(temporary, view, FILE_MODE)
        except FileNotFoundError:
            self._make_folders(temporary.parent)
            atomic.write_new(temporary, view, FILE_MODE)

    def _publish(self, temporary: Path, target: Path) -> None:
        try:
            try:
                os.link(temporary, target)
            except FileNotFoundError:
                self._make_folders(target.parent)
                os.link(temporary, target)
        except FileExistsError as error:
            # the caller may now rely on the other file, whose writer may not have synced it yet
            atomic.sync_folder(target.parent)
            raise AlreadyExistsError(f"{target} exists already") from error
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EXDEV):
                raise BackendError(
                    f"cannot write {target}: its file system has no hard links",
                    "keep the repository on one that does (ext4, XFS, btrfs, ZFS)",
                ) from error
            raise
        atomic.sync_folder(target.parent)

    def _make_folders(self, folder: Path) -> None:
        """Make `folder` and the missing folders between it and the root, each durable."""
        steps = [self._root / step for step in reversed(folder.relative_to(self._root).parents)]
        for step in [*steps, folder]:
            try:
                step.mkdir(mode=0o700)
            except FileExistsError:
                if step == self._root:
                    continue  # it was there before: what lies above it is not ours
                # another process has made it, and may not have synced it yet
            except FileNotFoundError as error:
                raise BackendError(
                    f"cannot make {step}: {step.parent} does not exist",
                    "mount the disk, or create that folder first",
                ) from error
            atomic.sync_folder(step.parent)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags)
    try:
        yield file
    finally:
        os.close(file)
