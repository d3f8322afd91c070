"""One LMDB file in a private folder, shared by the processes of one user, discarded at the first doubt.

Invariant: what is open belongs to this uid, is not cut short, bears the expected identity, and every row of
it was read since a process died with it open.  Any other file is deleted and rebuilt; processes that have it open
keep it until they close it.

Locks (flock: the kernel frees them): `open.lock` while the file is opened or discarded; `write.lock` for
writers, whose work takes several transactions; `user.*`, one for each open file, to notice who died.

LMDB (https://www.symas.com/mdb) maps the file for reading only, so a full disk is an error and not a signal.
"""

import errno
import fcntl
import os
import stat
import struct
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from dedupstore.cache import walk
from dedupstore.cache.pages import MappedPages
from dedupstore.errors import DamagedStateError, DamageError, StateError
from dedupstore.state.folder import StateFolder, unusable

DATA, LOCKS = "data.mdb", "lock.mdb"
IDENTITY = "identity"  # a table of this module's own: what the file is for, and a mark of its own
BESIDE = ("hints", "columns")  # kinds of files that belong to one
READERS = 510
LOCKS_SIZE = 64 << 10  # of lock.mdb; 64 bytes a reader, and LMDB's own
MAP_SIZES = (1 << 40, 1 << 36, 1 << 33, 1 << 31)  # address space, not memory; the first that the host grants
SCRATCH_BATCH, SCRATCH_PAGES = 4096, 128

_DAMAGE = (
    lmdb.BadDbiError,
    lmdb.BadTxnError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.InvalidParameterError,
    lmdb.NotFoundError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    DamageError,
    IndexError,  # a position from a damaged row
    msgspec.MsgspecError,
    struct.error,
)
_HOST = (lmdb.DiskError, lmdb.LockError, lmdb.ReadersFullError, lmdb.ReadonlyError)  # and nameless errno

Tables = Mapping[str, Mapping[str, bool]]
_here: "weakref.WeakValueDictionary[str, CacheFile]" = weakref.WeakValueDictionary()


