"""A real PostgreSQL server on a socket of its own, with no network and no password.

    with Postgres() as server:
        subprocess.run(["psql", "-c", "CREATE DATABASE accounts", "postgres"], env=server.environ)

Needs root, as the server must not run as root (it becomes Debian's user `postgres`), and Debian's postgresql;
no cluster of the system is read or changed, and any number may run at once.

Invariant: nothing of a server outlives its test.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

USER = "postgres"
DEADLINE = 60.0


class Postgres:
    """The server and its folder; a context manager.  `environ` lets its client programs find it."""

    def __enter__(self) -> Self:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's name must be short
        shutil.chown(self._folder, USER, USER)
        self.environ = {**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}
        self.environ |= {"PGHOST": str(self._folder), "PGUSER": USER}
        data = self._folder / "data"
        try:
            self._as_user(
                programs / "initdb", "-D", data, "--auth=trust", "--no-sync", "--no-locale", "-EUTF8"
            )
            options = {"listen_addresses": "", "unix_socket_directories": self._folder, "fsync": "off"}
            settings = [f"--{name}={value}" for name, value in options.items()]
            self._server = subprocess.Popen(
                [*self._become(), str(programs / "postgres"), "-D", str(data), *settings],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                start_new_session=True,
            )
            deadline = time.monotonic() + DEADLINE
            while subprocess.run(["pg_isready", "-q"], env=self.environ, check=False).returncode:
                assert self._server.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server and remove its files."""
        self._end()

    def psql(self, command: str, database: str = "postgres") -> str:
        """Run a command and return what it answers, without headings."""
        done = subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", command, database],
            env=self.environ,
            check=True,
            capture_output=True,
        )
        return done.stdout.decode()

    def _become(self) -> list[str]:
        return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

    def _as_user(self, *arguments: str | Path) -> None:
        line = [*self._become(), *map(str, arguments)]
        subprocess.run(line, check=True, capture_output=True, cwd=self._folder)

    def _end(self) -> None:
        if (server := getattr(self, "_server", None)) is not None:
            server.send_signal(signal.SIGQUIT)  # "immediate shutdown"; what it has is thrown away
            server.wait(DEADLINE)
        shutil.rmtree(self._folder, ignore_errors=True)
