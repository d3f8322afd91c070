"""What the comparison asks of every tool: to begin a repository, store, restore, check and list.

An object is one tool with one repository, in a folder of its own.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.measure import Call, files, size
from bench.peers.ssh import Server

CACHES = (".midx", ".bloom")  # bup's, in its repository


@dataclass
class Tool(ABC):
    """One repository of a tool.

    `encrypts`, `deduplicates`: what it is compared for; `checks`: what `verify` does, in words.
    """

    program: str
    folder: Path
    environment: dict[str, str]
    server: Server | None = None
    last: str = field(default="", init=False)

    name = ""
    encrypts = True
    deduplicates = True
    checks = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.repository = self.folder / "repository"
        self.environment = self.environment | self.settings()

    def settings(self) -> dict[str, str]:
        """Return what its environment needs."""
        return {}

    def version(self) -> list[str]:
        """Return the command that tells its version."""
        return [self.program, "--version"]

    @abstractmethod
    def begin(self) -> list[Call]:
        """Make the repository."""

    @abstractmethod
    def store(self, day: Path) -> list[Call]:
        """Store a folder of files."""

    def streams(self, day: Path) -> list[Call]:
        """Store each file of a folder as a stream: a process for each, unless the tool can do better."""
        return [call for path in files(day) for call in self.put(path.name, path)]

    @abstractmethod
    def restore(self, into: Path) -> list[Call]:
        """Bring back what `store` stored last."""

    @abstractmethod
    def put(self, name: str, stream: Path) -> list[Call]:
        """Store one stream from standard input."""

    @abstractmethod
    def get(self, name: str) -> Call:
        """Write the stream to a pipe."""

    @abstractmethod
    def verify(self) -> list[Call]:
        """Read and check all that is stored."""

    @abstractmethod
    def list(self) -> Call:
        """List what is stored."""

    def size(self) -> int:
        """Return the bytes of the repository's files, without caches that the tool can make again."""
        return size(*(path for path in files(self.repository) if path.suffix not in CACHES))

    def call(
        self, *words: str | Path, cwd: Path | None = None, stdin: Path | None = None, piped: bool = False
    ) -> Call:
        """Return a call of the program."""
        return Call([self.program, *map(str, words)], cwd, stdin, piped)
