"""What it costs to walk and to merge AFS volume dumps: `python bench/bench_merge.py [FILES] [SIZE] [FOLDER]`.

By default 200,000 files of 5 KiB in directories of 100; the dumps are made in the temporary folder.  It prints
- walk: seconds for all entries of a skeleton, whose contents are not there, and of the same with six incrementals;
- merge: MB/s of a full and six incrementals, of which each changed 1 % of the files, and of a plain copy of the bytes
  that come out; both from the page cache into a pipe, where `cat` throws them away;
- memory: how much the peak of a merge grows by a million vnodes, in MB.
Times are the best of three.
"""

import io
import itertools
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from pipelines.formats.afs.merge import merge
from pipelines.formats.afs.tree import entries
from pipelines.formats.stream import FileStream
from tests.afsdump import make_directory

NOW = 1_700_000_000
DUMPS = 7
FOLDER_SIZE = 100
CHANGED = 100  # one file in so many changes from dump to dump
HEAD = struct.Struct(">BIIcBcHcIcIcIcIcHcIcI")
LENGTH = struct.Struct(">cI")
ACL = struct.pack(">5i2i", 28, 1, 1, 1, 0, -101, 0x7F).ljust(192, b"\0")
END = struct.pack(">BI", 4, 0x3A214B6E)
TEXT = bytes(range(256))


