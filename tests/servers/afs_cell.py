"""A real OpenAFS cell for tests: one machine, one partition, no kernel module, no Kerberos server.

    with AfsCell() as cell:
        cell.vos("create", cell.server, cell.partition, "user.alice")
        subprocess.Popen(["vos", "dump", "user.alice", "-localauth"], env=cell.environ, ...)

It runs in a `Keeper`, with Debian's servers and configuration of its own in one temporary folder, so any
number of cells run side by side.

Invariant: nothing of a cell outlives its test, but for an empty /vicepa on the host: removing that would
unmount the partition of the cells that still run.
"""

import os
import re
import secrets
import shlex
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.afs_keeper import Keeper

# Debian packages beyond the required ones, each with a file that proves that it is there.  Install them with
# `DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends` while a policy-rc.d that exits
# 101 is in place; the recommended packages would build a kernel module.
PACKAGES = {
    "openafs-client": "/usr/bin/vos",
    "openafs-krb5": "/usr/sbin/asetkey",
    "openafs-dbserver": "/usr/lib/openafs/vlserver",
    "openafs-fileserver": "/usr/lib/openafs/davolserver",
    "iproute2": "/sbin/ip",
}

CELL = "cell.test"
HOST = "afs1.cell.test"
ADDRESS = "192.0.2.1"  # RFC 5737: an address that is nobody's
SERVERS = "/usr/lib/openafs"
START_SECONDS = 120.0  # for each server; all of them take 5 s on an idle machine

# What the salvager says of a sound volume.
_SMALL_TALK = re.compile(
    r"OpenAFS 1\.|STARTING AFS SALVAGER|SALVAGING VOLUME|SALVAGING OF PARTITION|nVolumesInInodeFile"
    r"|totalInodes|it would have been updated|It would have Salvaged"
)


class CellError(Exception):
    """The cell did not start, or a command in it failed; the text has the servers' own words."""


def missing() -> list[str]:
    """Return the Debian packages that a cell needs and this machine lacks."""
    return [package for package, file in PACKAGES.items() if not os.path.exists(file)]


