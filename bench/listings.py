"""What it costs to list the flat folders of a repository after years of many hosts.

    python bench/listings.py [--hosts N] [--years N] [--keep N] [--index N] [--merged N] [--dir FOLDER] [--limit S]

Makes the folders of empty files, as they are if nothing was ever pruned, and as retention leaves them; lists each of
them, alone in a process, over a local folder and over SFTP to a server of its own on this machine (as root).  Prints
seconds of wall and of CPU time (over SFTP without ssh and the server), the memory that the listing took, the bytes
that ssh received, and what bytes and round trips make of it on a line of 20 Mbit/s and 20 ms, which is computed.
`(refresh)`, of the first year and of the pruned ones, is what every command does when its cache knows all of it.
Gives up at the limit.
"""

import argparse
import multiprocessing
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from bench.options import existing_folder
from dedupstore.access import Membership, Signer
from dedupstore.backends import open_backend
from dedupstore.format import layout, records, run_records
from dedupstore.format.layout import Kind
from dedupstore.history.alarms import SnapshotInfo
from dedupstore.history.closings import CountingContext
from dedupstore.history.snapshots import Snapshots
from dedupstore.state.folder import StateFolder
from tests.servers.sshd import Sshd

ANSWER, AHEAD = 100, 4  # names in an answer of OpenSSH's server; answers that the back end asks for at once
BITS, TURN = 20e6, 0.02
LEDGER, TOMBSTONES = 52_000, 40_000  # rows that fit into a file
TIME = 1_700_000_000
ROW = "{:7}{:12}{:>9}{:>8}{:>8}{:>7}{:>9}{:>10}{:>11}{:>8}"
Cost = tuple[int, float, float, float]  # names, seconds, CPU seconds, MiB


def list_names(url: str, folder: str) -> Cost:
    """List a folder."""
    backend = open_backend(url)
    sum(1 for _ in backend.names("none"))  # the login
    cost = _cost(lambda: set(backend.names(folder)))
    backend.close()
    return cost


def refresh(url: str, state: str, hosts: int) -> Cost:
    """Do what every command does with snapshots and other records that are in its cache: list, decode, compare."""
    snapshots = Snapshots(_opened(url, state, hosts))
    cost = _cost(lambda: {info.name for info in snapshots.counting()})
    if snapshots.alarms:
        sys.exit(f"there should be no alarm: {snapshots.alarms[0]}")
    return cost


def fill(url: str, state: str, hosts: int, entombed: int) -> None:
    """Put into a cache what the files would say; each snapshot has seen the newest of each host."""
    opened = _opened(url, state, hosts)
    backend, cache, signers = opened.backend, opened.cache, list(opened.members.signers)
    heads: dict[bytes, tuple[int, bytes]] = {}
    published, ledger, headers = [], [], []
    done = (file for file in backend.names("runs") if file.endswith(".done"))
    for number, name in enumerate(layout.digests(backend.names("snapshots"))):
        signer, sequence = signers[number % hosts], number // hosts + 1
        if file := next(done, ""):
            run = layout.run_of(file, Kind.DONE) or b""
            published.append(
                (file, signer, records.encode(run_records.Done(run, name, os.urandom(32), TIME)))
            )
        else:
            run = os.urandom(16)
            ledger.append(run + signer + name)
        times, roster = (TIME, 0, TIME, TIME), (opened.members.serial, opened.members.digest)
        info = SnapshotInfo(
            name, signer, run, "host", sequence, *times, "host", "dedup", 1, 1, 1, 1, dict(heads), roster
        )
        headers.append((name, msgspec.msgpack.encode(info), b""))
        heads[signer] = (sequence, name)
    cache.add_snapshots(headers)
    cache.records.add(published)
    for file in backend.names("ledgers"):
        rows, ledger = ledger[:LEDGER], ledger[LEDGER:]
        cache.records.add([(file, signers[0], records.encode(run_records.Ledger(TIME, b"", b"".join(rows))))])
    for file in backend.names("tombstones"):
        count, entombed = min(entombed, TOMBSTONES), entombed - min(entombed, TOMBSTONES)
        column = b"".join(os.urandom(96) + number.to_bytes(8, "little") for number in range(1, count + 1))
        cache.records.add(
            [(file, signers[0], records.encode(run_records.Tombstones(TIME, b"", column, b"")))]
        )


def _opened(url: str, state: str, hosts: int) -> CountingContext:
    signers = {number.to_bytes(32): Signer("host", "admin", "host", bytes(32)) for number in range(hosts)}
    members = Membership(bytes(16), 1, bytes(32), signers)
    return CountingContext(
        open_backend(url), members, lambda: sys.exit("a file was read"), StateFolder(Path(state))
    )


def _cost(work: Callable[[], set[Any]]) -> Cost:
    before, began, busy = _peak(), time.perf_counter(), time.process_time()
    found = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    return len(found), seconds, cpu, (_peak() - before) / 1024


