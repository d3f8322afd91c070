"""This project beside its peers: what they store, and what that costs, for the same dumps.

    python bench/peers.py --work FOLDER [--only TOOL]... [--dir FOLDER] [--borg PROGRAM] [--restic PROGRAM]

`--work` has one folder for each day, in the order of their names: the first is a full, the last the next week's
full, those between are incrementals; each has one file for each stream.  `python bench/afs_work.py FOLDER` makes one.

Each day goes into all tools in turn, which encrypt (bup and zstd cannot) and keep to one process a day:
- dedup: `dedup run`, with one source of kind `command` that has `cat` for each file of the day, two at a time;
- borg 1.4.5 (repokey-blake2, zstd,3) and restic, with their usual chunks, of 2 and 1 MiB; borg with 64 KiB, too;
- bup, with its usual zlib 1, and `zstd -3`, which keeps every day whole.
What counts is all files in the repository; not the caches that each tool can make again: dedup's and borg's state,
restic's cache, and what bup keeps in its repository as *.midx, *.bloom and an index of the file system.

borg is built in an environment of its own, unless `--borg` names one; Debian has the rest:
apt-get install --no-install-recommends restic bup zstd build-essential pkg-config python3-dev python3-venv
libssl-dev libacl1-dev liblz4-dev libzstd-dev libxxhash-dev
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from throughput import Bench

BORG = "borgbackup==1.4.5"
CACHES = (".midx", ".bloom")
SECRET = "a throw-away one"


class Cost(NamedTuple):
    """Bytes that a step added, seconds of wall and CPU time, peak memory of the largest process in MiB."""

    added: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """Return the cost of both, one after the other."""
        peak = max(self.peak, other.peak)
        return Cost(self.added + other.added, self.wall + other.wall, self.cpu + other.cpu, peak)


@dataclass
class Tool:
    """A program under comparison: what tells its version, what begins its repository, and what stores a day."""

    name: str
    version: list[str]
    repository: Path
    environment: dict[str, str]
    begin: list[list[str]]
    store: Callable[[Path], list[list[str]]]
    days: list[Cost] = field(default_factory=list)

    def prepare(self) -> None:
        """Make the repository."""
        for command in self.begin:
            self._run(command, Path.cwd())

    def keep(self, day: Path) -> None:
        """Store a day and note what it costs."""
        before, cost = self.size(), Cost()
        for command in self.store(day):
            cost = cost.plus(self._run(command, day))
        self.days.append(cost._replace(added=self.size() - before))

    def size(self) -> int:
        """Return the bytes of the repository's files."""
        files = (path for path in self.repository.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files if path.suffix not in CACHES)

    def _run(self, command: list[str], folder: Path) -> Cost:
        began = time.monotonic()
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - began
            if status:
                said.seek(0)
                sys.exit(f"{' '.join(command)} failed: {said.read().decode(errors='replace')}")
        return Cost(0, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def dedup(folder: Path) -> Tool:
    """Return this project, as cron would run it; its keys are made here."""
    program = str(Path(sys.executable).parent / "dedup")
    bench = Bench(folder)
    repository = folder / "repository"

    def store(day: Path) -> list[list[str]]:
        config = folder / f"{day.name}.toml"
        names, cat = json.dumps(["ls", str(day)]), json.dumps(["cat", f"{day}/{{name}}"])
        config.write_text(f'[[source]]\nkind = "command"\nname = "v"\nlist = {names}\ncommand = {cat}\n')
        return [[program, "--config", str(config), "-q", "run"]]

    environment = {
        "GNUPGHOME": bench.env["GNUPGHOME"],
        "DEDUP_REPOSITORY": str(repository),
        "DEDUP_STATE_DIR": str(folder / "state"),
    }
    init = [program, "init", "--writer", "writer", "--admin", "admin"]
    return Tool("dedup", [program, "--version"], repository, environment, [init], store)


def borg(folder: Path, program: str, name: str, *chunks: str) -> Tool:
    """Return borg, with other chunks than usual if asked for."""
    repository = folder / "repository"
    environment = {
        "BORG_BASE_DIR": str(folder),
        "BORG_PASSPHRASE": SECRET,
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    create = [program, "create", "--compression", "zstd,3", *chunks]
    return Tool(
        name,
        [program, "--version"],
        repository,
        environment,
        [[program, "init", "--encryption", "repokey-blake2", str(repository)]],
        lambda day: [[*create, f"{repository}::{day.name}", "."]],
    )


def restic(folder: Path, program: str) -> Tool:
    """Return restic."""
    environment = {
        "RESTIC_REPOSITORY": str(folder / "repository"),
        "RESTIC_PASSWORD": SECRET,
        "RESTIC_CACHE_DIR": str(folder / "cache"),
    }
    backup = [[program, "backup", "--quiet", "."]]
    version, begin = [program, "version"], [[program, "init"]]
    return Tool("restic", version, folder / "repository", environment, begin, lambda day: backup)


def bup(folder: Path) -> Tool:
    """Return bup."""
    names = ("--indexfile", str(folder / "index"))
    return Tool(
        "bup",
        ["bup", "--version"],
        folder / "repository",
        {"BUP_DIR": str(folder / "repository")},
        [["bup", "init"]],
        lambda day: [
            ["bup", "index", *names, "."],
            ["bup", "save", "--quiet", *names, "--name", "all", "."],
        ],
    )


def zstd(folder: Path) -> Tool:
    """Return zstd, which knows nothing of yesterday."""
    packed = folder / "repository"

    def store(day: Path) -> list[list[str]]:
        into = packed / day.name
        into.mkdir(parents=True)
        files = sorted(path.name for path in day.iterdir())
        return [["zstd", "-q", "-3", "-T1", "--output-dir-flat", str(into), *files]]

    return Tool("zstd -3", ["zstd", "--version"], packed, {}, [], store)


def built_borg(folder: Path) -> str:
    """Build borg in an environment of its own; return the program."""
    print(f"building {BORG} ...", file=sys.stderr)
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", BORG], check=True)
    return str(folder / "bin/borg")


def tools(folder: Path, arguments: argparse.Namespace) -> list[Tool]:
    """Make the tools that were asked for, with empty repositories; dedup first."""
    makers: dict[str, Callable[[Path], Tool]] = {
        "dedup": dedup,
        "borg": lambda place: borg(place, arguments.borg, "borg"),
        "borg-64k": lambda place: borg(
            place, arguments.borg, "borg, 64 KiB", "--chunker-params", "buzhash,14,19,16,4095"
        ),
        "restic": lambda place: restic(place, arguments.restic),
        "bup": bup,
        "zstd": zstd,
    }
    chosen = arguments.only or list(makers)
    if not arguments.borg and any(name.startswith("borg") for name in chosen):
        arguments.borg = built_borg(folder / "borg-environment")
    found = []
    for name in makers:
        if name in chosen:
            (folder / name).mkdir()
            found.append(makers[name](folder / name))
            found[-1].prepare()
    return found


def report(done: list[Tool], size: int) -> None:
    """Print what was measured; `size`: bytes of the first full."""
    total = {tool.name: sum(day.added for day in tool.days[1:]) for tool in done}
    base, floor = total.get("restic"), {tool.name: tool.days[0].added for tool in done}.get("zstd -3")
    for tool in done:
        said = subprocess.run(tool.version, capture_output=True, text=True, check=True).stdout
        print(f"- {tool.name}: {said.strip()}")
    print(
        f"\nThe first full has {size / 1e6:.0f} MB. The machine's load was {os.getloadavg()[1]:.1f} at the end.\n"
    )
    print("| tool | first full, MB | / zstd -3 | incrementals + | next full + | both / restic |")
    print("|---|--:|--:|--:|--:|--:|")
    for tool in done:
        first, last = tool.days[0].added, tool.days[-1].added
        print(
            f"| {tool.name} | {first / 1e6:.1f} | {_ratio(first, floor)} "
            f"| {(total[tool.name] - last) / 1e6:.1f} | {last / 1e6:.1f} | {_ratio(total[tool.name], base)} |"
        )
    print("\nMB that each day added:\n")
    days = len(done[0].days)
    print(f"| tool | {' | '.join(str(day) for day in range(1, days + 1))} |\n|---|{'--:|' * days}")
    for tool in done:
        print(f"| {tool.name} | {' | '.join(f'{day.added / 1e6:.1f}' for day in tool.days)} |")
    for tool in done:
        if tool.name == "dedup":
            print(f"\nThe MB in dedup's folders: {', '.join(_folders(tool.repository))}.")
    print("\nSeconds of wall time / of CPU time, and the largest process:\n")
    print("| tool | first full | incrementals | next full | peak MiB |\n|---|--:|--:|--:|--:|")
    for tool in done:
        between = Cost()
        for day in tool.days[1:-1]:
            between = between.plus(day)
        parts = (tool.days[0], between, tool.days[-1])
        shown = " | ".join(f"{part.wall:.1f} / {part.cpu:.1f}" for part in parts)
        print(f"| {tool.name} | {shown} | {max(day.peak for day in tool.days):.0f} |")


def _folders(repository: Path) -> list[str]:
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in sorted(repository.iterdir())
    }
    return [f"{name} {size / 1e6:.2f}" for name, size in sizes.items() if size]


def _ratio(value: int, base: int | None) -> str:
    return f"{value / base:.3f}" if base else "-"


def main() -> None:
    """Store the days with each tool in turn, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="a folder for each day")
    parser.add_argument("--only", action="append", metavar="TOOL", help="may be repeated; all by default")
    parser.add_argument("--dir", type=Path, help="where to work; by default the folder for temporary files")
    parser.add_argument(
        "--borg", metavar="PROGRAM", help=f"a borg that is there, rather than {BORG} built anew"
    )
    parser.add_argument("--restic", metavar="PROGRAM", default="restic")
    arguments = parser.parse_args()
    days = sorted(path.absolute() for path in arguments.work.iterdir() if path.is_dir())
    if len(days) < 2:
        sys.exit(f"{arguments.work} has no two days")
    with tempfile.TemporaryDirectory(prefix="dedup-peers-", dir=arguments.dir) as temporary:
        folder = Path(temporary)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is not compiled is not what users start
        try:
            found = tools(folder, arguments)
            for day in days:
                for tool in found:
                    tool.keep(day)
                print(f"{day.name} is stored", file=sys.stderr)
            report(found, sum(path.stat().st_size for path in days[0].iterdir()))
        finally:
            home = str(folder / "dedup/gnupg")
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


if __name__ == "__main__":
    main()
