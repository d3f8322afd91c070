"""The volumes of a cell, through OpenAFS's `vos`: list, examine, clone, size, dump.

A command of `vos` counts only if both its exit status and its output are good; control commands have time-outs.
Invariant: volumes are passed to `vos` by number, servers and partitions come from the configuration or a listing:
neither the name nor the contents of a volume ever become an argument.

`helper_client.PrivilegedVos` has the same methods, carried out by a root process.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pipelines.vos import listing, patterns
from pipelines.vos.encryption import encryption
from pipelines.vos.listing import BACKUP, READ_WRITE, UNKNOWN, Volume, VosError
from pipelines.vos.process import VosProcess, check
from pipelines.vos.settings import VosSettings

CONTROL_SECONDS = 300.0  # `vos` itself retries for a minute or two when a server does not answer
_RELEASE_SECONDS = 20.0  # the run waits for it, and the server may be the problem
BACKUPSYS_SECONDS = 4 * 3600.0  # thousands of volumes, one after the other

LARGEST = 0xFFFFFFFF  # ids and times are 32 bits wide


class Dump(Protocol):
    """A running `vos dump`; a context manager.  Its volume is busy until it is closed.

    `fileno` is readable when `readinto` will not wait.  `readinto` returns 0 only after `vos` has succeeded, and
    raises `VosError` otherwise.  `close` frees the volume, within seconds if the server is well; any thread may
    call it, more than once.
    """

    def fileno(self) -> int: ...  # noqa: D102

    def readinto(self, buffer: memoryview, /) -> int: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102

    def __enter__(self) -> "Dump": ...

    def __exit__(self, *_: object) -> None: ...


class AnyVos(Protocol):
    """What `Vos` and `PrivilegedVos` have in common; see `Vos` for what the methods do."""

    def servers(self) -> list[str]: ...  # noqa: D102

    def listing(self, server: str) -> list[Volume]: ...  # noqa: D102

    def count(self, server: str) -> int: ...  # noqa: D102

    def examine(self, volume: int) -> Volume: ...  # noqa: D102

    def backup(self, volume: int) -> Volume: ...  # noqa: D102

    def backupsys(self, server: str) -> str: ...  # noqa: D102

    def dump_size(self, volume: int, since: int) -> int: ...  # noqa: D102

    def dump(self, volume: int, since: int) -> Dump: ...  # noqa: D102


@dataclass(frozen=True)
class _Place:
    server: str
    partition: str


class Vos:
    """`vos`, run by this process.  Every method raises `VosError`; `VolumeGoneError` if there is no such volume.

    Servers are named as in the configuration; `environment` is that of `vos`, None for ours.  Several threads may
    share it.
    """

    def __init__(
        self,
        settings: VosSettings,
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = CONTROL_SECONDS,
    ) -> None:
        self._settings = settings
        self._timeout = timeout
        self._environment = dict(os.environ if environment is None else environment)
        self._program = shutil.which(settings.program, path=self._environment.get("PATH")) or settings.program
        self._places: dict[int, _Place] = {}

    def servers(self) -> list[str]:
        """Return the servers of the configuration, or all in the location database."""
        if self._settings.servers:
            return list(self._settings.servers)
        output = self._output(["listaddrs", "-printuuid", "-noresolve"], "vos listaddrs", self._timeout)
        blocks = [block.split() for block in output.decode("ascii", "replace").split("UUID:")[1:]]
        # one address of each server
        return [listing.argument(block[1], "server") for block in blocks if len(block) > 1]

    def listing(self, server: str) -> list[Volume]:
        """Return the selected volumes of the server, with their backup and read-only volumes.

        Volumes that are busy or cannot be attached are included; their names come from the location database, and are
        empty if that has none.
        """
        wanted = patterns.select(self._all(server), self._settings.include, self._settings.exclude)
        for volume in wanted:
            self._places[volume.id] = _Place(server, volume.partition)
        return wanted

    def count(self, server: str) -> int:
        """Return how many read-write volumes with a known name the server has, selected or not."""
        return sum(bool(v.name) and v.type in (READ_WRITE, UNKNOWN) for v in self._all(server))

    def _all(self, server: str) -> list[Volume]:
        volumes: list[Volume] = []
        for where in [["-partition", part] for part in self._settings.partitions] or [[]]:
            doing = f"vos listvol {' '.join([server, *where[1:]])}"
            output = self._output(
                ["listvol", "-server", server, *where, "-format", "-noresolve"], doing, self._timeout
            )
            volumes += listing.parse_listing(output, server)
        if any(not volume.name for volume in volumes):
            output = self._output(
                ["listvldb", "-server", server, "-quiet", "-noresolve"],
                f"vos listvldb {server}",
                self._timeout,
            )
            names = listing.parse_names(output)
            volumes = [listing.named(volume, names) for volume in volumes]
        return volumes

    def examine(self, volume: int) -> Volume:
        """Return the volume as it is now."""
        doing = f"vos examine {volume}"
        try:
            output = self._output(
                ["examine", "-id", str(volume), "-format", "-noresolve"], doing, self._timeout
            )
        except VosError:  # it fails in the same way when the database is down; listvldb does not
            self._output(["listvldb", "-name", str(volume), "-quiet", "-noresolve"], doing, self._timeout)
            raise
        place = self._places.get(volume)
        return listing.parse_examine(output, place.server if place else "")

    def backup(self, volume: int) -> Volume:
        """Clone the read-write volume of this id, and return the backup volume."""
        self._output(["backup", "-id", str(volume)], f"vos backup {volume}", self._timeout)
        parent = self.examine(volume)
        if not parent.backup_id:
            raise VosError(
                f"vos backup {volume} created no backup volume", "see the log of the volume server"
            )
        place = self._places.get(volume)
        if place:
            self._places[parent.backup_id] = place
        found = self.examine(parent.backup_id)
        if found.type not in (BACKUP, UNKNOWN) or found.id != parent.backup_id:
            raise VosError(f"volume {parent.backup_id} is not the backup volume of {volume}", "list it again")
        return found

    def backupsys(self, server: str) -> str:
        """Clone all selected volumes of the server, and return the failures that `vos` reported.

        `vos backupsys` skips busy volumes and succeeds: only the dates in a new listing show this.
        """
        settings = self._settings
        chosen = ["-prefix", *map(patterns.expression, settings.include)]
        if settings.exclude:
            chosen += ["-xprefix", *map(patterns.expression, settings.exclude)]
        complaints = []
        for where in [["-partition", part] for part in settings.partitions] or [[]]:
            doing = f"vos backupsys {' '.join([server, *where[1:]])}"
            output = self._output(["backupsys", *chosen, "-server", server, *where], doing, BACKUPSYS_SECONDS)
            lines = output.decode(errors="replace").replace(" .. ", "\n").splitlines()
            complaints += [line.strip() for line in lines if line.startswith("Could not")]
        return "; ".join(complaints)

    def dump_size(self, volume: int, since: int) -> int:
        """Return the size in bytes of a dump of all changes since then; since 0: of everything."""
        arguments = ["size", "-id", str(volume), *self._where(volume), "-dump", "-time", _number(since)]
        return listing.parse_size(self._output(arguments, f"vos size {volume}", self._timeout))

    def dump(self, volume: int, since: int) -> Dump:
        """Start to dump the volume: all changes since then, in seconds since 1970; since 0: everything."""
        return LocalDump(self.dump_process(volume, since))

    def dump_process(self, volume: int, since: int) -> VosProcess:
        """Start to dump the volume, as `dump` does."""
        arguments = ["dump", "-id", str(volume), *self._where(volume), "-time", _number(since)]
        if self._settings.encrypt:
            place = self._places.get(volume)
            arguments += encryption(place.server) if place else ["-encrypt"]
        return self._start(arguments, f"vos dump {volume}", lambda: self._release(volume))

    def _release(self, volume: int) -> None:
        """Make the server abandon a dump whose `vos` was killed; it would do so later by itself."""
        with suppress(VosError, KeyError):
            server = self._places[volume].server
            output = self._output(["status", "-server", server], f"vos status {server}", _RELEASE_SECONDS)
            transaction = listing.parse_dumping(output).get(volume)
            if transaction is not None:
                ended = ["endtrans", "-server", server, "-transaction", str(transaction)]
                self._output(ended, f"vos endtrans {transaction}", _RELEASE_SECONDS)

    def _where(self, volume: int) -> list[str]:
        """Return where the volume was listed, so that `vos` needs no database."""
        place = self._places.get(volume)
        return ["-server", place.server, "-partition", place.partition] if place else []

    def _output(self, arguments: list[str], doing: str, seconds: float) -> bytes:
        return self._start(arguments, doing).output(seconds)

    def _start(
        self, arguments: list[str], doing: str, killed: Callable[[], None] = lambda: None
    ) -> VosProcess:
        settings = self._settings
        identity = ["-localauth"] if settings.localauth else []
        if (
            settings.cell and not settings.localauth
        ):  # with -localauth, vos knows its cell and refuses the option
            identity += ["-cell", settings.cell]
        identity += ["-noauth"] if settings.noauth else []
        return VosProcess([self._program, *arguments, *identity], self._environment, doing, killed)


class LocalDump:
    """A dump by our own `vos`; see `Dump`."""

    size = None  # known only at its end

    def __init__(self, process: VosProcess) -> None:
        self._process = process

    def fileno(self) -> int:
        """Return the pipe's descriptor."""
        return self._process.pipe.fileno()

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what there is."""
        count: int = self._process.pipe.readinto(buffer)  # type: ignore[attr-defined]  # unbuffered: a FileIO
        if count == 0:
            check(self._process.doing, *self._process.end())
        return count

    def close(self) -> None:
        """End it."""
        self._process.end()

    def __enter__(self) -> "LocalDump":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(value: int) -> str:
    if not 0 <= value <= LARGEST:
        raise VosError(f"{value} is not a valid time in AFS")
    return str(value)
