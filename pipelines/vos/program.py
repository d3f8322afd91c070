"""The volumes of a cell, through OpenAFS's `vos`: list, examine, clone, size, dump.

`vos` is believed by its exit status and its words; its control commands have time-outs.  Invariant: volumes are
named to `vos` by their numbers, and servers and partitions by the configuration or by a listing: nothing that a
volume holds or is called ever becomes an argument.

`privileged.PrivilegedVos` has the same methods, and a root process to do it.
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

CONTROL_SECONDS = 300.0  # `vos` itself tries again for a minute or two when a server does not answer
_RELEASE_SECONDS = 20.0  # somebody waits for it, and the server may be what is ill
BACKUPSYS_SECONDS = 4 * 3600.0  # thousands of volumes, one after the other

LARGEST = 0xFFFFFFFF  # ids and times are 32 bits wide


class Dump(Protocol):
    """A running `vos dump`, as a source: a context manager.  Its volume is busy until it is closed.

    `fileno` is readable when `readinto` will not wait.  `readinto` gives 0 only after `vos` has ended well, and
    raises `VosError` otherwise.  `close` frees the volume, within seconds if the server is well; any thread may
    call it, again, too.
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
    """`vos`, run by ourselves.  Every method raises `VosError`; `VolumeGoneError` if there is no such volume.

    Servers are named as the configuration does; `environment` is that of `vos`, ours if it is None.  Methods
    may be called from several threads.
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
        """Return the servers of the configuration, or all that the location database has."""
        if self._settings.servers:
            return list(self._settings.servers)
        output = self._output(["listaddrs", "-printuuid", "-noresolve"], "vos listaddrs", self._timeout)
        blocks = [block.split() for block in output.decode("ascii", "replace").split("UUID:")[1:]]
        # one address of each server
        return [listing.argument(block[1], "server") for block in blocks if len(block) > 1]

    def listing(self, server: str) -> list[Volume]:
        """Return the volumes of the server that are wanted, with their backup and read-only volumes.

        A busy volume, or one that cannot be attached, is among them; its name comes from the location
        database, and is empty if that has none.
        """
        wanted = patterns.select(self._all(server), self._settings.include, self._settings.exclude)
        for volume in wanted:
            self._places[volume.id] = _Place(server, volume.partition)
        return wanted

    def count(self, server: str) -> int:
        """Return how many read-write volumes the server has, wanted or not, whose names are known."""
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
        except VosError:  # it says the same of a database that is down; listvldb does not
            self._output(["listvldb", "-name", str(volume), "-quiet", "-noresolve"], doing, self._timeout)
            raise
        place = self._places.get(volume)
        return listing.parse_examine(output, place.server if place else "")

    def backup(self, volume: int) -> Volume:
        """Clone the read-write volume of this id anew, and return the backup volume."""
        self._output(["backup", "-id", str(volume)], f"vos backup {volume}", self._timeout)
        parent = self.examine(volume)
        if not parent.backup_id:
            raise VosError(f"vos backup {volume} made no backup volume", "see the log of the volume server")
        place = self._places.get(volume)
        if place:
            self._places[parent.backup_id] = place
        found = self.examine(parent.backup_id)
        if found.type not in (BACKUP, UNKNOWN) or found.id != parent.backup_id:
            raise VosError(f"volume {parent.backup_id} is not the backup volume of {volume}", "list it again")
        return found

    def backupsys(self, server: str) -> str:
        """Clone all wanted volumes of the server anew, and return what `vos` reported of those that it could not.

        `vos backupsys` passes over busy volumes and ends well: the dates of a new listing tell.
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
        """Return how many bytes a dump of everything changed since then would have; since 0: of everything."""
        arguments = ["size", "-id", str(volume), *self._where(volume), "-dump", "-time", _number(since)]
        return listing.parse_size(self._output(arguments, f"vos size {volume}", self._timeout))

    def dump(self, volume: int, since: int) -> Dump:
        """Start to dump the volume: what was changed since then, in seconds since 1970; since 0: everything."""
        return LocalDump(self.dump_process(volume, since))

    def dump_process(self, volume: int, since: int) -> VosProcess:
        """Start to dump the volume, as `dump` does."""
        arguments = ["dump", "-id", str(volume), *self._where(volume), "-time", _number(since)]
        if self._settings.encrypt:
            place = self._places.get(volume)
            arguments += encryption(place.server) if place else ["-encrypt"]
        return self._start(arguments, f"vos dump {volume}", lambda: self._release(volume))

    def _release(self, volume: int) -> None:
        """Tell the server to give up a dump whose `vos` was killed; it then does so sooner."""
        with suppress(VosError, KeyError):
            server = self._places[volume].server
            output = self._output(["status", "-server", server], f"vos status {server}", _RELEASE_SECONDS)
            transaction = listing.parse_dumping(output).get(volume)
            if transaction is not None:
                ended = ["endtrans", "-server", server, "-transaction", str(transaction)]
                self._output(ended, f"vos endtrans {transaction}", _RELEASE_SECONDS)

    def _where(self, volume: int) -> list[str]:
        """Return where the volume was listed, so that no database is asked."""
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
        ):  # with -localauth, vos knows its cell and refuses to be told
            identity += ["-cell", settings.cell]
        identity += ["-noauth"] if settings.noauth else []
        return VosProcess([self._program, *arguments, *identity], self._environment, doing, killed)


class LocalDump:
    """A dump by a `vos` of ours; see `Dump`."""

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
        raise VosError(f"{value} is no time that AFS knows")
    return str(value)
