"""What a command costs: wall time, CPU time of its whole process tree, memory of its largest process.

CPU and memory are those of the child and of all its children that were waited for (wait4(2)); a server or an agent
that goes on is not counted.  The kernel counts this process's own memory in a child's peak until the child runs its
program, so nothing large may be imported here: figures below some 20 MiB mean nothing.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

PIPE = 1 << 20  # bytes: the largest pipe that any user may ask for


class Cost(NamedTuple):
    """Seconds of wall and CPU time, and peak memory of the largest process in MiB."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """Return the cost of both, one after the other."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


@dataclass(frozen=True)
class Call:
    """A command line; `stdin`: the file that it reads; `piped`: its output goes into a pipe and is thrown away."""

    argv: list[str]
    cwd: Path | None = None
    stdin: Path | None = None
    piped: bool = False


def measure(calls: Iterable[Call], environment: Mapping[str, str]) -> Cost:
    """Run commands that must succeed, one after the other; return what they cost together."""
    total = Cost()
    for call in calls:
        total = total.plus(_run(call, environment, None))
    return total


def digest(call: Call, environment: Mapping[str, str]) -> str:
    """Run a piped command that must succeed; return the SHA-256 of what it writes."""
    found = hashlib.sha256()
    _run(call, environment, found)
    return found.hexdigest()


def output(argv: list[str], environment: Mapping[str, str]) -> str:
    """Run a command that must succeed; return what it says."""
    done = subprocess.run(argv, env=dict(environment), stdout=-1, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        _stop(argv, done.stdout)
    return done.stdout.decode(errors="replace")


def _run(call: Call, environment: Mapping[str, str], found: "hashlib._Hash | None") -> Cost:
    with (call.stdin or Path(os.devnull)).open("rb") as source, tempfile.TemporaryFile() as said:
        began = time.monotonic()
        if call.piped:
            there, here = os.pipe()
            fcntl.fcntl(here, fcntl.F_SETPIPE_SZ, PIPE)
            child = _start(call, environment, source, here, said)
            os.close(here)
            _drain(there, found)
            os.close(there)
        else:
            child = _start(call, environment, source, said.fileno(), said)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            _stop(call.argv, said.read())
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _start(
    call: Call, environment: Mapping[str, str], source: IO[bytes], out: int, said: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        call.argv, cwd=call.cwd, env=dict(environment), stdin=source, stdout=out, stderr=said
    )


def _drain(pipe: int, found: "hashlib._Hash | None") -> None:
    """Read a pipe to its end: as cheaply as the kernel can, or into a hash."""
    if found is not None:
        buffer = memoryview(bytearray(PIPE))
        while count := os.readv(pipe, [buffer]):
            found.update(buffer[:count])
        return
    with Path(os.devnull).open("wb") as null:
        while os.splice(pipe, null.fileno(), PIPE):  # moves pages, copies nothing
            pass


def _stop(argv: list[str], said: bytes) -> None:
    sys.exit(f"{' '.join(argv)} failed:\n{said.decode(errors='replace')}")


def warm(*folders: Path) -> None:
    """Read all files, so that they lie in the page cache."""
    buffer = bytearray(1 << 20)
    for path in files(*folders):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def make_room(folder: Path, amount: int) -> None:
    """Write so many bytes into a file and remove it: memory for as many lies ready then, also on a virtual machine.

    A host takes back what its guest has freed, and gives it again only page by page, when it is written to: whoever
    writes first pays for that, and those who come soon after do not.
    """
    block = bytes(1 << 20)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(-(-amount // len(block))):
            file.write(block)


def files(*places: Path) -> list[Path]:
    """Return the files in folders (or those files), in the order of their paths."""
    found = []
    for place in places:
        found += [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sorted(found)


def size(*places: Path) -> int:
    """Return the bytes of all files."""
    return sum(path.stat().st_size for path in files(*places))


def digests(*places: Path) -> list[str]:
    """Return the SHA-256 of every file, sorted: where a tool puts a file, and what it calls it, may differ."""
    found = []
    for path in files(*places):
        with path.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return sorted(found)
