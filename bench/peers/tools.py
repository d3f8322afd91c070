"""The tools under comparison, all at their defaults except that borg compresses as this project does (zstd,3)."""

import json
import re
from pathlib import Path

from bench.peers.borg import SECRET, Borg, Borg2, Borg2Ssh, Borg64, Borg264
from bench.peers.measure import Call, files
from bench.peers.ssh import HOST
from bench.peers.tool import Tool


class Dedup(Tool):
    """This project, as cron would run it."""

    name = "dedup"
    checks = "`check --read-data`: reads all packs, opens every block, proves every chunk and every recipe"

    def settings(self) -> dict[str, str]:
        """Name the repository and the state; GNUPGHOME is there."""
        where = self.server.url("sftp", self.repository) if self.server else str(self.repository)
        found = {"DEDUP_REPOSITORY": where, "DEDUP_STATE_DIR": str(self.folder / "state")}
        return found | ({"DEDUP_SSH": self.server.ssh} if self.server else {})

    def begin(self) -> list[Call]:
        """Make the repository."""
        return [self.call("init", "--writer", "writer", "--admin", "admin")]

    def _run(self, **source: str | list[str]) -> list[Call]:
        config = self.folder / "dedup.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in source.items()]
        config.write_text("\n".join(["[[source]]", 'name = "v"', *lines, ""]))
        config.chmod(0o600)
        return [self.call("--config", config, "-q", "run")]

    def store(self, day: Path) -> list[Call]:
        """Store a folder: one run with a source of kind files."""
        return self._run(kind="files", folder=str(day))

    def streams(self, day: Path) -> list[Call]:
        """Store streams: one run, with a command for each."""
        return self._run(kind="command", list=["ls", str(day)], command=["cat", f"{day}/{{name}}"])

    def restore(self, into: Path) -> list[Call]:
        """Bring back everything of the last run."""
        return [self.call("-q", "get", "latest", "--all", "-o", into)]

    def put(self, name: str, stream: Path) -> list[Call]:
        """Store a stream."""
        return [self.call("-q", "put", name, stdin=stream)]

    def get(self, name: str) -> Call:
        """Write it to a pipe."""
        return self.call("-q", "get", "latest", name, piped=True)

    def verify(self) -> list[Call]:
        """Check everything."""
        return [self.call("-q", "check", "--read-data")]

    def list(self) -> Call:
        """List the dates."""
        return self.call("list")


class Restic(Tool):
    """restic, whose chunks are 1 MiB."""

    name = "restic"
    checks = "`check --read-data`: reads all packs, opens and hashes every blob"

    def settings(self) -> dict[str, str]:
        """Name the repository and its secrets."""
        where = str(self.repository)
        if self.server:
            where = f"sftp:{self.server.user}@{HOST}:{where}"
        cache = str(self.folder / "cache")
        return {"RESTIC_REPOSITORY": where, "RESTIC_PASSWORD": SECRET, "RESTIC_CACHE_DIR": cache}

    def version(self) -> list[str]:
        """Return the command that tells its version."""
        return [self.program, "version"]

    def call(
        self, *words: str | Path, cwd: Path | None = None, stdin: Path | None = None, piped: bool = False
    ) -> Call:
        """Add how a server is spoken to."""
        if self.server:
            shell = f"sftp.command={self.server.ssh} -p {self.server.port} {self.server.user}@{HOST} -s sftp"
            words = ("-o", shell, *words)
        return super().call(*words, cwd=cwd, stdin=stdin, piped=piped)

    def begin(self) -> list[Call]:
        """Make the repository."""
        return [self.call("init", "--quiet")]

    def store(self, day: Path) -> list[Call]:
        """Store a folder."""
        return [self.call("backup", "--quiet", ".", cwd=day)]

    def restore(self, into: Path) -> list[Call]:
        """Restore everything."""
        return [self.call("restore", "--quiet", "latest", "--target", into)]

    def put(self, name: str, stream: Path) -> list[Call]:
        """Store a stream."""
        return [self.call("backup", "--quiet", "--stdin", "--stdin-filename", name, stdin=stream)]

    def get(self, name: str) -> Call:
        """Write it to a pipe."""
        return self.call("dump", "latest", f"/{name}", piped=True)

    def verify(self) -> list[Call]:
        """Check everything."""
        return [self.call("check", "--quiet", "--read-data")]

    def list(self) -> Call:
        """List the snapshots."""
        return self.call("snapshots")


