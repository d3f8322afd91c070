"""What splitting costs, beside read + BLAKE3 of the same bytes: `pytest bench/bench_splitters.py`.

A dump and a tar of 20,000 files of 5 KiB, about 100 MB each, so 10 operations per second are about 1 GB/s.  The
ratio of the two fastest rounds is in the benchmark's extra_info as `of_blake3`; 0.25 is what it must be.
"""

if __name__ == "__main__":  # before what may not be installed
    import sys

    sys.exit(
        f"this is no program by itself: python -m pytest {sys.argv[0]} --benchmark-only -o timeout=0, with what "
        "pip install -e '.[dev]' installs (make bench does both)"
    )

import io
import random
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from pytest_benchmark.fixture import BenchmarkFixture

from pipelines.formats.splitters import AfsSplitter, TarSplitter, succeed
from tests.afsdump import make_dump

BUFFER = 4 << 20


def files() -> dict[str, bytes]:
    """Return data by path."""
    source = random.Random(1)
    return {f"folder{number // 2000}/file{number}": source.randbytes(5120) for number in range(20_000)}


def make_tar() -> bytes:
    """Return the files as a tar."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, data in files().items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


def split(splitter: AfsSplitter | TarSplitter, data: bytes) -> AfsSplitter | TarSplitter:
    """Split in buffers, as the store does."""
    view = memoryview(data)
    for at in range(0, len(data), BUFFER):
        splitter.split(view[at : at + BUFFER], at + BUFFER >= len(data))
    return splitter


def read_and_hash(path: Path) -> float:
    """Return the seconds that read + BLAKE3 of a cached file takes, the least of five."""
    buffer = memoryview(bytearray(BUFFER))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        hasher = blake3()
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(buffer[:count])
        hasher.digest()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.parametrize(
    ("splitter", "make"),
    [(AfsSplitter, lambda: make_dump("bench", 7, files())), (TarSplitter, make_tar)],
    ids=["afs", "tar"],
)
def test_splitting(
    benchmark: BenchmarkFixture,
    splitter: type[AfsSplitter | TarSplitter],
    make: Callable[[], bytes],
    tmp_path: Path,
) -> None:
    """Small files, the hardest case; a dump's data are hashed besides."""
    data = make()
    (tmp_path / "data").write_bytes(data)
    hashing = read_and_hash(tmp_path / "data")
    done = benchmark(lambda: split(splitter(), data))
    assert done.complete
    assert benchmark.stats is not None
    ratio = hashing / benchmark.stats.stats.min
    benchmark.extra_info |= {"MB": len(data) // 1_000_000, "of_blake3": round(ratio, 2)}
    assert ratio > 0.25


def test_succession(benchmark: BenchmarkFixture) -> None:
    """A million vnodes that did not change."""
    numbers = [*range(1, 2_000_000, 200), *range(2, 2_000_000, 2)]
    child = b"".join(struct.pack("<II24x", number, number) for number in numbers)
    parent = b"".join(struct.pack("<IIIB3xQQ", number, number, 1, 3, 1, 1) for number in numbers)
    succession = benchmark(succeed, parent, child)
    assert succession.missing == 0
