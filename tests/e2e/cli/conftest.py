"""Machines on which people type `dedup`: each with its own GPG keys and its own local state."""

import os
import pty
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

from tests.gpg_home import GpgHome

ROOT = Path(__file__).parents[3]
DEADLINE = 60.0


@dataclass(frozen=True)
class Said:
    """How a command ended: exit status, standard output, standard error."""

    status: int
    out: bytes
    err: str


class Host:
    """A machine: `dedup` on it finds these GPG keys, this state folder, and the repository of `world`."""

    def __init__(self, home: GpgHome, state: Path, repository: str) -> None:
        self.home = home
        self.state = state
        self.folder = state.parent
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "GNUPGHOME": str(home.path),
            "DEDUP_REPOSITORY": repository,
            "DEDUP_STATE_DIR": str(state),
            "TZ": "UTC",
        }
        # Compiling everything anew for each command would take longer than the command.
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def command(self, line: str | list[str]) -> list[str]:
        """Return the arguments of a process for `dedup` followed by `line`."""
        return [
            sys.executable,
            "-m",
            "pipelines.cli",
            *(shlex.split(line) if isinstance(line, str) else line),
        ]

    def dedup(self, line: str | list[str], stdin: bytes = b"") -> Said:
        """Run `dedup` with what was typed after it."""
        done = subprocess.run(
            self.command(line),
            input=stdin,
            capture_output=True,
            env=self.environ,
            cwd=self.folder,
            timeout=DEADLINE,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr.decode())

    def does(self, line: str | list[str], stdin: bytes = b"") -> bytes:
        """Run what must succeed, and return what it answers."""
        said = self.dedup(line, stdin)
        assert 0 == said.status, said.err
        return said.out

    def fails(self, line: str | list[str], stdin: bytes = b"", status: int = 1) -> str:
        """Run what must fail, with an answer of nothing and one line of why; return that line."""
        said = self.dedup(line, stdin)
        assert (status, b"") == (said.status, said.out), said.err
        assert said.err.startswith("dedup: ")
        assert 1 == said.err.count("\n")
        return said.err.rstrip("\n")

    def start(self, line: str | list[str], **streams: int) -> "subprocess.Popen[bytes]":
        """Start `dedup` with pipes, or other streams, as standard streams."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | streams
        return subprocess.Popen(
            self.command(line),
            stdin=pipes["stdin"],
            stdout=pipes["stdout"],
            stderr=pipes["stderr"],
            env=self.environ,
            cwd=self.folder,
        )

    def on_terminal(self, line: str | list[str], stream: str, typed: bytes = b"") -> Said:
        """Run it with a terminal as `stdin`, `stdout` or `stderr`; what the terminal shows is said there."""
        ours, theirs = pty.openpty()
        process = self.start(line, **{stream: theirs})
        os.close(theirs)
        os.write(ours, typed)
        shown = bytearray()
        reader = Thread(target=_read_terminal, args=(ours, shown))
        reader.start()
        out, err = process.communicate(timeout=DEADLINE)
        reader.join(DEADLINE)
        os.close(ours)
        said = {"stdout": out or b"", "stderr": err or b"", stream: bytes(shown)}
        return Said(process.returncode, said["stdout"], said["stderr"].decode())


def _read_terminal(descriptor: int, into: bytearray) -> None:
    """Read until the other end is closed everywhere."""
    with suppress(OSError):
        while data := os.read(descriptor, 65536):
            into += data


@dataclass(frozen=True)
class World:
    """A repository, and everybody's machines: alice and bob are admins, wendy writes, mallory is nobody."""

    folder: Path
    repository: Path
    keys: dict[str, str]
    homes: dict[str, GpgHome]
    hosts: dict[str, Host] = field(default_factory=dict)

    def host(self, name: str, machine: str = "") -> Host:
        """Return the machine of that person; another `machine` of theirs has not met the repository yet."""
        state = self.folder / f"{machine or name}-host" / "state"
        state.parent.mkdir(exist_ok=True)
        return self.hosts.setdefault(state.parent.name, Host(self.homes[name], state, str(self.repository)))

    def copy(self, folder: Path) -> "World":
        """Return the same repository, keys and machines in another folder, which is made."""
        shutil.copytree(self.folder, folder)
        return World(folder, folder / "repository", self.keys, self.homes)

    @property
    def alice(self) -> Host:
        """An admin's machine."""
        return self.host("alice")

    @property
    def bob(self) -> Host:
        """The other admin's machine."""
        return self.host("bob")

    @property
    def wendy(self) -> Host:
        """The writer's machine."""
        return self.host("wendy")

    def files(self, folder: str) -> list[Path]:
        """Return the files below a folder of the repository."""
        return sorted(path for path in (self.repository / folder).rglob("*") if path.is_file())


@pytest.fixture(scope="session")
def people() -> Iterator[tuple[dict[str, str], dict[str, GpgHome]]]:
    names = ("alice", "bob", "wendy", "mallory")
    with GpgHome() as everyone:
        keys = {name: everyone.make_key(f"{name}@example.org") for name in names}
        homes = {name: everyone.subset(keys[name]) for name in names}
        yield keys, homes
        for home in homes.values():
            home.close()


@pytest.fixture(scope="session")
def made(
    people: tuple[dict[str, str], dict[str, GpgHome]], tmp_path_factory: pytest.TempPathFactory
) -> World:
    folder = tmp_path_factory.mktemp("made")
    world = World(folder, folder / "repository", *people)
    world.alice.does("init --writer wendy@example.org --admin alice@example.org --admin bob@example.org")
    for name in ("wendy", "bob"):
        world.host(name).does(f"trust accept --yes --admin {world.keys['alice']}")
    return world


@pytest.fixture(scope="session")
def filled(made: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = made.copy(tmp_path_factory.mktemp("filled") / "world")
    world.wendy.does("put user.alice --date 2026.11.01T03:00", b"first")
    world.wendy.does("put user.bob --date 2026.11.01T03:01", b"of bob")
    world.wendy.does("put user.alice --date 2026.11.05T03:00", b"second")
    world.wendy.does("put noise --date 2026.11.05T03:01", os.urandom(300_000))
    return world


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A repository without backups, which the machines of alice, bob and wendy believe."""
    return made.copy(tmp_path / "world")


@pytest.fixture
def stored(filled: World, tmp_path: Path) -> World:
    """The same with four backups of two dates."""
    return filled.copy(tmp_path / "world")
