"""The data of the comparison: days of dumps, and what is made of them.

All of it is seeded, so two people measure the same bytes.
"""

import io
import shutil
import subprocess
import sys
import tarfile
from base64 import b64encode
from dataclasses import dataclass
from multiprocessing import Process
from pathlib import Path
from random import Random

from bench.made.text import TEXTS, Text
from bench.peers.measure import Call, files, measure

HERE = Path(__file__).parents[1]
SMALL = 4096  # bytes of a small file
BATCH = 500  # small files that are drawn at once
HASH = """
import sys, blake3
h, buffer = blake3.blake3(), memoryview(bytearray(1 << 20))
with open(sys.argv[1], "rb", buffering=0) as f:
    while n := f.readinto(buffer):
        h.update(buffer[:n])
"""


@dataclass
class Work:
    """`days`: a folder for each, the first with a full, the last with the next full, incrementals between.

    `again`: a copy of the last day, which no tool can know by its inodes and times; `whole`: the first day as one
    tar; `small`: a tar of small files.
    """

    days: list[Path]
    again: Path
    whole: Path
    small: Path

    @property
    def first(self) -> Path:
        """The first day."""
        return self.days[0]

    @property
    def next(self) -> Path:
        """The last day."""
        return self.days[-1]


def make(folder: Path, given: Path | None, megabytes: int, count: int) -> Work:
    """Make the data in a folder; of `given` days if there are some; `count`: how many small files."""
    source = given or folder / "days"
    if given is None:
        command = [sys.executable, str(HERE / "afs_work.py"), str(source), "--size", str(megabytes)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    days = sorted(path.absolute() for path in source.iterdir() if path.is_dir())
    if len(days) < 2:
        sys.exit(f"{source} has no two folders with a day's files")
    work = Work(days, folder / "again", folder / "whole.tar", folder / "small.tar")
    child = Process(target=_write, args=(work, count))  # whose memory is not counted in what is measured
    child.start()
    child.join()
    if child.exitcode:
        sys.exit("the data to measure with could not be made")
    return work


def _write(work: Work, count: int) -> None:
    shutil.copytree(work.next, work.again, copy_function=shutil.copyfile)
    _whole(work.first, work.whole)
    _small(work.small, count)


def _whole(day: Path, into: Path) -> None:
    with tarfile.open(into, "w") as tar:
        for path in files(day):
            tar.add(path, path.relative_to(day))


def _small(into: Path, count: int) -> None:
    """Write small files of text, a quarter of each in base64 as letters and keys have it: 2 to 3 times compressible."""
    source = Random(1)
    text, coded = Text(source), SMALL // 4
    with tarfile.open(into, "w") as tar:
        for first in range(0, count, BATCH):
            made = text.make(TEXTS[first // BATCH % len(TEXTS)], BATCH * SMALL)
            for number in range(first, min(first + BATCH, count)):
                member = tarfile.TarInfo(f"{number // 100:03}/{number:05}")
                member.size, member.mtime = SMALL, 1_772_326_800 + number
                at = (number - first) * SMALL
                data = made[at : at + SMALL - coded] + b64encode(source.randbytes(coded))[:coded]
                tar.addfile(member, io.BytesIO(data))


def limits(stream: Path, packed: Path, environment: dict[str, str]) -> dict[str, list[Call]]:
    """Return what the machine can do with a stream at best; `packed` is written by one and read by the next."""
    zstd = shutil.which("zstd") or sys.exit("zstd is not installed, and it is the limit of compression")
    measure([Call([zstd, "-q", "-f", "-3", "-T2", str(stream), "-o", str(packed)])], environment)
    return {
        "BLAKE3": [Call(["taskset", "-c", "0", sys.executable, "-c", HASH, str(stream)])],
        "zstd -3 -T2": [Call([zstd, "-q", "-3", "-T2", "-c"], stdin=stream, piped=True)],
        "zstd -d": [Call([zstd, "-q", "-d", "-c", str(packed)], piped=True)],
    }
