"""This project beside its peers: speed, memory and size, on the same bytes, in the same rounds.

    python bench/peers.py [--work FOLDER | --size MB] [--runs N] [--only PART]... [--tool TOOL]... [--dir FOLDER]
                          [--program TOOL=PROGRAM]... [--results FILE] [--report FILE] [--plot FILE]

The work is a week of backups of an AFS cell, made by `bench/afs_work.py`, or any folder with a folder a day, in the
order of their names: the first a full, the last the next full, incrementals between, each with a file a stream.
docs/comparison.md says what is compared and how.  The parts, of which `--only` chooses:

    local     full, next full, the same data again, restore of everything, verify
    stream    the first full as one tar: from standard input, and back into a pipe; and the machine's limits
    streams   the first full as a stream for each volume
    small     20,000 files of 4 KiB as one tar
    sftp      full, next full, restore, over SSH to this machine
    startup   --version, and lists
    weeks     all days; once, whatever --runs says

`--results` keeps the figures: those of a part that is measured later join those that are there, and `--runs 0` makes
report and plot of them without measuring.  `--report` writes a page, or, where FILE has the two lines that mark the
place, the tables between these.  `--plot FILE` writes FILE.svg and FILE.png, and needs matplotlib: `pip install
'.[bench]'`.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import peers_install
from peers_bench import Bench
from peers_machine import machine
from peers_measure import output
from peers_parts import ONCE, PARTS
from peers_report import write
from peers_results import Results, load
from peers_tools import KINDS, PROGRAMS, version_of
from peers_work import make


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
        from peers_plot import plot

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
            found[name] = named.get(wanted) or peers_install.find(wanted)
        except peers_install.MissingError as why:
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="days of dumps that are there")
    parser.add_argument("--size", type=int, default=1050, help="MB of a full that is made")
    parser.add_argument("--files", type=int, default=20_000, help="how many small files")
    parser.add_argument("--snapshots", type=int, default=1000, help="how many are listed at start-up")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help="may be repeated")
    parser.add_argument("--tool", action="append", choices=KINDS, metavar="TOOL", help="may be repeated")
    parser.add_argument("--dir", type=Path, default=Path("/dev/shm"), help="where to work; memory by default")
    parser.add_argument(
        "--program", action="append", default=[], metavar="TOOL=PROGRAM", help="one that is there; repeatable"
    )
    parser.add_argument("--results", type=Path, help="a file of figures (JSON)")
    parser.add_argument("--report", type=Path, help="a page; standard output by default")
    parser.add_argument("--plot", type=Path, help="a picture, without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
