"""What chunking costs a byte, beside a copy and a BLAKE3 of the same bytes: `pytest bench/bench_chunker.py`.

The data are 10 MB, so operations per second, divided by 100, are GB/s.  Compare the fastest rounds: the mean
tells more about what else the machine does.
"""

if __name__ == "__main__":  # before what may not be installed
    import sys

    sys.exit(
        f"this is no program by itself: python -m pytest {sys.argv[0]} --benchmark-only -o timeout=0, with what "
        "pip install -e '.[dev]' installs (make bench does both)"
    )

from collections.abc import Callable

import pytest
from blake3 import blake3
from pytest_benchmark.fixture import BenchmarkFixture

from dedupstore.chunks import _chunker

GEAR = blake3(b"dedup1 gear", key=bytes(32)).digest(length=1024)
DATA = blake3(b"dedup1 chunker benchmark").digest(length=10_000_000)


@pytest.mark.parametrize("average", [4 << 10, 16 << 10, 64 << 10])
@pytest.mark.parametrize("cuts", [_chunker.cuts, _chunker.cuts_scalar])
def test_chunker(benchmark: BenchmarkFixture, cuts: Callable[..., list[int]], average: int) -> None:
    """Vector code where the machine has AVX-512, and the scalar code that all others run."""
    found = benchmark(cuts, DATA, GEAR, average // 4, average, average * 4, True)
    assert found[-1] == len(DATA)


def test_memory_copy(benchmark: BenchmarkFixture) -> None:
    """A floor: every byte read and written once."""
    copy = bytearray(len(DATA))

    def overwrite() -> None:
        copy[:] = DATA

    benchmark(overwrite)
    assert copy == DATA


def test_blake3(benchmark: BenchmarkFixture) -> None:
    """The hot path's other cost for each byte."""
    name = benchmark(lambda: blake3(DATA, key=bytes(32)).digest())
    assert len(name) == 32
