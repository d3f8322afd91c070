"""A private sshd on the loopback interface, for this user, who may run commands: `borg serve` is one.

Its keys and its settings lie in a folder of the caller's; nothing that the system has configured is read or changed.
"""

import getpass
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.far import far_away

HOST = "127.0.0.1"
SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/id_ed25519.pub
AuthenticationMethods publickey
PermitRootLogin yes
Subsystem sftp internal-sftp
UsePAM no
StrictModes no
UseDNS no
PidFile none
MaxStartups 100
"""
SSH_CONFIG = """\
Host *
    IdentityFile {folder}/id_ed25519
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


class Server:
    """A context manager; `home` is a home directory with which a client finds the way in.

    `delay`: how many milliseconds it seems to be away, there and back; `port` is where it is to be reached then.
    """

    def __init__(self, home: Path, delay: float = 0) -> None:
        self.home, self.user = home, getpass.getuser()
        self._delay = delay
        self._folder = home / ".ssh"
        self._folder.mkdir(parents=True, mode=0o700)
        self.config = self._folder / "config"
        self.config.write_text(SSH_CONFIG.format(folder=self._folder))
        self.ssh = f"ssh -F {self.config}"
        for name in ("host_key", "id_ed25519"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)]
            subprocess.run(command, check=True)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self._settings = self._folder / "sshd_config"
        self._settings.write_text(SSHD_CONFIG.format(folder=self._folder, port=self.port))

    def url(self, scheme: str, path: Path) -> str:
        """Return a URL of an absolute path, with one slash before it."""
        return f"{scheme}://{self.user}@{HOST}:{self.port}{path}"

    def __enter__(self) -> Self:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = self._folder / "log"
        self._process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", self._settings, "-E", log])
        for _ in range(500):
            if self._greets():
                self._far = far_away(self.port, self._delay)
                self.port = self._far.__enter__()
                key = (self._folder / "host_key.pub").read_text()
                (self._folder / "known_hosts").write_text(f"[{HOST}]:{self.port} {key}")
                return self
            time.sleep(0.01)
        raise SystemExit(f"sshd does not start: {log.read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._far.__exit__(kind, error, trace)
        self._process.terminate()
        self._process.wait()

    def _greets(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as probe:
                return probe.recv(4) == b"SSH-"
        except OSError:
            return False
