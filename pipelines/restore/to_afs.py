"""A running `vos restore`, fed through a pipe; and the other `vos` commands that a restore needs.

Measured with OpenAFS 1.8.9: a `vos restore` whose pipe is closed early fails at once and frees its volume, but leaves
what it has made of it, without an entry in the location database; one that is killed leaves it busy for minutes.

Invariant: `vos` is ended in the gentlest way that works, and never outlives us.  What it has made is known by
its id, so that nothing else is ever removed.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from dedupstore.errors import DedupError
from pipelines.output import pipes
from pipelines.output.error_tail import ErrorTail
from pipelines.restore.get import write_pieces
from pipelines.text import safe
from pipelines.vos import listing
from pipelines.vos.encryption import encryption
from pipelines.vos.listing import Volume, VolumeGoneError, VosError
from pipelines.vos.process import GRACE, VosProcess, check

CONTROL_SECONDS = 300.0

_REFUSED = ("permission denied", "no permission access")
_IDENTIFY = "kinit and aklog first, or as root on a server: --localauth"

_MADE = re.compile(rb"^Restoring volume \S+ Id ([1-9]\d*) on server", re.MULTILINE)
_FREE = re.compile(rb"^Free space on partition (\S+): (\d+) K blocks", re.MULTILINE)


class Site(NamedTuple):
    """Where a volume is or shall be, as `vos` names it."""

    server: str
    partition: str

    def __str__(self) -> str:
        return f"{safe(self.server)} {safe(self.partition)}"

    def arguments(self) -> list[str]:
        """Return the arguments that name it.  Raises `VosError` for what `vos` would take for options."""
        server = listing.argument(self.server, "server")
        return ["-server", server, "-partition", listing.argument(self.partition, "partition")]


@dataclass(frozen=True)
class Vos:
    """`vos`, as found on PATH, with `identity`: the arguments that say who we are.  Methods raise `VosError`."""

    program: str
    identity: tuple[str, ...] = ()

    @classmethod
    def find(cls, *, localauth: bool, cell: str) -> "Vos":
        """Return the `vos` of this machine; raises `DedupError` if there is none."""
        program = shutil.which("vos")
        if program is None:
            raise DedupError("there is no vos on this machine", "install openafs-client, or use dedup get")
        identity = ("-localauth",) if localauth else ()
        return cls(program, (*identity, *(("-cell", listing.argument(cell, "cell")) if cell else ())))

    def line(self, *arguments: str) -> str:
        """Return a command line for people to type."""
        return shlex.join(["vos", *arguments, *self.identity])

    def say(self, *arguments: str) -> bytes:
        """Run a command to its end and return its output."""
        doing = f"vos {arguments[0]}"
        with _hinting():
            process = VosProcess([self.program, *arguments, *self.identity], os.environ, doing)
            return process.output(CONTROL_SECONDS)

    def examine(self, volume: str) -> Volume | None:
        """Return the volume of this name, None if the location database has none."""
        try:
            said = self.say("examine", "-id", volume, "-format", "-noresolve")
        except VolumeGoneError as error:
            if "no such entry" in str(error).lower():
                return None
            raise
        return listing.parse_examine(said, _server(said))

    def free(self, site: Site) -> int:
        """Return the free bytes of a partition; raises `VosError` also if there is no such server or partition."""
        found = _FREE.search(self.say("partinfo", *site.arguments()))
        if found is None:
            raise VosError(f"vos partinfo did not say how much is free on {site}")
        return 1024 * int(found[2])

    def restore(self, site: Site, name: str, *, overwrite: bool) -> "Restoring":
        """Begin to restore a volume; what goes to another host is encrypted."""
        how = ["-overwrite", "full"] if overwrite else []
        secret = encryption(site.server)
        return Restoring(
            [self.program, "restore", *site.arguments(), "-name", name, *how, *secret, *self.identity]
        )


class Restoring:
    """One `vos restore`.

    `made`: the id of the volume that it began to make or to replace, None so far or if it did not come to that.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._said = ErrorTail()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._said.descriptor,
                bufsize=0,
                start_new_session=True,  # our terminal's signals would leave the volume busy
            )
        except OSError as error:
            self._said.not_started()
            self._output.close()
            raise VosError(f"vos cannot be started: {error.strerror}") from None
        self._said.started()
        assert self._process.stdin is not None  # noqa: S101 (as asked for above)
        self._pipe = self._process.stdin
        pipes.prepare(self._pipe.fileno())

    def feed(self, pieces: Iterable[bytes | memoryview], progress: Callable[[int], None]) -> None:
        """Give it the whole dump and wait for its good end.  Raises `VosError`, and what the pieces raise."""
        whole = False
        with suppress(pipes.ReaderGoneError):  # its words say why
            write_pieces(iter(pieces), self._pipe.fileno(), "the pipe to vos", progress)
            whole = True
        self._pipe.close()
        with _hinting():
            check("vos restore", self._process.wait(), self._said.text())
        if not whole:
            raise VosError("vos restore ended before it had taken the whole volume")

    def stop(self) -> None:
        """End it if it still runs: its pipe is closed first."""
        self._pipe.close()
        for wait, number in zip(GRACE, (signal.SIGTERM, signal.SIGKILL), strict=True):
            try:
                self._process.wait(wait)
                return
            except subprocess.TimeoutExpired:
                self._process.send_signal(number)
        self._process.wait()

    @property
    def made(self) -> int | None:
        """Return what it said that it makes."""
        self._output.seek(0)
        found = _MADE.search(self._output.read(65536))
        return int(found[1]) if found else None

    def close(self) -> None:
        """Forget what it said."""
        self._output.close()


@contextmanager
def _hinting() -> Iterator[None]:
    """Say what to do where AFS refuses; without tokens it only says that permission is denied."""
    try:
        yield
    except VosError as error:
        if error.hint or not any(words in error.message.lower() for words in _REFUSED):
            raise
        raise VosError(error.message, _IDENTIFY) from None


def _server(said: bytes) -> str:
    """Return the server's address or name in what `vos examine -format` said."""
    found = re.search(rb"^serv\t+(\S+)", said, re.MULTILINE)
    if found is None:
        raise VosError("vos examine did not say on which server the volume is")
    return found[1].decode("ascii", "replace")
