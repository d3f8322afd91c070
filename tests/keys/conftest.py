"""One set of GPG keys and one repository, made once; each test gets a copy of the repository."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.state.folder import StateFolder
from keys import members
from keys.gpg import Gpg
from keys.roster import Role, Roster
from keys.trust import Trust
from tests.gpg_home import GpgHome


@dataclass(frozen=True)
class People:
    """Everyone's keys in one home, and homes with one secret key each."""

    everyone: GpgHome
    alice: str  # admin
    bob: str  # admin
    wendy: str  # writer
    mallory: str  # a stranger
    of_alice: Gpg
    of_bob: Gpg
    of_wendy: Gpg
    of_mallory: Gpg


@dataclass(frozen=True)
class World:
    """A repository of alice and bob (admins) and wendy (writer), believed by one host."""

    people: People
    folder: Path
    url: str
    backend: LocalBackend
    trust: Trust
    roster: Roster

    def add(self, roster: Roster, gpg: Gpg, spec: str, role: Role, domain: str = "") -> Roster:
        """Let someone in after this roster, as the user of this GPG."""
        return members.add(self.backend, self.url, roster, gpg, self.trust, spec, role, domain)

    def remove(self, roster: Roster, gpg: Gpg, spec: str, closing: bytes = b"") -> Roster:
        """Put someone out after this roster, as the user of this GPG."""
        return members.remove(self.backend, self.url, roster, gpg, self.trust, spec, closing)

    def another_host(self) -> Trust:
        """The trust of a host that has met no repository."""
        return Trust(StateFolder(self.folder.parent / "another-host"))


@pytest.fixture(scope="session")
def people() -> Iterator[People]:
    with GpgHome() as everyone:
        alice, bob, wendy, mallory = (
            everyone.make_key(f"{name} <{name}@example.org>") for name in ("alice", "bob", "wendy", "mallory")
        )
        homes = [everyone.subset(key) for key in (alice, bob, wendy, mallory)]
        yield People(everyone, alice, bob, wendy, mallory, *(home.gpg for home in homes))
        for home in homes:
            home.close()


@pytest.fixture(scope="session")
def made(people: People, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Roster]:
    folder = tmp_path_factory.mktemp("made")
    trust = Trust(StateFolder(folder / "state"))
    backend = LocalBackend(folder / "repository")
    url = str(folder / "repository")
    roster = members.init(backend, url, people.of_alice, trust, [people.wendy], [people.alice, people.bob])
    return folder / "repository", roster


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(StateFolder(tmp_path / "state"))


@pytest.fixture
def world(people: People, made: tuple[Path, Roster], tmp_path: Path, trust: Trust) -> World:
    folder = tmp_path / "repository"
    shutil.copytree(made[0], folder)
    trust.accept(str(folder), made[1])
    return World(people, folder, str(folder), LocalBackend(folder), trust, made[1])