def parts(files: int, size: int, dump: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (skeleton, contents after it) of the full dump, or of the incremental with number `dump`."""
    name = b"n" + b"bench\0"
    yield struct.pack(">BIIcI", 1, 0xB3A11322, 1, b"v", 1) + name, b""
    yield b"t" + struct.pack(">HII", 2, dump and NOW + dump, NOW + dump + 1), b""
    yield (
        b"\x02" + struct.pack(">cI", b"i", 1) + name + struct.pack(">cIcBcI", b"u", 9, b"t", 0, b"p", 1),
        b"",
    )
    folders = -(-files // FOLDER_SIZE)
    names = [(b".", 1, 1), (b"..", 1, 1)]
    yield from folder(1, 0, [*names, *((b"folder%d" % n, 2 * n + 3, 2 * n + 3) for n in range(folders))])
    for n in range(folders):
        here = range(n * FOLDER_SIZE, min(files, (n + 1) * FOLDER_SIZE))
        names = [(b".", 2 * n + 3, 2 * n + 3), (b"..", 1, 1)]
        yield from folder(
            2 * n + 3, 1, [*names, *((b"file%09d.txt" % f, 2 * f + 2, 2 * f + 2) for f in here)]
        )
    for f in range(files):
        if dump and f % CHANGED != dump:
            yield struct.pack(">BII", 3, 2 * f + 2, 2 * f + 2), b""
        else:
            content = (struct.pack(">I", f) + TEXT * (size // 256 + 1))[:size]
            yield head(2 * f + 2, 1, 2 * (f // FOLDER_SIZE) + 3) + LENGTH.pack(b"f", size), content
    yield END, b""


def head(number: int, kind: int, parent: int) -> bytes:
    """Return the beginning of a vnode."""
    numbers = (b"v", 1, b"m", NOW, b"a", 0, b"o", 0, b"b", 0o644, b"p", parent, b"s", NOW)
    return HEAD.pack(3, number, number, b"t", kind, b"l", 1, *numbers)


def folder(number: int, parent: int, names: list[tuple[bytes, int, int]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield a directory, which is all skeleton."""
    pages = make_directory(names)
    yield head(number, 2, parent) + b"A" + ACL + LENGTH.pack(b"f", len(pages)) + pages, b""


class Skeleton:
    """A stream whose contents are not there: they can only be skipped."""

    def __init__(self, pieces: Iterator[tuple[bytes, bytes]]) -> None:
        data, ends, holes, size = io.BytesIO(), [], [], 0
        for skeleton, content in pieces:
            size += data.write(skeleton)
            if content:
                ends.append(size)
                holes.append(len(content))
        self._data, self._ends, self._holes = data.getvalue(), [*ends, size], [*holes, 0]
        self.rewind()

    def rewind(self) -> None:
        """Begin again."""
        self.position = self._at = self._next = 0

    def peek(self, count: int) -> bytes:
        """Return bytes up to the next contents."""
        return self._data[self._at : min(self._at + count, self._ends[self._next])]

    def read(self, count: int) -> bytes:
        """Return bytes of the skeleton."""
        data = self.peek(count)
        self._at += len(data)
        self.position += len(data)
        return data

    def skip(self, count: int) -> None:
        """Move on, over whole contents."""
        self.position += count
        while (here := self._ends[self._next] - self._at) < count:
            self._at += here
            count -= here + self._holes[self._next]
            self._next += 1
        self._at += count

    def copy(self, count: int) -> Iterator[bytes]:
        """Yield bytes of the skeleton."""
        yield self.read(count)


def best(work: Callable[[], object]) -> float:
    """Return the seconds that it takes, the best of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def walk(files: int, size: int) -> None:
    """Measure how fast all names are found."""
    skeletons = [Skeleton(parts(files, size, dump)) for dump in range(DUMPS)]

    def all_entries(count: int) -> int:
        for skeleton in skeletons[:count]:
            skeleton.rewind()
        return sum(1 for _ in entries(*skeletons[:count]))

    for count in (1, DUMPS):
        seconds = best(partial(all_entries, count))
        print(f"walk: {files} files, dumps: {count}: {seconds:.2f} s, {seconds / files * 1e6:.1f} us a file")


def merge_files(paths: list[Path], out: IO[bytes]) -> int:
    """Merge dumps; return how many bytes that makes."""
    files = [path.open("rb", buffering=0) for path in paths]
    size = 0
    for piece in merge([FileStream(file) for file in files]):
        size += out.write(piece)
    for file in files:
        file.close()
    return size


def copy_file(path: Path, out: IO[bytes]) -> None:
    """Copy a file through a buffer."""
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            out.write(buffer[:count])


def into_pipe(work: Callable[[IO[bytes]], object]) -> None:
    """Let the work write to another process, which reads and does nothing else."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0) as cat:
        assert cat.stdin is not None
        work(cat.stdin)
        cat.stdin.close()


def write_dumps(files: int, size: int, where: Path) -> list[Path]:
    """Make a full dump and its incrementals."""
    paths = [where / str(dump) for dump in range(DUMPS)]
    for dump, path in enumerate(paths):
        with path.open("wb") as file:
            file.writelines(itertools.chain.from_iterable(parts(files, size, dump)))
    return paths


def speed(files: int, size: int, where: Path) -> None:
    """Measure a merge against a copy of what comes out."""
    paths = write_dumps(files, size, where)
    merged = where / "merged"
    with merged.open("wb", buffering=0) as out:
        count = merge_files(paths, out)
    merging = best(lambda: into_pipe(lambda out: merge_files(paths, out)))
    copying = best(lambda: into_pipe(lambda out: copy_file(merged, out)))
    print(
        f"merge: {count / 1e6:.0f} MB of {DUMPS} dumps: {count / merging / 1e6:.0f} MB/s, "
        f"{merging / files * 1e6:.1f} us a file; copy: {count / copying / 1e6:.0f} MB/s, ratio {copying / merging:.2f}"
    )


def peak(files: int, where: Path) -> int:
    """Return the peak memory of a process that merges, in bytes."""
    paths = write_dumps(files, 600, where)
    script = (sys.executable, __file__, "--merge", *map(str, paths))
    return int(subprocess.run(script, check=True, capture_output=True).stdout)


def main(files: int, size: int, where: Path) -> None:
    """Measure and print."""
    walk(files, size)
    with tempfile.TemporaryDirectory(dir=where) as folder:
        speed(files, size, Path(folder))
        few, many = 10_000, 510_000
        growth = (peak(many, Path(folder)) - peak(few, Path(folder))) / (many - few)
    print(f"memory: {growth:.1f} MB a million vnodes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--merge"]:
        with Path("/dev/null").open("wb", buffering=0) as null:
            merge_files([Path(path) for path in sys.argv[2:]], null)
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    else:
        main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 200_000,
            int(sys.argv[2]) if len(sys.argv) > 2 else 5120,
            Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.gettempdir()),
        )