class Bup(Tool):
    """bup, which does not encrypt."""

    name = "bup"
    encrypts = False
    checks = "`fsck`: `git index-pack --verify` of all packs; nothing is encrypted"

    def settings(self) -> dict[str, str]:
        """Name the repository."""
        return {"BUP_DIR": str(self.repository)}

    def begin(self) -> list[Call]:
        """Make the repository."""
        return [self.call("init")]

    def store(self, day: Path) -> list[Call]:
        """Look for changed files, and store them."""
        index = ("--indexfile", self.folder / f"index-{day.name}")
        name = ("--strip", "--quiet", "--name", "all")
        return [self.call("index", *index, ".", cwd=day), self.call("save", *index, *name, ".", cwd=day)]

    def restore(self, into: Path) -> list[Call]:
        """Restore everything."""
        return [self.call("restore", "--quiet", "--outdir", into, "/all/latest/.")]

    def put(self, name: str, stream: Path) -> list[Call]:
        """Store a stream."""
        return [self.call("split", "--quiet", "--name", name, stdin=stream)]

    def get(self, name: str) -> Call:
        """Write it to a pipe."""
        return self.call("join", name, piped=True)

    def verify(self) -> list[Call]:
        """Check everything."""
        return [self.call("fsck")]

    def list(self) -> Call:
        """List the dates."""
        return self.call("ls", "all")


class Zstd(Tool):
    """zstd, which keeps every day whole."""

    name = "zstd"
    encrypts = deduplicates = False
    checks = "`zstd -t`: decompresses all; nothing is encrypted"

    def begin(self) -> list[Call]:
        """Make the folder."""
        self.repository.mkdir()
        return []

    def store(self, day: Path) -> list[Call]:
        """Pack each file."""
        self.last = str(self.repository / f"{len(list(self.repository.iterdir()))}-{day.name}")
        Path(self.last).mkdir()
        return [self.call("-q", "-3", "-T2", "--output-dir-flat", self.last, *files(day))]

    def restore(self, into: Path) -> list[Call]:
        """Unpack each file."""
        return [self.call("-q", "-d", "--output-dir-flat", into, *files(Path(self.last)))]

    def put(self, name: str, stream: Path) -> list[Call]:
        """Pack a stream."""
        return [self.call("-q", "-f", "-3", "-T2", "-o", self.repository / name, stdin=stream)]

    def get(self, name: str) -> Call:
        """Write it to a pipe."""
        return self.call("-q", "-d", "-c", self.repository / name, piped=True)

    def verify(self) -> list[Call]:
        """Unpack everything to nowhere."""
        return [self.call("-q", "-t", *files(self.repository))]

    def list(self) -> Call:
        """List the last day's files."""
        return self.call("-l", *files(Path(self.last))[:1])


KINDS: dict[str, type[Tool]] = {
    kind.name: kind for kind in (Dedup, Borg, Borg64, Borg2, Borg264, Borg2Ssh, Restic, Bup, Zstd)
}
PROGRAMS: dict[str, str] = {"borg-64k": "borg", "borg2-64k": "borg2", "borg2-ssh": "borg2"} | {
    name: name for name in ("dedup", "borg", "borg2", "restic", "bup", "zstd")
}


def version_of(said: str) -> str:
    """Return the version number in what a program says of itself; all of it if there is none."""
    found = re.search(r"\d+(\.\d+)+\w*", said)
    return found[0] if found else said.strip()