class AfsCell:
    """A running cell; a context manager.  Needs root.

    Attributes: `server` and `partition` as `vos` wants them; `bin`, a folder with a `vos` that runs in
    the cell, to be put first in PATH; `environ`, our environment with just that done; `logs`, the folder
    of the servers' logs.
    """

    server = ADDRESS
    partition = "a"

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or missing():
            raise CellError(f"an AFS cell needs root and these packages: {' '.join(PACKAGES)}")
        with ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(prefix="afs-cell-", ignore_cleanup_errors=True)
            self._folder = Path(stack.enter_context(folder))
            self.bin = self._folder / "bin"
            self.logs = self._folder / "log"
            self.environ = {**os.environ, "PATH": f"{self.bin}:{os.environ.get('PATH', os.defpath)}"}
            try:
                self._write_files()
                self._keeper = stack.enter_context(Keeper(self._folder, HOST, ADDRESS, self._mounts()))
                self._keeper.write_wrapper(self.bin / "vos", PACKAGES["openafs-client"])
                self._start_servers()
            except Exception as error:
                raise CellError(f"the AFS cell did not start: {error}\n{self._log_text()}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process in the cell and remove its files."""
        self._stack.close()

    # -- use ------------------------------------------------------------------------------------------

    def command(self, *args: str) -> list[str]:
        """Return the command line that becomes `args` in the cell; its pid and signals are theirs."""
        return self._keeper.command(*args)

    def run(
        self, *args: str, stdin: bytes = b"", check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the cell to its end and return what it said.

        Raises: CellError if `check` and the exit status is not 0; subprocess.TimeoutExpired.
        """
        done = subprocess.run(self.command(*args), input=stdin, capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            said = (done.stdout[-2000:] + done.stderr[-2000:]).decode(errors="replace")
            raise CellError(f"{shlex.join(args)}: exit status {done.returncode}\n{said}")
        return done

    def vos(
        self, *args: str, stdin: bytes = b"", check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `vos ARGS -localauth` in the cell; otherwise as `run`."""
        return self.run("vos", *args, "-localauth", stdin=stdin, check=check, timeout=timeout)

    def volume_id(self, volume: str) -> int:
        """Return the number of a volume, which may be a .backup or .readonly one."""
        said = self.vos("examine", volume, "-format").stdout.split()
        return int(said[said.index(b"id") + 1])

    def salvager_complaints(self, volume: str) -> list[str]:
        """Return what the salvager would repair in a volume; empty if the volume is sound.

        It looks at a copy: a volume that it has looked at goes off-line until it is salvaged in earnest.
        """
        copy, log = f"copy.{secrets.token_hex(4)}", self.logs / "SalvageLog"
        self.vos("restore", self.server, self.partition, copy, stdin=self.vos("dump", volume).stdout)
        number = str(self.volume_id(copy))
        log.unlink(missing_ok=True)
        # never -showlog: this version then reads its own output for ever and fills the disk
        salvager = (f"{SERVERS}/dasalvager", "-partition", "/vicepa", "-volumeid", number)
        self.run("prlimit", f"--fsize={1 << 24}", *salvager, "-nowrite", "-forceDAFS")
        lines = log.read_text(errors="replace").splitlines()
        self.vos("remove", "-id", number)
        if not any("It would have Salvaged" in line for line in lines):
            raise CellError("the salvager did not look at the volume:\n" + "\n".join(lines))
        return [line for line in lines if not _SMALL_TALK.search(line)]

    def restart_volume_server(self) -> None:
        """Free the volumes that a killed `vos` left busy, which otherwise takes ten minutes or more."""
        self._keeper.kill("davolserver")
        self._start_volume_server()

    # -- start ----------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        for folder in ("etc/server", "lib/local", "lib/db", "log", "vicepa", "bin"):
            (self._folder / folder).mkdir(parents=True)
        for etc in ("etc", "etc/server"):
            (self._folder / etc / "ThisCell").write_text(CELL + "\n")
            (self._folder / etc / "CellServDB").write_text(f">{CELL}\n{ADDRESS} #{HOST}\n")
        (self._folder / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {HOST}\n")
        (self._folder / "vicepa/AlwaysAttach").touch()  # it is not a file system of its own
        (self._folder / "keytab").write_bytes(_keytab("afs", CELL))

    def _mounts(self) -> dict[Path, str]:
        Path("/vicepa").mkdir(exist_ok=True)
        places = {"etc": "/etc/openafs", "lib": "/var/lib/openafs", "log": "/var/log/openafs"}
        places |= {"vicepa": "/vicepa", "hosts": "/etc/hosts"}
        return {self._folder / ours: place for ours, place in places.items()}

    def _start_servers(self) -> None:
        """Start the servers in the order in which each finds what it needs at its first try.

        The databases need 4 s to elect themselves.  A file server that does not find them waits half a
        minute before it asks again; a volume server without a file server waits 3 s.
        """
        principal = f"afs/{CELL}@{CELL.upper()}"
        self.run(
            PACKAGES["openafs-krb5"], "add", "rxkad_krb5", "1", "18", str(self._folder / "keytab"), principal
        )
        for server in ("ptserver", "vlserver"):
            self._keeper.launch(f"{SERVERS}/{server}")
        self._wait_for("vlserver", lambda: self._answers("vos", "listvldb"))
        self._wait_for("ptserver", lambda: self._answers("pts", "examine", "system:anyuser"))
        for server in ("dafileserver", "salvageserver"):
            self._keeper.launch(f"{SERVERS}/{server}")
        self._wait_for("dafileserver", lambda: self._answers("vos", "listaddrs", says=HOST))
        self._start_volume_server()

    def _start_volume_server(self) -> None:
        self._keeper.launch(f"{SERVERS}/davolserver")
        self._wait_for("davolserver", lambda: self._answers("vos", "listpart", ADDRESS, says="/vicepa"))

    def _answers(self, *args: str, says: str = "") -> bool:
        try:
            done = self.run(*args, "-localauth", check=False, timeout=20)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and says.encode() in done.stdout

    def _wait_for(self, server: str, is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_up():
            if not self._keeper.is_alive or time.monotonic() > deadline:
                raise CellError(f"{server} does not answer")
            time.sleep(0.1)

    def _log_text(self) -> str:
        """Return the end of everything that the servers said, for the message of a failed start."""
        text = ""
        for log in (self._folder / "complaints", self._folder / "output", *sorted(self.logs.glob("*"))):
            if log.is_file():
                last = log.read_text(errors="replace").splitlines()[-20:]
                text += "\n".join((f"--- {log.name}", *last, ""))
        return text


def _keytab(service: str, instance: str) -> bytes:
    """Return a keytab with one random aes256-cts key, number 1, for service/instance in its own realm.

    `asetkey` takes a key of this kind from a keytab only.  Source: MIT Kerberos, "Keytab file format"
    (version 0x502; all numbers big endian).
    """

    def counted(data: bytes) -> bytes:
        return struct.pack(">H", len(data)) + data

    names = b"".join(counted(part.encode()) for part in (instance.upper(), service, instance))
    key = struct.pack(">H", 18) + counted(secrets.token_bytes(32))
    entry = struct.pack(">H", 2) + names + struct.pack(">IIB", 1, 0, 1) + key
    return b"\x05\x02" + struct.pack(">i", len(entry)) + entry
