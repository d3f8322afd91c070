"""borg 1.4 and borg 2, with their usual chunks of 2 MiB and with such of 64 KiB; zstd,3 as this project."""

from pathlib import Path

from bench.peers.measure import Call
from bench.peers.ssh import Server
from bench.peers.tool import Tool

SECRET = "a throw-away one"


class Borg(Tool):
    """borg 1.4, which a server is spoken to through ssh."""

    name = "borg"
    checks = "`check --verify-data`: reads all segments, opens and hashes every chunk"
    chunks: tuple[str, ...] = ()
    make: tuple[str, ...] = ("init", "--encryption", "repokey-blake2")
    listing = "list"
    mark = "::"

    def settings(self) -> dict[str, str]:
        """Name the repository and its secrets."""
        found = {
            "BORG_BASE_DIR": str(self.folder),
            "BORG_PASSPHRASE": SECRET,
            "BORG_REPO": self.url(self.server) if self.server else str(self.repository),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        if self.server:
            shell = f"{self.server.ssh} -p {self.server.port}"
            found |= {"BORG_RSH": self.server.ssh, "BORGSTORE_RSH": shell, "HOME": str(self.server.home)}
            found["BORG_REMOTE_PATH"] = self.program
        return found

    def url(self, server: Server) -> str:
        """Return what borg calls the repository on a server."""
        return server.url("ssh", self.repository)

    def begin(self) -> list[Call]:
        """Make the repository."""
        return [self.call(*self.make)]

    def _create(
        self, name: str, *what: str, cwd: Path | None = None, stdin: Path | None = None
    ) -> list[Call]:
        self.last = f"{name}-{int(self.last.rpartition('-')[2] or 0) + 1}"
        words = ("create", "-C", "zstd,3", *self.chunks, self.mark + self.last, *what)
        return [self.call(*words, cwd=cwd, stdin=stdin)]

    def store(self, day: Path) -> list[Call]:
        """Store a folder."""
        return self._create(day.name, ".", cwd=day)

    def restore(self, into: Path) -> list[Call]:
        """Extract everything."""
        return [self.call("extract", self.mark + self.last, cwd=into)]

    def put(self, name: str, stream: Path) -> list[Call]:
        """Store a stream."""
        return self._create(name, "-", stdin=stream)

    def get(self, name: str) -> Call:
        """Write it to a pipe."""
        return self.call("extract", "--stdout", self.mark + self.last, piped=True)

    def verify(self) -> list[Call]:
        """Check everything."""
        return [self.call("check", "--verify-data")]

    def list(self) -> Call:
        """List the archives."""
        return self.call(self.listing)


class Borg64(Borg):
    """borg 1.4 with the chunk size that suits this work."""

    name = "borg-64k"
    chunks = ("--chunker-params", "buzhash,14,19,16,4095")


class Borg2(Borg):
    """borg 2, which speaks SFTP itself."""

    name = "borg2"
    make = ("repo-create", "--encryption", "aes256-ocb", "--id-hash", "blake3")
    listing = "repo-list"
    mark = ""

    def url(self, server: Server) -> str:
        """Return what borg calls the repository on a server."""
        return server.url("sftp", Path(f"/{self.repository}"))


class Borg2Ssh(Borg2):
    """borg 2 with a borg on the server."""

    name = "borg2-ssh"

    def url(self, server: Server) -> str:
        """Return what borg calls the repository on a server."""
        return server.url("rest", Path(f"/{self.repository}"))


class Borg264(Borg2):
    """borg 2 with the chunk size that suits this work."""

    name = "borg2-64k"
    chunks = ("--chunker-params", "fastcdc,14,19,16,2")
