"""What `bench_limits.py` and `bench_stages.py` share: the bytes, a fixture that measures, and a table at the end.

Invariant: a stage and its limit are measured in the same run, on the same bytes or as many; the table compares the
fastest rounds, as the mean tells more about what else the machine does.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.made import data
from bench.stage_parts import SIZE
from dedupstore import malloc
from dedupstore.writing.sequence_writer import BLOCK_SIZE

ROUNDS = 15


class Measured(NamedTuple):
    """A stage: MB/s (10^6 bytes), and the name of what bounds it ("" for a limit itself)."""

    speed: float
    limit: str


class Stage(Protocol):
    """Measures one stage."""

    def __call__(
        self,
        name: str,
        size: int,
        work: Callable[[], object],
        *,
        limit: str = "",
        setup: Callable[[], object] | None = None,
    ) -> None:
        """Run `work`, which handles `size` bytes, some times, each after `setup`, and note the fastest."""
        ...


_measured: dict[str, Measured] = {}


@pytest.fixture(scope="session")
def stream() -> bytes:
    """Bytes as home volumes have them."""
    return b"".join(data.pieces(SIZE))


@pytest.fixture(scope="session")
def pieces(stream: bytes) -> list[memoryview]:
    """The same in blocks."""
    return [memoryview(stream)[at : at + BLOCK_SIZE] for at in range(0, SIZE, BLOCK_SIZE)]


@pytest.fixture
def stage(benchmark: BenchmarkFixture) -> Stage:
    """Measure one stage; see `Stage`."""

    def measure(
        name: str,
        size: int,
        work: Callable[[], object],
        *,
        limit: str = "",
        setup: Callable[[], object] | None = None,
    ) -> None:
        def prepare() -> None:
            if setup is not None:
                setup()

        benchmark.pedantic(work, setup=prepare, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
        speed = size / 1e6 / benchmark.stats.stats.min  # type: ignore[union-attr]
        benchmark.extra_info |= {"MB/s": round(speed)}
        _measured[name] = Measured(speed, limit)

    return measure


def pytest_configure() -> None:
    """Set the heap up as the program does."""
    malloc.reuse_buffers()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table; for pytest."""
    if not _measured:
        return
    lines = ["", "| stage | MB/s | limit | MB/s | ratio |", "|---|--:|---|--:|--:|"]
    for name, (speed, limit) in _measured.items():
        bound = _measured.get(limit)
        beside = f"{bound.speed:,.0f} | {speed / bound.speed:.2f}" if bound else " | "
        lines.append(f"| {name} | {speed:,.0f} | {limit} | {beside} |")
    terminalreporter.write_line("\n".join(lines))
