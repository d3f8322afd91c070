"""What the average size of a chunk costs and saves, for volume dumps, a tar and SQL each: the table of a study.

    PYTHONPATH=. python bench/sizes/chunk_sizes.py WORK [--sizes KIB ...] [--kinds KIND ...] [--files N] [--dir FOLDER]

WORK is a folder of `afs_work.py`: days, the first and the last with full dumps of volumes, those between with
incrementals; `databases.tar` of each day holds the SQL, which is stored as streams of its own.  The tar is made
here (`made/tar.py`), whole every day.  Each kind and size gets a repository of its own, all with the same keys, so
that what differs is the size alone; chunks are a quarter to four times as large as the average.  Skeletons and layouts
keep theirs.  The columns: bytes of all files of the repository after the first day, what the days between and the
last one add, and the sum beside that of 16 KiB; the parts of the sum that are index files and packs of list nodes, and
the local cache; CPU seconds of the first day and of all others.
"""

import argparse
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, cast

from bench.made.tar import make_week
from bench.options import existing_folder
from dedupstore import malloc
from dedupstore.access import Access
from dedupstore.chunks.chunker import ChunkSizes
from dedupstore.format.layout import Kind
from dedupstore.writing.read_ahead import Readable
from dedupstore.writing.session import RunDetails
from pipelines.sources.put import store
from tests.store import World

STANDARD = 16
START = 1_772_326_800
DAY = 86_400

#: A day's streams: name, format, and how to open it.
Streams = list[tuple[str, str, Callable[[], AbstractContextManager[Readable]]]]


class Figures(NamedTuple):
    """What one size comes to: bytes, and CPU seconds."""

    first: int
    between: int
    last: int
    indexed: int
    nodes: int
    cache: int
    busy_first: float
    busy_rest: float

    @property
    def all(self) -> int:
        """Bytes of the repository at the end."""
        return self.first + self.between + self.last


def opened(path: Path) -> Callable[[], AbstractContextManager[Readable]]:
    """Return what opens a file."""
    return lambda: path.open("rb", buffering=0)


def member(path: Path, name: str) -> Callable[[], AbstractContextManager[Readable]]:
    """Return what opens a member of a tar."""

    @contextmanager
    def of_tar() -> Iterator[Readable]:
        with tarfile.open(path) as tar, closing(cast(BufferedReader, tar.extractfile(name))) as file:
            yield file

    return of_tar


def dumps(work: Path) -> list[Streams]:
    """Return the volume dumps, day by day."""
    days = sorted(path for path in work.iterdir() if path.is_dir())
    return [[(path.stem, "afs", opened(path)) for path in sorted(day.glob("*.dump"))] for day in days]


def databases(work: Path) -> list[Streams]:
    """Return the SQL, day by day."""
    found = []
    for path in sorted(work.glob("*/databases.tar")):
        with tarfile.open(path) as tar:
            found.append([(name, "raw", member(path, name)) for name in sorted(tar.getnames())])
    return found


def tars(folder: Path, files: int) -> list[Streams]:
    """Make the tars, and return them day by day."""
    return [[("folder", "tar", opened(path))] for path in make_week(folder, files)]


def size_of(folder: Path) -> int:
    """Return the bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(world: World, access: Access, day: int, streams: Streams) -> None:
    """Store a day's streams as one backup."""
    details = RunDetails("host", "chunk_sizes", START + day * DAY, 0)
    with world.open(access) as repository, repository.session(details) as session:
        for name, form, source in streams:
            with source() as file:
                store(session, name, file, form=form, warn=print)
        session.finish()


def measure(world: World, average: int, days: list[Streams]) -> Figures:
    """Store all days in a new repository with chunks of this average size, in KiB."""
    sizes = ChunkSizes(average << 8, average << 10, average << 12)
    access = replace(world.writer, content_sizes=sizes)
    stored, busy = [0], [time.process_time()]
    for day, streams in enumerate(days):
        run(world, access, day, streams)
        stored.append(world.stored())
        busy.append(time.process_time())
    figures = Figures(
        first=stored[1],
        between=stored[-2] - stored[1],
        last=stored[-1] - stored[-2],
        indexed=size_of(world.path / Kind.INDEX.folder),
        nodes=size_of(world.path / Kind.TREE.folder),
        cache=size_of(world.folder / "state"),
        busy_first=busy[1] - busy[0],
        busy_rest=busy[-1] - busy[1],
    )
    shutil.rmtree(world.path)
    shutil.rmtree(world.folder / "state")
    return figures


def table(kind: str, days: list[Streams], rows: dict[int, Figures]) -> str:
    """Return the table of one kind, sizes in MB."""
    streams = sum(map(len, days))
    beside = rows.get(STANDARD)
    lines = [
        f"### {kind}: {streams} streams in {len(days)} days",
        "",
        "| average KiB | first | + between | + last | sum | of 16 KiB | index | list nodes | cache | CPU s: first "
        "| rest |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for average, row in rows.items():
        megabytes = (row.first, row.between, row.last, row.all)
        parts = (row.indexed, row.nodes, row.cache)
        ratio = f"{row.all / beside.all:.3f}" if beside else ""
        cells = [
            str(average),
            *(f"{number / 1e6:.1f}" for number in megabytes),
            ratio,
            *(f"{number / 1e6:.2f}" for number in parts),
            f"{row.busy_first:.1f}",
            f"{row.busy_rest:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=existing_folder)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256], metavar="KIB")
    parser.add_argument("--kinds", nargs="+", choices=["afs", "tar", "sql"], default=["afs", "tar", "sql"])
    parser.add_argument("--files", type=int, default=2000, help="in the tar")
    parser.add_argument(
        "--dir", type=existing_folder, default="/dev/shm", help="where to work; in memory by default"
    )
    arguments = parser.parse_args()
    malloc.reuse_buffers()
    with tempfile.TemporaryDirectory(prefix="dedup-bench-", dir=arguments.dir) as temporary:
        folder = Path(temporary)
        world = World(folder)
        for kind in arguments.kinds:
            if kind == "afs":
                days = dumps(arguments.work)
            elif kind == "sql":
                days = databases(arguments.work)
            else:
                days = tars(folder, arguments.files)
            rows = {average: measure(world, average, days) for average in arguments.sizes}
            print(table(kind, days, rows), flush=True)


if __name__ == "__main__":
    main()
