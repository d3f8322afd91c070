"""The comparison runs from end to end: tiny, and without the tools that a machine may not have."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from bench.peers.measure import Call, digest, measure
from bench.peers.report import BEGIN

ROOT = Path(__file__).parents[2]
STEPS = {
    "full",
    "next",
    "again",
    "restore",
    "verify",
    "limits",
    "put",
    "get",
    "streams",
    "streams next",
    "small",
    "version",
    "list",
}
STEPS |= {
    "sftp full",
    "sftp next",
    "sftp restore",
    "far full",
    "far next",
    "far restore",
    "week full",
    "week incrementals",
    "week next",
    "list of many",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for an agent's socket."""
    with TemporaryDirectory(prefix="peers-") as name:
        yield Path(name)


def test_every_part_is_measured_and_reported(folder: Path) -> None:
    for day, seed in (("1", 1), ("2", 1), ("3", 2)):
        (folder / "days" / day).mkdir(parents=True)
        for name in ("one.dump", "two.tar"):
            (folder / "days" / day / name).write_bytes(Random(seed).randbytes(300_000))

    command: list[str | Path] = [
        sys.executable,
        "-m",
        "bench.peers",
        "--work",
        folder / "days",
        "--dir",
        folder,
        "--runs",
        "1",
    ]
    command += ["--files", "60", "--snapshots", "3", "--tool", "dedup", "--tool", "zstd"]
    command += ["--results", folder / "results", "--report", folder / "page.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr
    measured = json.loads((folder / "results").read_text())["steps"]
    assert STEPS == set(measured)
    assert 600_000 == measured["full"]["amount"]
    assert BEGIN in (folder / "page.md").read_text()
    assert {"days", "results", "page.md"} == set(os.listdir(folder))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("peers --work /nope", "argument --work: there is no folder /nope"),
        ("peers --dir /nope", "argument --dir: there is no folder /nope"),
        ("throughput.py --dir /nope", "argument --dir: there is no folder /nope"),
        ("memory.py --dir /nope", "argument --dir: there is no folder /nope"),
        ("startup.py --dir /nope", "argument --dir: there is no folder /nope"),
        ("peers --runs 0", "--runs 0 makes a page of figures that are there: --results FILE"),
        (
            "peers --runs 0 --results /nope",
            "--runs 0 makes a page of figures that are there: --results FILE",
        ),
        ("peers --report /dev/null/page", "--report: /dev/null: File exists"),
        ("peers --runs many", "argument --runs: 'many' is not a number from 0 on"),
        ("peers --program restic", "argument --program: 'restic' is not TOOL=PROGRAM, with one of "),
        ("scale.py --folder /nope", "there is no folder /nope"),
        ("scale.py --millions 0", "argument --millions: 0 is no number of millions"),
    ],
)
def test_wrong_usage_is_told_in_one_line(line: str, why: str) -> None:
    program, *rest = line.split()
    command = ["-m", "bench.peers"] if program == "peers" else [f"bench/{program}"]
    name = "python -m bench.peers" if program == "peers" else program
    done = subprocess.run([sys.executable, *command, *rest], cwd=ROOT, capture_output=True, text=True)
    assert 2 == done.returncode
    assert done.stderr.splitlines()[-1].startswith(f"{name}: error: {why}")


@pytest.mark.parametrize("program", ["limits", "stages", "chunker", "splitters"])
def test_what_pytest_runs_says_so_even_without_it(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", f"bench/bench_{program}.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert 1 == done.returncode
    (said,) = done.stderr.splitlines()
    assert f"python -m pytest bench/bench_{program}.py --benchmark-only" in said


def test_cpu_of_a_child_s_children_counts() -> None:
    burn = "import os, time\nwhile time.process_time() < 0.3: pass"
    shell = f"{sys.executable} -c '{burn}'; true"

    cost = measure([Call(["sh", "-c", shell])], os.environ)

    assert cost.cpu >= 0.3


def test_a_command_that_fails_stops_the_comparison_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match=r"ls /nowhere failed:\n.*No such file"):
        measure([Call(["ls", "/nowhere"])], os.environ)


def test_what_goes_into_a_pipe_is_hashed_whole(tmp_path: Path) -> None:
    data = Random(1).randbytes(3_000_000)
    (tmp_path / "data").write_bytes(data)

    plain = subprocess.run(["sha256sum", tmp_path / "data"], capture_output=True, check=True).stdout.split()[
        0
    ]

    assert plain.decode() == digest(Call(["cat", str(tmp_path / "data")], piped=True), os.environ)
