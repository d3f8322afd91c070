"""Everything of a date out of the store, each stream into a file of a folder: for the day when all is lost.

A stream's name is its file's path in the folder (`stream_names.files`).

Invariant: each file is whole or not there, and none that was there is touched unless that was asked for; a stream that
fails costs only itself, and is reported by its name.  Memory: one large stream or two and a few small ones on their
way, and what is remembered of others.
"""

import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from dedupstore.errors import DedupError
from dedupstore.waiting import take
from pipelines.mishap import FATAL, told
from pipelines.output import pipes
from pipelines.output.new_file import remove_left
from pipelines.restore.get import check_target, opened, output_file, sync_folder, write_pieces
from pipelines.streams import facts, names
from pipelines.text import size

if TYPE_CHECKING:
    from dedupstore.format.run_records import Stream
    from dedupstore.repository import Repository, SnapshotInfo

SMALL = 4 << 20  # bytes: a stream up to this size waits for its first bytes more than it works
SMALL_AT_ONCE = 4
LARGE_AT_ONCE = 2  # over a long way; each is read by several threads already, and holds tens of MiB
REMEMBERED = 50_000  # streams of other snapshots, of about 1 KB each

_PERIOD = 0.1  # seconds between two looks at the numbers
_PATIENCE = 5.0  # seconds for streams to end, of which some may wait for a server that is silent


@dataclass
class Got:
    """What became of it: streams that were written, with their bytes, and those that failed."""

    streams: int = 0
    size: int = 0
    failed: int = 0
    there: list[str] = field(default_factory=list)  # had a file before, which was left


class GetAll:
    """Writes streams into a folder.

    `failed(name, why)` is called for each that cannot be given, `progress(what, done, of)` every now and then; both
    in threads, one at a time.
    """

    def __init__(
        self,
        repository: "Repository",
        folder: Path,
        *,
        force: bool,
        raw: bool,
        failed: Callable[[str, str], None],
        progress: Callable[[str, int, int], None],
    ) -> None:
        self._repository = repository
        self._folder = folder
        self._force = force
        self._raw = raw
        self._failed = failed
        self._progress = progress
        self._streams = _Remembered(repository)
        self._files: dict[str, Path] = {}  # of each stream, by its name
        self._folders: set[Path] = {folder}  # that are there
        self._lock = threading.Lock()  # over what follows
        self._got = Got()
        self._total = 0
        self._written = 0
        self._told = 0.0
        self._stopping = False

    def run(self, chosen: "Iterable[tuple[SnapshotInfo, Stream]]") -> Got:
        """Write each stream to its file.

        Raises `DedupError` if the folder cannot be made, or for what all streams would fail of.
        """
        everything = list(chosen)
        places = names.files(stream.name for _, stream in everything)
        self._files = {name: self._folder / place for name, place in places.items()}
        wanted = self._without_files(everything)
        self._total = len(wanted)
        self._repository.refresh_index()  # once, before there are threads
        large = LARGE_AT_ONCE if self._repository.backend.properties.remote else 1
        pools = ThreadPoolExecutor(large, "get"), ThreadPoolExecutor(SMALL_AT_ONCE, "get small")
        ended: SimpleQueue[Future[None]] = SimpleQueue()
        futures = []
        try:
            for each in wanted:
                futures.append(pools[_is_small(each[1])].submit(self._get, *each))
                futures[-1].add_done_callback(ended.put)
            for _ in wanted:
                take(ended).result()
        finally:
            self._stopping = True
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in futures if not future.cancelled()], _PATIENCE)
        return self._got

    def _without_files(
        self, chosen: "list[tuple[SnapshotInfo, Stream]]"
    ) -> "list[tuple[SnapshotInfo, Stream]]":
        """Return the streams that have no plain file yet, or all if files are replaced."""
        if self._force:
            return chosen
        wanted = []
        for snapshot, stream in chosen:
            if _is_file(self._files[stream.name]):
                self._got.there.append(stream.name)
            else:
                wanted.append((snapshot, stream))
        return wanted

    def _get(self, snapshot: "SnapshotInfo", stream: "Stream") -> None:
        path = self._files[stream.name]
        written = 0

        def progress(done: int) -> None:
            nonlocal written
            more, written = done - written, done
            self._note(more)

        try:
            self._note(0)
            self._enter(path.parent)
            check_target(path, force=self._force, hint="move it away, or choose another folder")
            with (
                opened(self._repository, snapshot, stream, self._streams, raw=self._raw) as (pieces, _),
                output_file(path, force=self._force) as descriptor,
            ):
                write_pieces(pieces, descriptor, str(path), progress)
        except (_StoppedError, *FATAL):
            raise
        except Exception as error:
            if self._stopping:  # what it waited for is closed
                raise
            with self._lock:
                self._got.failed += 1
                self._failed(stream.name, told(error))
        else:
            with self._lock:
                self._got.streams += 1
                self._got.size += written

    def _enter(self, folder: Path) -> None:
        """Make a folder below ours, durably, with those in which it lies.  Raises `DedupError`."""
        with self._lock:
            missing = [each for each in (folder, *folder.parents) if each.is_relative_to(self._folder)]
            for each in reversed(missing):
                if each not in self._folders:
                    if each.is_symlink() or (each.exists() and not each.is_dir()):
                        raise DedupError(f"{each} is no folder", "move it away, or choose another folder")
                    make_folder(each)
                    sync_folder(each.parent)
                    self._folders.add(each)

    def _note(self, more: int) -> None:
        """Take note of bytes that were written; raises `_StoppedError` when all of it is to end."""
        if self._stopping:
            raise _StoppedError
        with self._lock:
            self._written += more
            now = time.monotonic()
            if now - self._told >= _PERIOD:
                self._told = now
                self._progress(size(self._written), self._got.streams + self._got.failed, self._total)


def make_folder(folder: Path) -> int:
    """Make the folder, for its owner only, and what it lies in, if it is not there.

    What killed runs have left half written in it is removed; returns how many files.  Raises `DedupError`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise DedupError(f"{folder} is no folder", "-o names a folder with --all") from None
    except OSError as error:
        raise pipes.cannot_write(str(folder), error) from None
    try:
        return remove_left(folder)
    except OSError as error:
        raise pipes.cannot_write(str(folder), error) from None


def _is_file(path: Path) -> bool:
    """Tell whether there is a plain file; anything else will be in the way."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_small(stream: "Stream") -> bool:
    known = facts.volume_of(stream)
    return stream.size <= SMALL and not (known and known.parent)  # merged, it may be of any size


class _StoppedError(DedupError):
    """Another thread has failed for good, or we are interrupted."""

    def __init__(self) -> None:
        super().__init__("it was stopped")


class _Remembered:
    """The streams of the snapshots that were asked for last: chains of volumes lead to the same ones."""

    def __init__(self, repository: "Repository") -> None:
        self._repository = repository
        self._held: OrderedDict[bytes, list[Stream]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, snapshot: "SnapshotInfo") -> "list[Stream]":
        with self._lock:
            found = self._held.get(snapshot.name)
            if found is None:
                found = self._held[snapshot.name] = self._repository.streams(snapshot)
                self._count += len(found)
                while self._count > REMEMBERED and len(self._held) > 1:
                    self._count -= len(self._held.popitem(last=False)[1])
            self._held.move_to_end(snapshot.name)
            return found