def _peak() -> int:
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


class Bench:
    """The server, the scratch folder and the time that is left."""

    def __init__(self, server: Sshd, scratch: Path, limit: float) -> None:
        self._server = server
        self._scratch = scratch
        self._log = scratch / "ssh.log"
        self._end = time.monotonic() + limit
        os.environ["DEDUP_SSH"] = f"{server.env['DEDUP_SSH']} -v -E {self._log}"

    def measure(self, case: str, names: dict[str, Iterable[str]], hosts: int, entombed: int) -> None:
        """Make the folders of a case, and list each; with hosts, measure a command's refresh, too."""
        name = case.replace(" ", "-")
        folder = self._server.home / name
        counts = {part: make(folder / part, files) for part, files in names.items()}
        folder.chmod(0o755)
        print(f"\n{case}")
        print(
            ROW.format(
                "", "folder", "names", "s", "CPU s", "MiB", "MB sent", "B a name", "20 Mbit/s", "20 ms"
            ),
            flush=True,
        )
        for part, count in counts.items():
            for place, url in (("local", str(folder)), ("SFTP", self._server.url(name))):
                cost = self._alone(list_names, url, part)
                if cost[0] != count:
                    sys.exit(f"{place} lists {cost[0]} names of {count} in {part}")
                self._print(place, part, cost)
        if hosts:
            state = str(self._scratch / name)
            self._alone(fill, str(folder), state, hosts, entombed)
            self._print("local", "(refresh)", self._alone(refresh, str(folder), state, hosts))

    def _alone(self, work: Callable[..., Any], *arguments: object) -> Any:
        """Return what a function returns in a fresh process."""
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            try:
                return pool.apply_async(work, arguments).get(self._end - time.monotonic())
            except multiprocessing.TimeoutError:
                sys.exit("the limit is reached")

    def _print(self, place: str, part: str, cost: Cost) -> None:
        sent = [""] * 4
        if place == "SFTP":
            found = re.findall(r"Transferred: sent \d+, received (\d+) bytes", self._log.read_text())
            self._log.unlink()
            size, turns = sum(map(int, found)), 2 + -(-cost[0] // (ANSWER * AHEAD))
            sent = [
                f"{size / 1e6:.2f}",
                f"{size / cost[0]:.0f}",
                f"{size * 8 / BITS:.1f}",
                f"{turns * TURN:.2f}",
            ]
        print(
            ROW.format(
                place, part, cost[0], *(f"{figure:.3f}" for figure in cost[1:3]), f"{cost[3]:.1f}", *sent
            ),
            flush=True,
        )


def make(folder: Path, names: Iterable[str]) -> int:
    """Make a folder of empty files, and return how many."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    descriptor, count = os.open(folder, os.O_RDONLY), 0
    for name in names:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o400, dir_fd=descriptor))
        count += 1
    os.close(descriptor)
    return count


def digests(count: int) -> Iterable[str]:
    """Return names of files that are called by their hash."""
    return (secrets.token_hex(32) for _ in range(count))


def runs(count: int) -> Iterable[str]:
    """Return the names of run and done records."""
    for _ in range(count):
        run = secrets.token_hex(16)
        yield f"{run}.run"
        yield f"{run}-{secrets.token_hex(32)}.done"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--keep", type=int, default=60, help="snapshots of each host that retention keeps")
    parser.add_argument("--index", type=int, default=400_000, help="index files if nothing is pruned")
    parser.add_argument("--merged", type=int, default=2_200, help="index files that pruners leave")
    parser.add_argument("--dir", type=existing_folder, help="a folder for caches; a temporary one by default")
    parser.add_argument("--limit", type=float, default=600, help="seconds in all")
    arguments = parser.parse_args()
    nights = arguments.hosts * 365 * arguments.years
    kept = arguments.hosts * arguments.keep
    gone = max(0, nights - kept)
    with Sshd() as server, tempfile.TemporaryDirectory(dir=arguments.dir) as scratch:
        bench = Bench(server, Path(scratch), arguments.limit)
        folders = {"snapshots": digests(nights), "runs": runs(nights), "index": digests(arguments.index)}
        bench.measure("never pruned", folders, 0, 0)
        year = arguments.hosts * 365
        folders = {"snapshots": digests(year), "runs": runs(year)}
        bench.measure("the first year", folders, arguments.hosts, 0)
        pruned = {
            "snapshots": digests(kept),
            "runs": runs(arguments.hosts),  # of the day; those before are in the ledger
            "index": digests(arguments.merged),
            "ledgers": digests(-(-kept // LEDGER)),
            "tombstones": digests(-(-gone // TOMBSTONES)),
        }
        bench.measure("pruned", pruned, arguments.hosts, gone)


if __name__ == "__main__":
    main()
