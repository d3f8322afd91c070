"""OpenSSH's own sftp, the limit of what goes over SSH: it moves the files of a repository, one after the other."""

import shutil
from pathlib import Path

from bench.peers.bench import Bench
from bench.peers.measure import Call, Cost, files, measure, warm
from bench.peers.ssh import HOST, Server
from bench.peers.tool import Tool

LIMIT = "OpenSSH sftp"


class Copy:
    """OpenSSH's sftp, which moves to and fro what a repository holds; its files go under other names."""

    def __init__(self, bench: Bench, server: Server, tool: Tool) -> None:
        self._bench, self._server, self._tool = bench, server, tool
        self._folder = bench.folder / "sftp"
        self._folder.mkdir()
        self._there: dict[Path, Path] = {}

    def put(self, step: str, amount: int) -> None:
        """Move all files that were not there yet; `amount`: the bytes of source data that these stand for."""
        new = [path for path in files(self._tool.repository) if path not in self._there]
        self._there |= {path: self._folder / str(n) for n, path in enumerate(new, len(self._there))}
        warm(self._tool.repository)
        cost = self._sftp([f'put "{path}" "{self._there[path]}"' for path in new])
        self._bench.note(step, LIMIT, amount, cost)

    def get(self, step: str, amount: int) -> None:
        """Fetch all of them."""
        back = self._bench.folder / "back"
        back.mkdir()
        warm(self._folder)
        cost = self._sftp([f'get "{path}" "{back}/{path.name}"' for path in self._there.values()])
        self._bench.note(step, LIMIT, amount, cost)
        shutil.rmtree(back)

    def end(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder)

    def _sftp(self, lines: list[str]) -> Cost:
        batch = self._bench.folder / "batch"
        batch.write_text("\n".join([*lines, ""]))
        command = ["sftp", "-q", "-F", str(self._server.config), "-P", str(self._server.port)]
        call = Call([*command, "-b", str(batch), f"{self._server.user}@{HOST}"])
        return measure([call], self._bench.environment)
