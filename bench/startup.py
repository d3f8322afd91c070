"""What it costs to start: `dedup --version`, and the commands that are asked for next to nothing.

    python bench/startup.py [--snapshots N] [--runs N] [--dir FOLDER]

Makes a local repository of N snapshots, one a day, lets the local cache learn them, and then runs the commands in
turn, beside an interpreter that does nothing; `put`, `get` and `run` have six bytes to move.  Prints medians and
the fastest in milliseconds of wall time, the medians' ratio to `python -c pass` of the same interpreter, and CPU
time with that of gpg.
"""

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.options import existing_folder
from dedupstore.backends import open_backend
from dedupstore.repository import Repository
from dedupstore.state.folder import StateFolder
from dedupstore.writing.session import RunDetails
from keys import members
from keys.gpg import Gpg
from keys.members import unlock
from keys.roster import membership
from keys.trust import Trust

DAY = 86_400
FIRST = 1_700_000_000
LINE = b"hello\n"
CONFIG = """
[[source]]
kind = "command"
name = "line"
list = ["echo", "hello"]
command = ["echo", "{name}"]
"""


def make(place: Path, state: Path, home: Path, snapshots: int) -> None:
    """Make a repository of so many snapshots, each of one small stream."""
    quiet = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "")
    subprocess.run([*quiet, "--quick-gen-key", "admin", "default", "default"], check=True)
    gpg, trust = Gpg(home), Trust(StateFolder(state))
    backend = open_backend(str(place))
    roster = members.init(backend, str(place), gpg, trust, [], ["admin"])
    access = unlock(backend, roster, gpg, reading=False)
    folder = trust.folder(roster.repository)
    with Repository(backend, membership(roster), lambda: access, folder) as repository:
        for number in range(snapshots):
            details = RunDetails("fs1.example.org", "bench", FIRST + number * DAY, 0)
            with repository.session(details) as session:
                session.put(f"user.{number % 100}", io.BytesIO(number.to_bytes(4, "big")))
                session.finish()


def seconds(command: tuple[str, ...], environment: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU time of a command that must succeed, and gets one line."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, input=LINE, stdout=subprocess.DEVNULL, check=True)
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended - began, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(commands: dict[str, tuple[str, ...]], environment: dict[str, str], runs: int) -> None:
    """Run the commands in turn, the first of them being what the others are compared with, and print."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs + 1):  # the first one warms the caches of files, and is dropped
        for name, command in commands.items():
            times[name].append(seconds(command, environment))
    print("| what | ms | fastest | ratio | CPU ms |\n|---|--:|--:|--:|--:|")
    base = 0.0
    for name, found in times.items():
        walls, busy = zip(*found[1:], strict=True)
        base = base or statistics.median(walls)
        print(
            f"| {name} | {statistics.median(walls) * 1000:.0f} | {min(walls) * 1000:.0f} "
            f"| {statistics.median(walls) / base:.1f} | {statistics.median(busy) * 1000:.0f} |"
        )


def main() -> None:
    """Make, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--snapshots", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument(
        "--dir", type=existing_folder, help="where to work; by default the folder for temporary files"
    )
    arguments = parser.parse_args()
    dedup = str(Path(sys.executable).parent / "dedup")
    with tempfile.TemporaryDirectory(prefix="dedup-bench-", dir=arguments.dir) as temporary:
        folder = Path(temporary)
        home = folder / "gnupg"
        home.mkdir(mode=0o700)
        environment = os.environ | {
            "GNUPGHOME": str(home),
            "DEDUP_REPOSITORY": str(folder / "repository"),
            "DEDUP_STATE_DIR": str(folder / "state"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is not compiled is not what users start
        config = folder / "dedup.toml"
        config.write_text(CONFIG)
        config.chmod(0o600)
        try:
            make(folder / "repository", folder / "state", home, arguments.snapshots)
            commands = {
                "python -c pass": (sys.executable, "-c", "pass"),
                "dedup --version": (dedup, "--version"),
                f"dedup list, {arguments.snapshots} snapshots": (dedup, "list"),
                "dedup list latest": (dedup, "list", "latest"),
                "dedup put": (dedup, "-q", "put", "line"),
                "dedup get": (dedup, "get", "latest", "line"),
                "dedup run": (dedup, "-q", "--config", str(config), "run"),
            }
            measure(commands, environment, arguments.runs)
        finally:
            subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


if __name__ == "__main__":
    main()
