"""Files and folders of a stranger's choosing, made below one folder and nowhere else.

Invariant: whatever the names and targets are, nothing outside the folder is made or changed, and nothing that was
in it before is replaced or changed.  No symbolic link is ever followed: each part of a path is opened by itself,
relative to the one before.  A file appears whole or not at all.
"""

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from types import TracebackType

from dedupstore.errors import DedupError
from pipelines.formats.entries import Entry, Hole
from pipelines.output import new_file, pipes
from pipelines.output.file_names import shown
from pipelines.output.safe_paths import LeftOutError, leads_out, parts

PLAIN_BITS, ALL_BITS = 0o777, 0o7777

_HELD = 64  # open folders
_ROOT_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = _ROOT_FOLDER | os.O_NOFOLLOW
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EFBIG)
_XATTR, _USERS = b"SCHILY.xattr.", b"SCHILY.xattr.user."
_OWNERS = range(2**32 - 1)  # to chown, the last one means: leave it as it is


class NewTree:
    """Makes entries below `root`, which must exist; a context manager.

    `bits` are the permission bits that are kept; `owners` tells whether to set owners and groups, and
    `links_out` whether symbolic links may lead out.  Every method raises `LeftOutError` for an entry that
    cannot be made, `DedupError` where it makes no sense to go on.  `plain` is set where owners, modes or dates
    could not be; `bare` counts the entries that lost extended attributes or access lists of the file system.
    """

    def __init__(self, root: Path, *, bits: int, owners: bool, links_out: bool) -> None:
        self.plain = False
        self.bare = 0
        self._bits = bits
        self._owners = owners
        self._links_out = links_out
        self._made: dict[bytes, Entry | None] = {}  # folders, with what they are to be at the end
        self._files: set[bytes] = set()
        self._links: dict[bytes, bytes] = {}  # symbolic ones, and where they lead
        self._open: OrderedDict[bytes, int] = OrderedDict()
        try:
            self._root = os.open(root, _ROOT_FOLDER)
        except OSError as error:
            raise DedupError(
                f"cannot extract into {root}: {error.strerror}", "make the folder first"
            ) from None

    def __enter__(self) -> "NewTree":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (*self._open.values(), self._root):
            os.close(descriptor)

    def obstacle(self, entry: Entry) -> str:
        """Return what is in the way of an entry, if anything; changes nothing."""
        *above, last = parts(entry.path)
        try:
            with self._existing(above) as folder:
                mode = os.lstat(last, dir_fd=folder).st_mode
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                return f"something above {shown(entry.path)} is there, and is no folder"
            raise self._failed(entry.path, error) from None
        both_folders = entry.kind == "dir" and stat.S_ISDIR(mode)
        return "" if both_folders else f"{shown(entry.path)} exists already"

    def folder(self, entry: Entry) -> None:
        """Make a folder; one that was there before stays as it is."""
        *above, name = parts(entry.path)
        with self._reported(entry.path):
            if entry.path in self._files or entry.path in self._links:
                self._remove(self._folder(above), name, entry.path)
            self._folder([*above, name], private=True)
        if entry.path in self._made:
            self._made[entry.path] = entry

    def file(self, path: bytes, entry: Entry, pieces: Iterable[bytes | memoryview | Hole]) -> None:
        """Make a file at `path`, which is as `entry` says; one that was made here before is replaced."""
        *above, name = parts(path)
        with self._reported(path):
            folder = self._folder(above)
            if path in self._made:
                self._remove(folder, name, path)
            with new_file.begin(
                folder, name, replace=path in self._files or path in self._links
            ) as descriptor:
                new_file.write(descriptor, pieces, shown(path))
                self._describe(descriptor, entry)
        self._links.pop(path, None)
        self._files.add(path)

    def symlink(self, path: bytes, entry: Entry) -> None:
        """Make a symbolic link at `path`, which is as `entry` says, unless it leads out."""
        *above, name = parts(path)
        self._check_target(path, entry.target)
        with self._reported(path):
            folder = self._folder(above)
            self._remove(folder, name, path)
            os.symlink(entry.target, name, dir_fd=folder)
            if self._owners:
                with contextlib.suppress(PermissionError):
                    os.chown(name, *_ids(entry), dir_fd=folder, follow_symlinks=False)
            # not every file system keeps the times of links
            with contextlib.suppress(OSError, OverflowError):
                os.utime(name, ns=_nanoseconds(entry), dir_fd=folder, follow_symlinks=False)
        self._links[path] = entry.target

    def hardlink(self, path: bytes, first: bytes) -> None:
        """Give the file `first`, which must have been made here, another name."""
        *above, name = parts(path)
        if first not in self._files and first not in self._links:
            raise LeftOutError(
                f"{shown(path)} is left out: {shown(first)}, of which it is another name, is missing"
            )
        if path == first:
            return
        if first in self._links:  # a symbolic link leads elsewhere from another folder
            self._check_target(path, self._links[first])
        *first_above, first_name = parts(first)
        with self._reported(path):
            folder = self._folder(above)
            self._remove(folder, name, path)
            with self._existing(first_above) as first_folder:
                mode = os.lstat(first_name, dir_fd=first_folder).st_mode
                if not (stat.S_ISREG(mode) if first in self._files else stat.S_ISLNK(mode)):
                    raise LeftOutError(f"{shown(path)} is left out: somebody replaced {shown(first)}")
                os.link(first_name, name, src_dir_fd=first_folder, dst_dir_fd=folder, follow_symlinks=False)
        if first in self._links:
            self._links[path] = self._links[first]
        else:
            self._files.add(path)

    def note(self, name: str, lines: Iterable[bytes]) -> str:
        """Make a text file in the root, under that name or, if it is taken, with a number; return the name."""
        taken = set(os.listdir(self._root))  # noqa: PTH208 - it is a descriptor
        names = chain([name], (f"{name}.{number}" for number in count(2)))
        chosen = next(one for one in names if one not in taken)
        try:
            with new_file.begin(self._root, os.fsencode(chosen), replace=False) as descriptor:
                new_file.write(descriptor, lines, chosen)
        except OSError as error:
            raise pipes.cannot_write(chosen, error) from None
        return chosen

    def finish(self) -> list[LeftOutError]:
        """Give the folders their modes, owners and times, the deepest first; return what failed."""
        failed = []
        for path in sorted(self._made, key=lambda path: path.count(b"/"), reverse=True):
            if (entry := self._made[path]) is not None:
                try:
                    with self._reported(path), self._existing(parts(path)) as folder:
                        self._describe(folder, entry)
                except LeftOutError as error:
                    failed.append(error)
        return failed

    # -- details

    def _check_target(self, path: bytes, target: bytes) -> None:
        if not self._links_out and leads_out(path, target):
            raise LeftOutError(
                f"{shown(path)} is left out: it is a symbolic link that leads out, to {shown(target)}"
            )

    def _remove(self, folder: int, name: bytes, path: bytes) -> None:
        """Remove what was made here under a path, if anything: a later entry counts."""
        if path in self._files or path in self._links:
            os.unlink(name, dir_fd=folder)
            self._files.discard(path)
            self._links.pop(path, None)
        elif path in self._made:
            if (descriptor := self._open.pop(path, None)) is not None:
                os.close(descriptor)
            os.rmdir(name, dir_fd=folder)  # which fails if it holds anything
            del self._made[path]

    def _describe(self, descriptor: int, entry: Entry) -> None:
        """Set what is known of a file beside its contents, as far as the file system lets us."""
        kept = [self._kept(os.setxattr, descriptor, *each) for each in _attributes(entry)]
        if len([done for done in kept if done]) < len(entry.attributes):
            self.bare += 1
        done = not self._owners or self._kept(os.chown, descriptor, *_ids(entry))
        # after chown, which drops setuid
        done = self._kept(os.chmod, descriptor, entry.mode & self._bits) and done
        with contextlib.suppress(OverflowError):  # a date that no clock shows: now is as good
            done = self._kept(lambda: os.utime(descriptor, ns=_nanoseconds(entry))) and done
        self.plain = self.plain or not done

    @staticmethod
    def _kept(change: Callable[..., None], *arguments: object) -> bool:
        """Tell whether a change of what describes a file succeeds; its contents are worth more."""
        try:
            change(*arguments)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _HOPELESS:
                raise
            return False
        return True

    def _folder(self, names: list[bytes], *, private: bool = False) -> int:
        """Open a folder, which is made if need be; the descriptor stays ours."""
        if not names:
            return self._root
        held = len(names)
        while held and b"/".join(names[:held]) not in self._open:
            held -= 1
        descriptor = self._root
        for depth in range(max(held, 1), len(names) + 1):
            path = b"/".join(names[:depth])
            if path in self._open:
                self._open.move_to_end(path)
                descriptor = self._open[path]
            else:
                descriptor = self._enter(
                    path, descriptor, names[depth - 1], 0o700 if private and depth == len(names) else 0o777
                )
        return descriptor

    def _enter(self, path: bytes, above: int, name: bytes, mode: int) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=above)
            self._made[path] = None
        descriptor = self._open[path] = os.open(name, _FOLDER, dir_fd=above)
        if len(self._open) > _HELD:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    @contextlib.contextmanager
    def _existing(self, names: list[bytes]) -> Iterator[int]:
        """Yield a descriptor of a folder that must exist."""
        descriptor = os.dup(self._root)
        try:
            for name in names:
                above, descriptor = descriptor, os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _reported(self, path: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(path, error) from None
        except ValueError as error:  # a zero byte in a target, for instance
            raise LeftOutError(f"{shown(path)} is left out: {error}") from None

    def _failed(self, path: bytes, error: OSError) -> DedupError:
        if error.errno in _HOPELESS:
            return pipes.cannot_write(shown(path), error)
        return LeftOutError(f"{shown(path)} is left out: {error.strerror or error}")


def _nanoseconds(entry: Entry) -> tuple[int, int]:
    """Return both dates of an entry for utime."""
    date = entry.mtime * 10**9 + entry.nanoseconds
    return date, date


def _attributes(entry: Entry) -> Iterator[tuple[bytes, bytes]]:
    """Yield the extended attributes that any user may set: others could give rights."""
    for key, value in entry.attributes:
        if key.startswith(_USERS):
            yield key.removeprefix(_XATTR), value


def _ids(entry: Entry) -> tuple[int, int]:
    """Return owner and group for chown; -1, which changes nothing, for what is none on this system."""
    owner, group = (number if number in _OWNERS else -1 for number in (entry.owner, entry.group))
    return owner, group
