"""Machines on which transcripts are typed: each with a home, a GPG home and a shell that keeps what it was given.

Invariant: nothing outside of the world's folder and of its GPG homes is written, and no agent outlives the world.
"""

import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.gpg_home import GpgHome
from tests.transcripts.script import Step

ROOT = Path(__file__).parents[2]
PEOPLE = (
    "alice@example.org",
    "bob@example.org",
    "carol@example.org",
    "root@fs1.example.org",
    "root@fs2.example.org",
    "mallory@example.net",
)
_DEADLINE = 60.0
# Options of an ssh that asks nobody: the SFTP server of this machine, in the folder of the account.
_SSH = """#!/bin/sh
case " $* " in *" -G "*) exit 1 ;; esac
cd {store} && exec /usr/lib/openssh/sftp-server
"""
# The environment and the folder of one line are those of the next.
_SHELL = """
set -o pipefail
. "$1"
trap '{ export -p; printf "cd %q\\n" "$PWD"; } >"$1"' EXIT
eval "$2"
"""


class Keys:
    """Files with everybody's keys, `NAME.public` and `NAME.secret` by address, for `gpg --import`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with GpgHome() as everyone:
            fingerprints = {name: everyone.make_key(name) for name in PEOPLE}
            for name, fingerprint in fingerprints.items():
                (folder / f"{name}.public").write_bytes(everyone.run("--export", fingerprint))
                (folder / f"{name}.secret").write_bytes(everyone.run("--export-secret-keys", fingerprint))
        self.alice = fingerprints[PEOPLE[0]]


class World:
    """A folder with an account at a storage server (`store`), a repository, and machines; a context manager."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._homes: dict[str, GpgHome] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="dedup-transcript-"))
        (self.folder / "store").mkdir()
        self._write_ssh()

    def _write_ssh(self) -> None:
        ssh = self.folder / "ssh"
        ssh.write_text(_SSH.format(store=self.folder / "store"))
        ssh.chmod(0o755)

    def copy(self) -> "World":
        """Return another world with all that is in this one."""
        other = World(self._keys)
        shutil.copytree(self.folder, other.folder, dirs_exist_ok=True, symlinks=True)
        other._write_ssh()
        for machine, home in self._homes.items():
            new = other._homes[machine] = GpgHome()
            ignored = shutil.ignore_patterns("S.*", "*.lock", "pinentry*", "gpg-agent.conf")
            shutil.copytree(home.path, new.path, ignore=ignored, dirs_exist_ok=True)
            kept = other.folder / machine / ".environ"
            text = kept.read_text().replace(str(self.folder), str(other.folder))
            kept.write_text(text.replace(str(home.path), str(new.path)))
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the agents, and remove everything."""
        for home in self._homes.values():
            home.close()
        shutil.rmtree(self.folder)

    def run(self, step: Step) -> tuple[str, int]:
        """Type a line; return what is seen, and the exit status."""
        home = self.folder / step.machine
        if step.machine not in self._homes:
            self._homes[step.machine] = GpgHome()
            home.mkdir()
            (home / ".environ").write_text(f"cd {home}\n")
            (home / "dedup.toml").touch()
        typed = step.typed.replace("FINGERPRINT", self._keys.alice)
        ours, theirs = pty.openpty() if step.answer else (-1, os.open(os.devnull, os.O_RDONLY))
        if step.answer:
            os.write(ours, f"{step.answer}\n".encode())
        try:
            done = subprocess.run(
                ["bash", "-c", _SHELL, "bash", str(home / ".environ"), typed],
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environ(home, self._homes[step.machine]),
                timeout=_DEADLINE,
                check=False,
            )
        finally:
            for descriptor in {ours, theirs} - {-1}:
                os.close(descriptor)
        printed = done.stdout.decode(errors="backslashreplace").replace(str(home), "~")
        if step.answer:
            printed = printed.replace("[y/N] ", f"[y/N] {step.answer}\n", 1)
        return printed, done.returncode

    def _environ(self, home: Path, gpg: GpgHome) -> dict[str, str]:
        return {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "KEYS": str(self._keys.folder),
            "GNUPGHOME": str(gpg.path),
            "DEDUP_STATE_DIR": str(home / "state"),
            "DEDUP_CONFIG": str(home / "dedup.toml"),
            "DEDUP_SSH": str(self.folder / "ssh"),
        }
