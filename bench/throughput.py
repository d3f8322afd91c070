"""Whole-process figures of put and get, with ratios to the machine's limits in the same run.

    python bench/throughput.py [--size MB] [--runs N] [--dir FOLDER]

Interleaves, N times: read + BLAKE3 of the file (one core), `zstd -3 -T2` and `zstd -d` of it, `dedup put` of
new data, of the same data again, and `dedup get`.  Prints medians as MB/s (10^6 bytes of source a second of wall
time) with the slowest and the fastest, CPU seconds (median), peak memory, and ratios: of medians, and of what the
CPU seconds say, which other work on the machine disturbs less.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.made import data
from bench.options import existing_folder

NULL = Path(os.devnull)
HASH = """
import sys, blake3
h = blake3.blake3()
with open(sys.argv[1], "rb", buffering=0) as f:
    buffer = memoryview(bytearray(1 << 20))
    while n := f.readinto(buffer):
        h.update(buffer[:n])
print(h.hexdigest())
"""


class Figures(NamedTuple):
    """One run of a command: seconds of wall time and of CPU time, and peak MiB."""

    wall: float
    busy: float
    peak: float


class Bench:
    """The throw-away keys and repositories of one measurement."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        home = folder / "gnupg"
        home.mkdir(mode=0o700)
        self.env = os.environ | {"GNUPGHOME": str(home)}
        for name in ("writer", "admin"):
            self.call(
                "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", name, "default", "default"
            )
        self.rows: dict[str, list[Figures]] = {}

    def call(
        self, *command: str, repository: str = "", stdin: Path | None = None, out: Path | None = None
    ) -> None:
        """Run a command that must succeed."""
        self.timed(command, repository, stdin, out)

    def timed(
        self,
        command: tuple[str, ...],
        repository: str = "",
        stdin: Path | None = None,
        out: Path | None = None,
    ) -> Figures:
        """Run a command that must succeed."""
        env = self.env | {
            "DEDUP_REPOSITORY": str(self.folder / repository),
            "DEDUP_STATE_DIR": str(self.folder / "state" / (repository or "none")),
        }
        with (stdin or NULL).open("rb") as source, (out or NULL).open("wb") as sink:
            began = time.monotonic()
            child = subprocess.Popen(command, stdin=source, stdout=sink, stderr=subprocess.PIPE, env=env)
            assert child.stderr is not None
            errors = child.stderr.read()
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - began
        if status:
            sys.exit(f"{' '.join(command)} failed: {errors.decode()}")
        return Figures(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

    def note(self, name: str, figures: Figures) -> None:
        """Keep the figures of one run."""
        self.rows.setdefault(name, []).append(figures)

    def round(self, number: int) -> None:
        """Measure everything once."""
        repository = f"repository{number}"
        dedup = str(Path(sys.executable).parent / "dedup")
        self.call(dedup, "init", "--writer", "writer", "--admin", "admin", repository=repository)
        self.note(
            "read + BLAKE3, one core",
            self.timed(("taskset", "-c", "0", sys.executable, "-c", HASH, str(self.source))),
        )
        packed = self.folder / "packed.zst"
        self.note(
            "zstd -3 -T2", self.timed(("zstd", "-q", "-f", "-3", "-T2", str(self.source), "-o", str(packed)))
        )
        self.note("zstd -d", self.timed(("zstd", "-q", "-d", "-c", str(packed))))
        put = (dedup, "-q", "put", "stream")
        self.note("put, new data", self.timed(put, repository, self.source))
        self.note("put, the same again", self.timed(put, repository, self.source))
        self.note("get", self.timed((dedup, "get", "latest", "stream"), repository))
        shutil.rmtree(self.folder / repository)

    def table(self, size: int) -> None:
        """Print medians, spreads and ratios."""
        medians = {
            name: Figures(*(statistics.median(column) for column in zip(*rows, strict=True)))
            for name, rows in self.rows.items()
        }
        print("| what | MB/s | slowest - fastest | CPU s | peak MiB |\n|---|--:|--:|--:|--:|")
        for name, rows in self.rows.items():
            slowest, median, fastest = (
                size / 1e6 / wall
                for wall in (max(row.wall for row in rows), medians[name].wall, min(row.wall for row in rows))
            )
            peak = max(row.peak for row in rows)
            print(
                f"| {name} | {median:.0f} | {slowest:.0f} - {fastest:.0f} | {medians[name].busy:.2f} | {peak:.0f} |"
            )
        print()
        for one, other in (
            ("put, the same again", "read + BLAKE3, one core"),
            ("put, new data", "zstd -3 -T2"),
            ("get", "zstd -d"),
        ):
            ours, theirs = medians[one], medians[other]
            print(f"{one} / {other}: {theirs.wall / ours.wall:.2f}, by CPU {theirs.busy / ours.busy:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="MB of data")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--dir", type=existing_folder, default="/dev/shm", help="where to work; in memory by default"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dedup-bench-", dir=arguments.dir) as folder:
        bench = Bench(Path(folder))
        data.make(bench.source, arguments.size * 1_000_000)
        for number in range(arguments.runs):
            bench.round(number)
        bench.table(arguments.size * 1_000_000)
        subprocess.run(["gpgconf", "--kill", "all"], env=bench.env, check=False)


if __name__ == "__main__":
    main()