class CacheFile:
    """The file, open: `environment` is LMDB's, `tables` are its named databases.

    `tables` gives their names and `open_db` flags; `identity` says what the file must have been made for.
    Raises `StateError` if the folder cannot be used, or is already open in this process.
    """

    def __init__(self, folder: Path, identity: bytes, tables: Tables) -> None:
        self._folder = StateFolder(folder)
        self.path = folder
        self._identity = identity
        self._flags = {IDENTITY: {}, **tables}
        self._writer = threading.Lock()
        self._mark = b""
        self.environment: lmdb.Environment
        self.pages: MappedPages
        self.tables: dict[str, Any] = {}
        with self._folder.lock("open.lock"):
            place = os.path.realpath(folder)
            if place in _here:  # LMDB's locks are the process's: closing one would free the other's
                raise StateError(
                    f"the index cache {folder} is already open in this process", "close it first"
                )
            try:
                self._open_or_renew()
                self._delete_left()
                self._leave = weakref.finalize(self, _leave, *self._enter())
            except OSError as error:
                raise self._unusable(error) from None
            _here[place] = self

    def close(self) -> None:
        """Free the file; twice does no harm."""
        with self._writer:
            _here.pop(os.path.realpath(self.path), None)
            self.environment.close()
            self._leave()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn LMDB's errors, and those of reading rows, into `StateError`; damage discards the file.

        For damage, the `StateError` is a `DamagedStateError`.

        To be entered before a transaction: a thread that discards the file must not block writers.
        """
        try:
            yield
        except _DAMAGE as error:
            self.discard()
            raise DamagedStateError(
                f"the index cache {self.path} was damaged ({error}) and has been discarded",
                "run it again: the cache will be rebuilt from the repository",
            ) from None
        except (lmdb.Error, OSError) as error:
            raise self._unusable(error) from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep all other writers out, over any number of transactions."""
        with self._folder.lock("write.lock"), self._writer, self.guard():
            yield

    def discard(self) -> None:
        """Discard the file: the next opening makes a new one; where it is open, it stays open."""
        with self._folder.lock("open.lock"):
            try:
                if (self.path / DATA).stat().st_ino == self._inode:  # else another process did it before
                    self._delete()
            except FileNotFoundError:
                pass
            except OSError as error:
                raise self._unusable(error) from None

    def beside(self, kind: str, name: bytes) -> Path:
        """Return the path of a file beside this one that belongs to it."""
        return self.path / f"{kind}.{self._mark.hex()}.{name.hex()}"

    def delete_others(self, kind: str, names: Iterable[bytes]) -> None:
        """Delete the files beside this one, of a kind, that are not of these names."""
        kept = {self.beside(kind, name) for name in names}
        for path in self.path.glob(f"{kind}.{self._mark.hex()}.*"):
            if path not in kept:
                path.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator["ScratchSet"]:
        """Give an empty set on disk that vanishes with this context, or with the process."""
        path = self.path / f"seen.{os.urandom(8).hex()}"
        environment = None
        try:
            environment = _open(path, subdir=False, lock=False, sync=False)
            path.unlink(missing_ok=True)
            yield ScratchSet(environment, MappedPages(path))
        except lmdb.Error as error:
            raise self._unusable(error) from None
        finally:
            if environment is not None:
                environment.close()

    # -- opening

    def _open_or_renew(self) -> None:
        """Open the file, or a new one in its place."""
        for left in self.path.glob("seen.*"):
            left.unlink(missing_ok=True)
        if dead := self._dead():
            if not self._is_sound():
                self._delete()
            for left in dead:  # not before: the next process must check again if this one dies, too
                left.unlink(missing_ok=True)
        try:
            self._open()
            return
        except lmdb.Error as error:
            if isinstance(error, _HOST) or (type(error) is lmdb.Error and getattr(error, "code", 0) > 0):
                raise self._unusable(error) from None
        except _UnusableCacheError:
            pass
        self._delete()
        try:
            self._open()
        except (lmdb.Error, _UnusableCacheError) as error:
            raise self._unusable(error) from None

    def _open(self) -> None:
        for name in (DATA, LOCKS):
            self._refuse_strange(self.path / name)
        _allocate(self.path / LOCKS, LOCKS_SIZE)
        environment = _open(self.path, max_dbs=len(self._flags), max_readers=READERS)
        try:
            page, pages = environment.stat()["psize"], environment.info()["last_pgno"] + 1
            status = (self.path / DATA).stat()  # after `info`: other processes let the file grow
            if page < 512 or status.st_size < page * pages:  # reading on would end in a SIGBUS
                raise _UnusableCacheError("it is cut short")
            environment.reader_check()
            self.tables = self._open_tables(environment)
        except BaseException:
            environment.close()
            raise
        self.environment, self._inode = environment, status.st_ino
        self.pages = MappedPages(self.path / DATA)

    def _open_tables(self, environment: lmdb.Environment) -> dict[str, Any]:
        new = environment.stat()["entries"] == 0
        # a transaction that writes nothing touches no disk, but only such a one can open tables
        with environment.begin(write=True) as txn:
            tables: dict[str, Any] = {
                name: environment.open_db(name.encode(), txn=txn, create=new, **flags)
                for name, flags in self._flags.items()
            }
            if new:
                txn.put(b"identity", self._identity, db=tables[IDENTITY])
                txn.put(b"mark", os.urandom(8), db=tables[IDENTITY])
            elif txn.get(b"identity", db=tables[IDENTITY]) != self._identity:
                raise _UnusableCacheError("it is of another repository or version")
            self._mark = txn.get(b"mark", b"", db=tables[IDENTITY])
            if not self._mark:
                raise _UnusableCacheError("its own mark is missing")
        return tables

    def _refuse_strange(self, path: Path) -> None:
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise _UnusableCacheError(f"{path} is not a file of this user's")

    def _delete(self) -> None:
        for name in (DATA, LOCKS):
            (self.path / name).unlink(missing_ok=True)

    # -- who has it open

    def _enter(self) -> tuple[Path, int]:
        path = self.path / f"user.{os.getpid()}.{os.urandom(8).hex()}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return path, descriptor

    def _dead(self) -> list[Path]:
        """Return the marks of processes that ended without closing the file."""
        dead = []
        for path in self.path.glob("user.*"):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:  # else it left in this moment
                    dead.append(path)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)
        return dead

    def _delete_left(self) -> None:
        """Delete files that belonged to one that was discarded, if no one has that open."""
        if next(self.path.glob("user.*"), None) is None:
            for kind in BESIDE:
                for path in self.path.glob(f"{kind}.*"):
                    if not path.name.startswith(f"{kind}.{self._mark.hex()}."):
                        path.unlink(missing_ok=True)

    def _is_sound(self) -> bool:
        command = [sys.executable, "-P", walk.__file__, str(self.path)]
        import subprocess  # seldom needed, and slow to load

        quiet = subprocess.DEVNULL
        return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=False).returncode == 0

    def _unusable(self, error: Exception) -> StateError:
        reason, number = str(error), getattr(error, "code", None)
        if isinstance(error, OSError):
            reason, number = error.strerror or reason, error.errno
        elif isinstance(error, lmdb.DiskError):
            number = errno.ENOSPC
        return unusable(f"the index cache {self.path}", reason, number)


class ScratchSet:
    """A set of byte strings of up to 511 bytes, kept on disk; one thread at a time."""

    def __init__(self, environment: lmdb.Environment, pages: MappedPages) -> None:
        self._environment = environment
        self._pages = pages
        self._txn = environment.begin(write=True)
        self._pending = 0

    def add(self, item: bytes) -> bool:
        """Add an item; return whether it is new."""
        new = self._txn.put(item, b"", overwrite=False)
        self._pending += new
        if self._pending % SCRATCH_PAGES == 0:
            self._pages.limit()
        if self._pending == SCRATCH_BATCH:  # what a transaction changed is held in memory
            self._txn.commit()
            self._txn = self._environment.begin(write=True)
            self._pending = 0
        return new


class _UnusableCacheError(Exception):
    """The file is not, or may not be, what it should be."""


def _open(path: Path, **options: Any) -> lmdb.Environment:
    for size in MAP_SIZES[:-1]:
        try:
            return lmdb.open(str(path), map_size=size, mode=0o600, readahead=False, **options)
        except lmdb.MemoryError:
            continue
    return lmdb.open(str(path), map_size=MAP_SIZES[-1], mode=0o600, readahead=False, **options)


def _allocate(path: Path, size: int) -> None:
    """Give a new file its disk blocks: LMDB maps its lock file for writing, and a hole on a full disk kills."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _leave(path: Path, descriptor: int) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)
