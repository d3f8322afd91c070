"""AFS volumes: listed, cloned, and dumped straight into the store.

Invariant: the facts of a volume's stream are what was seen in the stream and on the server at that time; and what this
host remembers of its vnodes belongs, by its digest, to exactly that stream.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from dedupstore.errors import DedupError, StreamError
from dedupstore.format import layout
from pipelines.config.run_settings import Schedule
from pipelines.formats.splitters import AfsSplitter
from pipelines.sources.kinds.afs import decide, gone
from pipelines.sources.kinds.afs.history import History, Stored
from pipelines.sources.kinds.afs.schedule import full_reason, next_full, period
from pipelines.sources.kinds.afs.settings import AfsSettings
from pipelines.sources.kinds.afs.volume_state import VolumeStates
from pipelines.sources.protocol import JobContext, Line, Listing
from pipelines.streams import facts
from pipelines.streams.chains import MAX_DUMPS
from pipelines.vos.listing import BACKUP, OK, READ_WRITE, UNKNOWN, Volume, VosError
from pipelines.vos.program import AnyVos

if TYPE_CHECKING:
    from dedupstore.repository import Repository

_MARGIN = 14  # days beyond the schedule's period in which to look for a parent


class Memory:
    """What is known of all volumes before the run, and what the run adds; shared by all sources of a run."""

    def __init__(self, repository: "Repository", schedule: Schedule, today: date, *, all_full: bool) -> None:
        self.schedule = schedule
        self.today = today
        self.all_full = all_full
        self._repository = repository
        self._digests: dict[tuple[str, int], str] = {}  # by source and id
        self._lock = threading.Lock()
        self.states = VolumeStates(repository.state.path / "volumes")

    @cached_property
    def history(self) -> History:
        """What is stored; read on first use, by the main thread."""
        return History(self._repository, self.today, period(self.schedule) + _MARGIN)

    def save(self, source: str, volume: int, column: bytes | None) -> None:
        """Keep the vnodes of a volume whose stream is about to be complete."""
        digest = self.states.save(volume, column) if column is not None else ""
        with self._lock:
            self._digests[source, volume] = digest

    def published(self) -> None:
        """Drop the vnodes of all streams but the newest of each volume."""
        newest = {**self.history.states(), **self._digests}
        self.states.keep({(volume, digest) for (_, volume), digest in newest.items()})


class Volumes:
    """A source of kind afs."""

    def __init__(self, settings: AfsSettings, vos: AnyVos, memory: Memory) -> None:
        self.name = settings.name
        self._settings = settings
        self._vos = vos
        self._memory = memory

    def listing(self, done: set[str]) -> Listing:
        """Clone and list the volumes.  Raises `VosError` if the servers are unknown."""
        found = Listing(published=self._memory.published)
        history, began = self._memory.history, int(time.time())
        servers = self._vos.servers()
        if self._settings.backupsys:
            for server in servers:
                try:
                    if complaints := self._vos.backupsys(server):
                        found.warnings.append(f"vos backupsys {server}: {complaints}")
                except VosError as error:
                    found.warnings.append(f"{error}; each volume is cloned separately")
        volumes = self._list(servers, found)
        # the largest first: started last, it would run alone at the end
        for volume, backup in sorted(volumes, key=lambda pair: -(pair[1] or pair[0]).size_k):
            line = Line(self.name, volume.name, "stored", "afs")
            found.add(VolumeJob(line, volume, backup, began, self._vos, self._memory), done)
        self._note_gone(servers, volumes, history, found)
        return found

    def plan(self) -> list[Line]:
        """Return which volumes a run would dump, and how; from clones as they are."""
        found = Listing(published=self._memory.published)
        servers = self._vos.servers()
        volumes = self._list(servers, found)
        for volume, backup in volumes:
            line = Line(self.name, volume.name, "planned")
            if (wrong := _wrong(volume)) is not None:
                found.lines.append(replace(line, state="failed", error=wrong))
                continue
            job = VolumeJob(line, volume, backup, 0, self._vos, self._memory)
            planned = job.plan(volume, backup or volume)[0]
            line.kind, line.reason = ("full" if planned.full else "incr"), planned.reason
            line.size = 1024 * (backup or volume).size_k if planned.full else 0
            found.lines.append(line)
        self._note_gone(servers, volumes, self._memory.history, found)
        return found.lines

    def _note_gone(
        self,
        servers: list[str],
        volumes: list[tuple[Volume, Volume | None]],
        history: History,
        found: Listing,
    ) -> None:
        """Note what is gone, and that nothing at all is included."""
        if any(line.state == "failed" for line in found.lines):
            return  # a server did not answer: that does not make its volumes gone
        present = [volume for volume, _ in volumes]
        found.lines += gone.gone_volumes(self._settings, present, history, self._memory.today)
        if not present and (wrong := gone.none_included(self._vos, servers)):
            found.lines.append(Line(self.name, "", "failed", error=wrong))

    def _list(self, servers: list[str], found: Listing) -> list[tuple[Volume, Volume | None]]:
        """Return the read-write volumes, each with its backup volume."""
        volumes: list[Volume] = []
        for server in servers:
            try:
                volumes += self._vos.listing(server)
            except VosError as error:
                found.lines.append(Line(self.name, f"all volumes of {server}", "failed", error=str(error)))
        # `vos release` and `vos move` create some for a while
        found.warnings += (
            f"volume {volume.id} on {volume.server} is {volume.status}, and its name is unknown: it was not stored"
            for volume in volumes
            if not volume.name
        )
        # a move that was cut short leaves one volume in two places, where a backup volume belongs to its neighbour
        backups = {
            (each.parent, each.server, each.partition): each for each in volumes if each.type == BACKUP
        }
        wanted = [volume for volume in volumes if volume.name and volume.type in (READ_WRITE, UNKNOWN)]
        return [(each, backups.get((each.id, each.server, each.partition))) for each in wanted]


class VolumeJob:
    """One volume.  `began` is when the run began, in seconds since 1970."""

    def __init__(
        self, line: Line, volume: Volume, backup: Volume | None, began: int, vos: AnyVos, memory: Memory
    ) -> None:
        self.line = line
        self._volume = volume
        self._backup = self._listed = backup
        self._began = began
        self._vos = vos
        self._memory = memory

    def attempt(self, context: JobContext, *, last: bool) -> Line:
        """Dump the volume into the store, in full if its incremental does not continue what is stored."""
        began = time.monotonic()
        line = replace(self.line, warnings=[])
        backup, stale = self._fresh(line, last=last)
        volume = self._volume
        if volume.status != OK or backup is not self._listed:
            found = self._vos.examine(volume.id)  # after the clone, so that a restore before it is seen
            volume = found._replace(name=found.name or volume.name)  # a busy one has no name
        planned, parent, stored, state, due = self.plan(volume, backup)
        try:
            stream = self._dump(context, line, planned, parent, volume, backup, state, stale=stale)
        except _FullInsteadError as why:
            planned = planned._replace(full=True, since=0, reason=why.message, parent=b"", continues=False)
            stream = self._dump(context, line, planned, parent, volume, backup, None, stale=stale)
        line.kind, line.reason = ("full" if planned.full else "incr"), planned.reason
        line.untimely = planned.full and stored is not None and planned.reason != due
        line.size, line.new, line.stored = stream.size, stream.new, stream.stored
        line.full_of = self._memory.today if planned.full or stored is None else stored.full_of
        if line.full_of is not None:
            line.next_full = next_full(self._memory.schedule, line.full_of, self._memory.today)
        line.seconds = time.monotonic() - began
        return line

    def plan(
        self, volume: Volume, backup: Volume
    ) -> tuple[decide.Plan, decide.Parent | None, Stored | None, bytes | None, str]:
        """Decide how to dump it; return also what it is compared with, and why the schedule wants a full."""
        memory = self._memory
        stored = memory.history.newest(self.line.source, volume.id, volume.name)
        parent, state, due = None, None, ""
        if stored is not None:
            broken = "" if stored.full_of else "its full is no longer stored"
            if stored.dumps >= MAX_DUMPS:
                broken = f"it already has {stored.dumps} dumps"
            parent = decide.Parent(stored.snapshot.name, stored.facts, broken)
            if stored.facts.state:
                state = memory.states.load(volume.id, stored.facts.state.hex())
            last_full = stored.full_of or memory.today
            due = full_reason(memory.schedule, volume.name, backup.size_k, last_full, memory.today)
        if memory.all_full:
            due = "requested"
        return decide.plan(volume, backup, parent, state, due), parent, stored, state, due

    def _fresh(self, line: Line, *, last: bool) -> tuple[Volume, bool]:
        """Return the backup volume, and whether it is older than this run; raises `VosError`."""
        if self._backup is not None and self._backup.status == OK:
            if not decide.is_stale(self._backup, self._began):
                return self._backup, False
            try:
                self._backup = self._vos.backup(self._volume.id)
            except VosError as error:
                if not last:
                    raise
                line.warnings.append(str(error))
                return self._backup, True
        else:
            self._backup = self._vos.backup(self._volume.id)
        return self._backup, False

    def _dump(
        self,
        context: JobContext,
        line: Line,
        planned: decide.Plan,
        parent: decide.Parent | None,
        volume: Volume,
        backup: Volume,
        state: bytes | None,
        *,
        stale: bool,
    ) -> Any:
        splitter = AfsSplitter()
        with context.watch(self._vos.dump(backup.id, planned.since), line.name) as source:

            def judged() -> Mapping[str, Any]:
                verdict = decide.judge(
                    planned,
                    volume,
                    backup,
                    splitter,
                    length=source.size,
                    size_now=lambda: self._vos.dump_size(backup.id, planned.since),
                    parent=parent,
                    state=state,
                    stale=stale,
                )
                if verdict.outcome == "full":
                    raise _FullInsteadError(verdict.reason)
                if verdict.outcome == "reject":
                    raise StreamError(f"the dump of {line.name} is unusable: {verdict.reason}")
                line.warnings += verdict.warnings
                line.warnings += (f"ALARM: {alarm}" for alarm in verdict.alarms)
                self._memory.save(line.source, volume.id, verdict.state)
                assert verdict.facts is not None  # noqa: S101 (it is accepted)
                return facts.wire(msgspec.structs.replace(verdict.facts, source=line.source))

            return context.session.put(line.name, source, kind="afs", splitter=splitter, facts=judged)


class _FullInsteadError(StreamError):
    """The incremental does not continue what is stored."""


def _wrong(volume: Volume) -> str | None:
    """Return why the volume cannot even be tried."""
    try:
        layout.check_stream_name(volume.name)
    except DedupError as error:
        return str(error)
    return None
