"""What the end-to-end tests share: a shell in which `dedup` has a repository, and a real AFS cell."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gpg_home import GpgHome
from tests.servers.afs_cell import AfsCell

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs lines of shell as a user types them; `environ` is their environment.

    A pipeline fails if any part of it does.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ

    def __call__(
        self, line: str, *, stdin: bytes = b"", status: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a line to its end; the test fails if its exit status is another one."""
        done = subprocess.run(self._bash(line), input=stdin, capture_output=True, env=self.environ)
        assert status == done.returncode, f"{line}\n{done.stderr.decode(errors='replace')}"
        return done

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start one command, with a pipe to each standard stream; its pid is the command's own."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._bash(f"exec {command}"), stdin=pipe, stdout=pipe, stderr=pipe, env=self.environ
        )

    @staticmethod
    def _bash(line: str) -> list[str]:
        return ["bash", "-o", "pipefail", "-c", line]


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[tuple[GpgHome, list[str]]]:
    """Return a GNUPGHOME and the fingerprints of its keys: a writer's and two admins'."""
    with GpgHome() as home:
        yield home, [home.make_key(f"{name}@example.org") for name in ("writer", "alice", "bob")]


@pytest.fixture
def shell(gpg_home: tuple[GpgHome, list[str]], tmp_path: Path) -> Shell:
    """Return a shell with a new repository."""
    home, (writer, alice, bob) = gpg_home
    (tmp_path / "bin").mkdir()
    dedup = tmp_path / "bin" / "dedup"
    dedup.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipelines.cli "$@"\n')
    dedup.chmod(0o755)
    shell = Shell(
        {
            **os.environ,
            "PATH": f"{dedup.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GNUPGHOME": str(home.path),
            "DEDUP_REPOSITORY": str(tmp_path / "repository"),
            "DEDUP_STATE_DIR": str(tmp_path / "state"),
        }
    )
    shell(f"dedup init --writer {writer} --admin {alice} --admin {bob}")
    return shell


@pytest.fixture(scope="session")
def afs_cell() -> Iterator[AfsCell]:
    """Return a running cell; tests name their volumes so that they do not meet."""
    with AfsCell() as cell:
        yield cell
