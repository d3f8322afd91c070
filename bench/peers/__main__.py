"""This project beside its peers: speed, memory and size, on the same bytes, in the same rounds.

    python -m bench.peers [--work FOLDER | --size MB] [--runs N] [--only PART]... [--tool TOOL]... [--dir FOLDER]
                          [--program TOOL=PROGRAM]... [--results FILE] [--report FILE] [--plot FILE]

The work is a week of backups of an AFS cell, made by `bench/afs_work.py`, or any folder with a folder a day, in the
order of their names: the first a full, the last the next full, incrementals between, each with a file a stream.
docs/comparison.md says what is compared and how.  The parts, of which `--only` chooses:

    local     full, next full, the same data again, restore of everything, verify
    stream    the first full as one tar: from standard input, and back into a pipe; and the machine's limits
    streams   the first full and the next, each as a stream for each volume
    small     20,000 files of 4 KiB as one tar
    sftp      full, next full, restore, over SSH to this machine
    far       the same, where every round trip takes 20 ms
    startup   --version, and lists
    weeks     all days; once, whatever --runs says

All of it needs some 14 GB of memory in /dev/shm, or of disk in `--dir`, and three quarters of an hour for five rounds
on two cores.  `--results` keeps the figures: those of a part that is measured later join those that are there, and
`--runs 0` makes report and plot of them without measuring.  `--report` writes a page, or, where FILE has the two lines
that mark the place, the tables between these.  `--plot FILE` writes FILE.svg and FILE.png, and needs matplotlib:
`.venv/bin/pip install -e '.[bench]'`.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from bench.options import existing_folder
from bench.peers import install
from bench.peers.bench import Bench
from bench.peers.machine import machine
from bench.peers.measure import output
from bench.peers.parts import ONCE, PARTS
from bench.peers.report import write
from bench.peers.results import Results, load
from bench.peers.tools import KINDS, PROGRAMS, version_of
from bench.peers.work import make

_PROGRAMS = ", ".join(sorted(set(PROGRAMS.values())))
_DEFAULT = " (default %(default)s)"


def main() -> None:
    """Measure, and report."""
    arguments = _arguments()
    results = load(arguments.results) if arguments.results else Results()
    if arguments.runs:
        folder = tempfile.mkdtemp(prefix="peers-", dir=arguments.dir)
        try:
            _measure(Path(folder), arguments, results)
        finally:
            subprocess.run(["rm", "-rf", folder], check=False)
    if arguments.plot:
        from bench.peers.plot import plot

        plot(results, arguments.plot)
    write(results, arguments.report, arguments.plot)


def _measure(folder: Path, arguments: argparse.Namespace, results: Results) -> None:
    """Measure round by round and part by part, and keep each as it is done."""
    environment = {**os.environ, "GNUPGHOME": str(folder / "gnupg")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is not compiled is not what users start
    programs = _programs(arguments, environment, results)
    try:
        _keys(folder / "gnupg", environment)
        work = make(folder, arguments.work, arguments.size, arguments.files)
        bench = Bench(folder, work, programs, environment, arguments.snapshots)
        begun: dict[str, dict[str, str]] = {}
        for bench.number in range(arguments.runs):
            for part in arguments.only or PARTS:
                if bench.number and part in ONCE:
                    continue
                before = begun.setdefault(part, machine(folder))
                PARTS[part](bench)
                load = f"{before['load']}, {machine(folder)['load']}"
                facts = {"load": load, "rounds": str(bench.number + 1)}
                bench.results.parts[part] = before | facts
                results.join(bench.results)
                if arguments.results:
                    results.save(arguments.results)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


def _programs(arguments: argparse.Namespace, environment: dict[str, str], results: Results) -> dict[str, str]:
    """Return the program of every tool that is wanted and can be had; note versions, and what is missing."""
    named = dict(each.split("=", 1) for each in arguments.program)
    found = {}
    for name in arguments.tool or KINDS:
        wanted = PROGRAMS[name]
        try:
            found[name] = named.get(wanted) or install.find(wanted)
        except install.MissingError as why:
            results.missing[name] = str(why)
            continue
        results.missing.pop(name, None)
        version = [found[name], "version" if name == "restic" else "--version"]
        results.versions[name] = version_of(output(version, environment))
    return found


def _keys(home: Path, environment: dict[str, str]) -> None:
    home.mkdir(mode=0o700)
    for name in ("writer", "admin"):
        quiet = ["gpg", "--batch", "--quiet", "--passphrase", ""]
        output([*quiet, "--quick-gen-key", name, "default", "default"], environment)


def _program(text: str) -> str:
    if text.partition("=")[0] not in PROGRAMS.values() or not text.partition("=")[2]:
        raise argparse.ArgumentTypeError(
            f"{text!a} is not TOOL=PROGRAM, with one of {_PROGRAMS} before the ="
        )
    return text


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!a} is not a number from 0 on")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--work",
        type=existing_folder,
        metavar="FOLDER",
        help="days of dumps that are there, a folder for each",
    )
    add(
        "--size",
        type=_number,
        default=1050,
        metavar="MB",
        help=f"of a full that is made, in 10^6 bytes{_DEFAULT}",
    )
    add("--files", type=_number, default=20_000, metavar="N", help=f"how many small files{_DEFAULT}")
    add(
        "--snapshots",
        type=_number,
        default=1000,
        metavar="N",
        help=f"how many are listed at start-up{_DEFAULT}",
    )
    add(
        "--runs",
        type=_number,
        default=5,
        metavar="N",
        help=f"rounds, of which the tables have the median; 0: no measuring, a page of --results{_DEFAULT}",
    )
    add(
        "--only", action="append", choices=PARTS, metavar="PART", help="may be repeated; by default all parts"
    )
    add(
        "--tool",
        action="append",
        choices=KINDS,
        metavar="TOOL",
        help=f"{', '.join(KINDS)}; may be repeated; by default all that can be had",
    )
    add(
        "--dir",
        type=existing_folder,
        default="/dev/shm",
        metavar="FOLDER",
        help=f"where to work{_DEFAULT}: in memory",
    )
    add(
        "--program",
        action="append",
        type=_program,
        default=[],
        metavar="TOOL=PROGRAM",
        help="one that is there; may be repeated",
    )
    add("--results", type=Path, metavar="FILE", help="of figures (JSON)")
    add("--report", type=Path, metavar="FILE", help="a page; by default standard output")
    add("--plot", type=Path, metavar="FILE", help="a picture, without its suffix")
    chosen = parser.parse_args()
    if why := _wrong(chosen):
        parser.error(why)
    for option, file in (("--results", chosen.results), ("--report", chosen.report), ("--plot", chosen.plot)):
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                parser.error(f"{option}: {file.parent}: {error.strerror}")
    return chosen


def _wrong(chosen: argparse.Namespace) -> str:
    """Say what would only come out later; "" if nothing is wrong."""
    if not chosen.runs and not (chosen.results and chosen.results.is_file()):
        return "--runs 0 makes a page of figures that are there: --results FILE"
    return ""


if __name__ == "__main__":
    main()
