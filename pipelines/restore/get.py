"""A stream's bytes out of the store, to a pipe or to a file.

Invariant: a file made by `new_file` is whole and durable when it appears under its name, and what was there
before is replaced only on request, and only by a whole file.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dedupstore.errors import DedupError
from dedupstore.state import atomic
from pipelines.output import pipes
from pipelines.output.new_file import open_temporary, temporary_name

if TYPE_CHECKING:
    from dedupstore.format.run_records import Stream
    from dedupstore.repository import Repository, SnapshotInfo
    from pipelines.streams.chains import Link, Streams

_BATCH = 256 << 10  # bytes that are written at once: pieces are small where files are


@contextlib.contextmanager
def opened(
    repository: "Repository",
    snapshot: "SnapshotInfo",
    stream: "Stream",
    streams: "Streams | None" = None,
    *,
    raw: bool,
) -> "Iterator[tuple[Iterator[bytes | memoryview], list[Link]]]":
    """Yield a stream's pieces, and the streams that they are made of.

    They are the bytes that were stored; without `raw`, an incremental dump of a volume is merged with those that it
    builds on.  `streams` is as in `chains.chain`.  Raises `DedupError` for what cannot be given.
    """
    from pipelines.streams.chains import Link, chain, full_dump

    if raw or stream.kind != "afs":
        with contextlib.closing(repository.read(snapshot, stream)) as pieces:
            yield pieces, [Link(snapshot, stream)]
        return
    links = chain(repository, snapshot, stream, streams)
    with full_dump(repository, links) as pieces:
        yield pieces, links


def write_pieces(
    pieces: Iterable[bytes | memoryview], descriptor: int, target: str, progress: Callable[[int], None]
) -> None:
    """Write every piece; `progress` gets, now and then and at the end, how many bytes there are so far.

    Raises what `pipes.write_all` raises, and what the source of the pieces does.
    """
    done, size = 0, 0
    batch: list[bytes | memoryview] = []
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH or len(batch) == pipes.MOST_PIECES:
            pipes.write_many(descriptor, batch, target)
            done, size = done + size, 0
            batch.clear()
            progress(done)
    pipes.write_many(descriptor, batch, target)
    progress(done + size)


def check_target(path: Path, *, force: bool, hint: str = "choose another name, or use a pipe") -> None:
    """Raise `DedupError` if there is something in the way.

    A file is, unless `force` is set; anything else than a plain file always is, with this hint: a device is never
    replaced.
    """
    with _reported(path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        raise DedupError(f"{path} exists and is not a plain file", hint)
    if not force:
        raise _exists(path)


@contextlib.contextmanager
def output_file(path: Path, *, force: bool) -> Iterator[int]:
    """Yield the descriptor of a file that appears at `path` when the `with` block ends well.

    It is readable by its owner only, as it holds what was encrypted.  Raises `DedupError` if something is
    in the way or it cannot be written.
    """
    check_target(path, force=force)
    temporary = path.parent / temporary_name()
    descriptor = -1
    try:
        with _reported(path):
            descriptor = open_temporary(temporary)
        yield descriptor
        with _reported(path):
            os.fsync(descriptor)
            _publish(temporary, path, force)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path, force: bool) -> None:
    if force:
        temporary.replace(path)
    else:
        try:
            atomic.name_new(temporary, path)  # the temporary name goes away with all others
        except FileExistsError:
            raise _exists(path) from None
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was made in a folder durable.  Raises `DedupError`."""
    with _reported(folder):
        atomic.sync_folder(folder)


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise pipes.cannot_write(str(path), error) from None


def _exists(path: Path) -> DedupError:
    return DedupError(f"{path} exists already", "choose another name, or replace it with --force")
