"""What a command works with: the repository that the settings name, and this host's trust and keys.

Invariant: each part is opened when it is first used, and no part at all by a command that fails before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import click

from dedupstore.errors import KeyAccessError
from dedupstore.state.folder import StateFolder
from pipelines.cli.console import Console
from pipelines.config.config_file import Settings

if TYPE_CHECKING:
    from dedupstore.access import Access
    from dedupstore.backends.contract import Backend
    from dedupstore.repository import Repository
    from keys.gpg import Gpg
    from keys.roster import Roster
    from keys.trust import Trust


class Workspace:
    """The surroundings of one command; leaving it closes what was opened."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console
        self._opened: list[Backend] = []

    @property
    def url(self) -> str:
        """Where the repository is; wrong usage if nothing says it."""
        if self.settings.repository is None:
            raise click.UsageError("no repository is named; use -r URL, DEDUP_REPOSITORY or the config file")
        return self.settings.repository

    @cached_property
    def backend(self) -> "Backend":
        """The back end, connected."""
        from dedupstore.backends import open_backend

        backend = open_backend(self.url)  # refuses a URL with a password: only then it may be shown
        self._opened.append(backend)
        self.console.detail(f"repository {self.url}, state in {self.settings.state}")
        return backend

    @cached_property
    def gpg(self) -> "Gpg":
        """The user's GnuPG."""
        from keys.gpg import Gpg

        home = self.settings.gpg_home
        if home is not None and not home.is_dir():  # gpg would tell only that it finds no keys
            raise KeyAccessError(
                f"there is no folder {home}, which is gpg_home in {self.settings.file}",
                "correct it, or take it out for gpg's own choice",
            )
        return Gpg(home)

    @cached_property
    def trust(self) -> "Trust":
        """What this host trusts."""
        from keys.trust import Trust

        return Trust(StateFolder(self.settings.state))

    def roster(self) -> "Roster":
        """The newest roster that this host believes."""
        roster = self.trust.believe(self.backend, self.url)
        for found in self.trust.damage:
            self.console.warn(found)
        self.console.detail(f"repository id {roster.repository.hex()}, roster {roster.serial}")
        return roster

    @contextmanager
    def repository(self, *, reading: bool) -> Iterator["Repository"]:
        """Open the repository that this host believes; `reading` prefers keys that open contents.

        What was found to be damaged on the way, or to be gone, is reported at the end.
        """
        from dedupstore.repository import Repository
        from keys.roster import membership

        roster = self.roster()

        def keys() -> "Access":
            from keys.members import unlock  # loads the cryptography, which a listing mostly needs not

            return unlock(self.backend, roster, self.gpg, reading=reading)

        folder = self.trust.folder(roster.repository)
        with Repository(self.backend, membership(roster), keys, folder) as repository:
            try:
                yield repository
                for alarm in repository.alarms:
                    self.console.alarm(f"{alarm}; see: dedup check")
            finally:
                for found in dict.fromkeys(repository.damage):
                    self.console.warn(found)
                for found in dict.fromkeys(repository.newer):
                    self.console.warn(found)

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for backend in self._opened:
            backend.close()
