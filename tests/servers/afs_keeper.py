"""A small machine inside this one: namespaces of its own for network, mounts, host name and processes.

Its only address belongs to the loopback device of its own network; folders of one folder of ours are
bind-mounted over where its servers look for their files.  So any number of them run side by side, and
nothing of the host is used or touched.

Invariant: nothing of it outlives us.  The first process of its process namespace, the keeper, reads from a
pipe that only this process holds.  When that pipe closes, also because we were killed, it kills every server
and removes the folder.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE = 60.0  # seconds for what takes a few milliseconds on an idle machine

# Says its pid as the host sees it when all is mounted, then starts whatever it is told, line by line.
# /proc stays the host's: processes that enter without the process namespace need it.
_SCRIPT = """
set -e
PATH=$PATH:/usr/sbin:/sbin
folder=$1 host=$2 address=$3
shift 3
ip link set lo up
ip address add "$address/32" dev lo
hostname "$host"
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
read -r pid _ < /proc/self/stat
echo "$pid"
set +e
while read -r server; do $server < /dev/null >> "$folder/output" 2>&1 & done
kill -9 -1
rm -rf -- "$folder"
"""


class Keeper:
    """The small machine while it runs; a context manager.  Needs root.

    `folder` is its alone and goes with it; what the servers print goes to `output` there, what the keeper
    itself complains of to `complaints`.  `mounts` maps what is to be seen to where.  Raises OSError if it
    cannot be made.
    """

    def __init__(self, folder: Path, host: str, address: str, mounts: Mapping[Path, str]) -> None:
        script = folder / "keeper"
        script.write_text(_SCRIPT)
        pairs = [str(part) for pair in mounts.items() for part in pair]
        namespaces = ("--net", "--mount", "--uts", "--pid", "--propagation=private", "--fork", "--kill-child")
        with (folder / "complaints").open("wb") as complaints:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "sh", str(script), str(folder), host, address, *pairs],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the tests, and they end us
            )
        try:
            self.pid = self._read_pid()
            self._network = os.readlink(f"/proc/{self.pid}/ns/net")
        except BaseException:
            self._end()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def command(self, *args: str) -> list[str]:
        """Return the command line that runs `args` inside, in the current folder.

        The process is replaced, never forked, so its pid, signals, pipes and exit status are those of
        `args`.  That is why it does not enter the process namespace.
        """
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", f"--wdns={os.getcwd()}", "--", *args]

    def write_wrapper(self, wrapper: Path, program: str) -> None:
        """Write a script that runs `program` inside, as `command` does."""
        enter = f'nsenter --target={self.pid} --net --mount --wdns="$PWD" --'
        wrapper.write_text(f'#!/bin/sh\nexec {enter} {program} "$@"\n')
        wrapper.chmod(0o755)

    def launch(self, server: str) -> None:
        """Start a server, which ends with the machine."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{server}\n".encode())
        self._process.stdin.flush()

    def kill(self, name: str) -> None:
        """Kill a server by the name of its program, and wait until it is gone."""
        for process in self._processes():
            if (process / "comm").read_text().strip() == name:
                os.kill(int(process.name), signal.SIGKILL)
                deadline = time.monotonic() + DEADLINE
                while _is_running(process):
                    assert time.monotonic() < deadline, f"{name} does not die"
                    time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes inside, also those that were started by `command` or a wrapper."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
        self._end()

    def _read_pid(self) -> int:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], DEADLINE)[0]:
            raise TimeoutError("the namespaces were not ready in time")
        if not (line := self._process.stdout.readline()):
            raise OSError("the namespaces could not be made")
        return int(line)

    def _processes(self) -> list[Path]:
        """Return the /proc folders of all processes in our network but the keeper."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it is gone, or belongs to somebody else
                if os.readlink(process / "ns/net") == self._network and int(process.name) != self.pid:
                    found.append(process)
        return found

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()  # --kill-child: all of the process namespace goes with it
            self._process.wait()
        self._process.stdout.close()


def _is_running(process: Path) -> bool:
    """Whether any thread of it has not ended.

    A killed process is a zombie as soon as its first thread is; the others may hold its sockets a while
    longer, and its successor could not bind them.
    """
    for thread in process.glob("task/*/stat"):
        with suppress(OSError):  # it has gone since
            if thread.read_text().rpartition(")")[2].split()[0] != "Z":
                return True
    return False
