"""A real sshd on a free port of the loopback interface, as a rented storage account offers it.

    with Sshd() as server:
        os.environ.update(server.env)
        backend = open_backend(server.url("repo"))

One account (`nobody`), key login, `ForceCommand internal-sftp`, and a ChrootDirectory in which only /home may
be written: what rsync.net and others give.  `restricted=True` also forbids rename, remove and changes of
attributes, as an append-only account does.  Needs root (sshd changes user and root folder) and Debian's
openssh-server; nothing that the system has configured is read or changed, and any number may run at once.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

USER = "nobody"
RESTRICTED = "remove,rmdir,rename,posix-rename,setstat,fsetstat,lsetstat,symlink"
DEADLINE = 20.0

SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {base}/host_key
AuthorizedKeysFile {base}/client_key.pub
AuthenticationMethods publickey
AllowUsers {user}
ChrootDirectory {base}/root
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d /home{options}
UsePAM no
StrictModes no
UseDNS no
PidFile none
MaxStartups 100
MaxSessions {sessions}
"""

SSH_CONFIG = """\
Host *
    IdentityFile {base}/client_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {base}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


class Sshd:
    """The server, its keys and its folder; a context manager that removes all of them.

    `forbidden` names more SFTP requests and extensions that the account may not use (sftp-server(8), -P).
    `sessions` is how many channels it gives to a connection.
    """

    def __init__(self, *, restricted: bool = False, forbidden: str = "", sessions: int = 10) -> None:
        # sshd wants every folder above a ChrootDirectory to belong to root and to be writable by nobody
        # else, which rules out /tmp.
        self.base = Path(tempfile.mkdtemp(prefix="dedup-sshd-", dir="/var/lib"))
        self.base.chmod(0o755)
        self.home = self.base / "root" / "home"
        self.home.mkdir(parents=True)
        shutil.chown(self.home, USER)
        for name in ("host_key", "client_key"):
            keygen = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "test",
                "-f",
                str(self.base / name),
            ]
            subprocess.run(keygen, check=True)
        (self.base / "client_key.pub").chmod(0o644)
        self.ssh_config = self.base / "ssh_config"
        self.ssh_config.write_text(SSH_CONFIG.format(base=self.base))
        self.log = self.base / "sshd.log"
        self.port = 0
        denied = ",".join(filter(None, [RESTRICTED if restricted else "", forbidden]))
        self._options = f" -P {denied}" if denied else ""
        self._sessions = sessions
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What the environment of a client must hold."""
        return {"DEDUP_SSH": f"ssh -F {self.ssh_config}"}

    def url(self, path: str) -> str:
        """The URL of the folder `path` of the account."""
        return f"sftp://{USER}@127.0.0.1:{self.port}/home/{path}"

    @property
    def logins(self) -> int:
        """How many logins there have been."""
        return self.log.read_text().count("Accepted publickey")

    def start(self) -> None:
        """Start listening, on the port of the time before if there was one."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for _ in range(10):
            self._launch(self.port or _free_port())
            if self._process is not None:
                return
        raise RuntimeError(f"sshd does not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Kill the server with all its connections."""
        if self._process is None:
            return
        self._signal(signal.SIGSTOP)  # a stopped tree grows no new branches
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop all processes of the server: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def disconnect(self) -> None:
        """Cut all connections; new ones are welcome."""
        for pid in self._processes()[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.base)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.base)

    def _launch(self, port: int) -> None:
        config = self.base / "sshd_config"
        config.write_text(
            SSHD_CONFIG.format(
                port=port, base=self.base, user=USER, options=self._options, sessions=self._sessions
            )
        )
        public = (self.base / "host_key.pub").read_text()
        (self.base / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
        process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(config), "-E", str(self.log)])
        wait_for(lambda: process.poll() is not None or _greets(port))
        if process.poll() is None:
            self._process, self.port = process, port

    def _processes(self) -> list[int]:
        """The server's process ids, the listener's first."""
        assert self._process is not None
        found = [self._process.pid]
        for pid in found:  # grows while it is walked
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def wait_for(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Poll until `condition()` is true; AssertionError if it is not by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False
