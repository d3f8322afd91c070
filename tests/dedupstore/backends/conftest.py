"""Places where a repository can lie, each with a real server behind it where it needs one."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.contract import Backend
from tests.servers.sshd import Sshd


class Place(NamedTuple):
    """A fresh place: its URL, where it is on this machine's disk, and whether its back end may retry."""

    url: str
    folder: Path
    retry: bool = False

    def open(self) -> Backend:
        """Open a new back end for it."""
        return open_backend(self.url, retry=self.retry)


def ssh_children() -> list[int]:
    """Return the ids of the ssh processes of this one, zombies among them."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread or a process may end while it is looked at
            for pid in (task / "children").read_text().split():
                if Path(f"/proc/{pid}/comm").read_text() == "ssh\n":
                    found.append(int(pid))
    return found


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """A normal account."""
    with Sshd() as server:
        yield server


@pytest.fixture(scope="session")
def restricted_sshd() -> Iterator[Sshd]:
    """An account that may not rename or remove."""
    with Sshd(restricted=True) as server:
        yield server


@pytest.fixture(scope="session")
def plain_sshd() -> Iterator[Sshd]:
    """A server without OpenSSH's extensions."""
    with Sshd(forbidden="fsync,limits,statvfs,hardlink") as server:
        yield server


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sshd], None]:
    """Set the environment that a client of the server needs."""

    def set_environment(server: Sshd) -> None:
        for key, value in server.env.items():
            monkeypatch.setenv(key, value)

    return set_environment


@pytest.fixture
def sftp_place(sshd: Sshd, login: Callable[[Sshd], None], tmp_path: Path) -> Place:
    """A place in the normal account."""
    login(sshd)
    return Place(sshd.url(tmp_path.name), sshd.home / tmp_path.name)


@pytest.fixture(params=["local", "local, retried", "sftp", "sftp, restricted", "sftp, plain"])
def place(request: pytest.FixtureRequest, tmp_path: Path, login: Callable[[Sshd], None]) -> Place:
    """Each kind of place that the contract is tested with."""
    kind = str(request.param)
    if kind.startswith("local"):
        return Place(str(tmp_path / "repo"), tmp_path / "repo", retry="retried" in kind)
    fixture = {"sftp": "sshd", "sftp, restricted": "restricted_sshd", "sftp, plain": "plain_sshd"}[kind]
    server: Sshd = request.getfixturevalue(fixture)
    login(server)
    return Place(server.url(tmp_path.name), server.home / tmp_path.name)


@pytest.fixture
def backend(place: Place) -> Iterator[Backend]:
    """A back end for `place`."""
    opened = place.open()
    yield opened
    opened.close()
