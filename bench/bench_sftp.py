"""What SFTP costs: `python bench/bench_sftp.py [--size MB] [--runs N] [--delay MS ...] [--uploads N ...]`, as root.

A server of its own (OpenSSH, files in memory) takes and gives packs of 16 MiB: from OpenSSH's own `sftp`, and
from the back end, so many packs at once.  With a delay, every byte arrives that many milliseconds later, each
way half of it.  All take turns; it prints the median MB/s, the share of `sftp` in the same round, and the CPU
seconds of the client without its ssh for a GB.  The logins are not counted.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from bench.far import far_away
from dedupstore.backends import open_backend
from dedupstore.backends.contract import Backend
from tests.servers.sshd import Sshd

PACK = 16 << 20
Figures = dict[str, list[float]]


@contextmanager
def in_memory(folder: Path) -> Iterator[None]:
    """A disk that costs nothing at `folder`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def client(port: int, commands: str) -> float:
    """Return the seconds that OpenSSH's `sftp` takes for `commands`, its login among them."""
    options = shlex.split(os.environ["DEDUP_SSH"])[1:]
    command = ["sftp", "-q", *options, "-b", "-", "-P", str(port), "nobody@127.0.0.1:/home"]
    began = time.perf_counter()
    subprocess.run(command, input=commands.encode(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def measure_client(port: int, files: list[Path], into: Figures) -> None:
    """`put -f` (with a sync, as the back end has it) and `get` of all files."""
    size = sum(file.stat().st_size for file in files) / 1e6
    login = client(port, "pwd\n")
    up = client(port, "".join(f"put -f {file} {file.name}\n" for file in files)) - login
    down = client(port, "".join(f"get {file.name} {file}.back\n" for file in files)) - login
    into["sftp up"].append(size / up)
    into["sftp down"].append(size / down)


def measure_backend(backend: Backend, at_once: int, packs: list[bytes], folder: str, into: Figures) -> None:
    """`create` and `read` of all packs, so many at once."""
    size = sum(map(len, packs)) / 1e6
    backend.create(f"{folder}/folder", b"")  # makes the folders

    def timed(work: Callable[[int], object], name: str) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(work, range(len(packs))))
        into[f"{at_once} {name}"].append(size / (time.perf_counter() - began))
        into[f"{at_once} {name} cpu"].append((time.process_time() - cpu) / size * 1000)

    def check(number: int) -> None:
        assert packs[number] == backend.read(f"{folder}/{number}")

    timed(lambda number: backend.create(f"{folder}/{number}", packs[number]), "up")
    timed(lambda number: len(backend.read(f"{folder}/{number}", 0, PACK)), "down")
    check(0)


def main(size: int, runs: int, delays: list[float], uploads: list[int]) -> None:
    """Measure at each delay."""
    packs = [os.urandom(PACK) for _ in range(max(1, size * 1_000_000 // PACK))]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary, Sshd() as server, in_memory(server.home):
        files = [Path(temporary, str(number)) for number in range(len(packs))]
        for file, pack in zip(files, packs, strict=True):
            file.write_bytes(pack)
        for delay in delays:
            figures: Figures = defaultdict(list)
            with far_away(server.port, delay) as port:
                alias = f"HostKeyAlias=[127.0.0.1]:{server.port}"
                os.environ["DEDUP_SSH"] = f"{server.env['DEDUP_SSH']} -o {alias}"
                for _ in range(runs):
                    measure_client(port, files, figures)
                    for at_once in uploads:
                        with closing(open_backend(f"sftp://nobody@127.0.0.1:{port}/home/repo")) as backend:
                            measure_backend(backend, at_once, packs, f"{time.time_ns()}", figures)
                        subprocess.run(["rm", "-r", str(server.home / "repo")], check=True)
            for name, found in figures.items():
                if not name.endswith("cpu"):
                    bare = figures[f"sftp {name.split()[1]}"]
                    ratio = statistics.median(map(float.__truediv__, found, bare))
                    cpu = statistics.median(figures.get(f"{name} cpu", [0]))
                    print(
                        f"{delay:4.0f} ms  {name:10} {statistics.median(found):6.0f} MB/s"
                        f"  {ratio:5.2f} of sftp  {cpu:5.2f} CPU s/GB",
                        flush=True,
                    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="MB to move each way")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--delay", type=float, nargs="+", default=[0, 20, 100], help="milliseconds of a round trip"
    )
    parser.add_argument("--uploads", type=int, nargs="+", default=[1, 2, 4], help="packs at once")
    arguments = parser.parse_args()
    main(arguments.size, arguments.runs, arguments.delay, arguments.uploads)
