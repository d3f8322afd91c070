"""Drives the real program through a trace of the model, and compares both after every step.

A step of a writer is one or a few calls of the back end (`CALLS`), and the reading of what they list. These calls come
in exactly this order, and no others. Where the program calls more than the model, that is:

| step | besides |
|---|---|
| `list_index`, when begun again | `runs`, `ledgers`, `tombstones`, `index`, if an index file is gone that a done record names: for an alarm |
| `list_packs` | a call for each folder of packs, side by side |
| `list_snapshots`, `upload_snapshot`, `publish_nothing` | `snapshots`, `runs`, `ledgers`, `tombstones`: what counts, and the next number |
| `list_fences`, `list_fences_after` | `runs`, if there is a fence, which has decided already |
| `list_condemned_after` | `tombstones`, if the snapshot is condemned, which has decided already |
| `upload_pack` | a pack of contents and a pack of lists |

Steps of pruners, clean-up and thieves are played: their records are made, signed by a member who may, and files are
deleted. What they list changes nothing.

Invariant: after each step the repository has exactly the files that the model's storage has; what a reader of no
memory takes to count, counts in the model, and is restored byte for byte. An AssertionError begins with the promise that is broken
(S1, S2, S3, U), if one is.
"""

import shutil
import struct
import time
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TypeVar

import msgspec

from dedupstore import catalogue, layout
from dedupstore.errors import DedupError
from dedupstore.layout import Kind
from dedupstore.records import Condemned, Done, Ended, Fence, Tombstones
from dedupstore.records import Snapshot as SnapshotRecord
from dedupstore.repository import Repository
from dedupstore.snapshots import info_of
from tests.model.explorer import STORE_BITS, Event, Explorer
from tests.model.gate import END, Gate
from tests.model.pruner import Local as PrunerLocal
from tests.model.pruner import Pruner
from tests.model.scenarios import BYTES, Scenario, parent_of, prepared
from tests.model.world import Store
from tests.store import World as Members
from tests.store import signer_of

T = TypeVar("T")

LISTED = ("names snapshots", "names runs", "names ledgers", "names tombstones")
CALLS: dict[str, tuple[str, ...]] = {
    "create_run": ("create run",),
    "list_condemned": ("names condemned",),
    "list_index": ("names index",),
    "list_packs": ("list packs",),
    "list_snapshots": LISTED,
    "upload_pack": ("create pack", "create pack"),
    "upload_index": ("create index",),
    "upload_snapshot": (*LISTED, "create snapshot"),
    "publish_nothing": LISTED,
    "list_fences": ("names fences",),
    "list_runs": ("names runs",),
    "create_done": ("create done",),
    "list_fences_after": ("names fences",),
    "list_runs_after": ("names runs",),
    "list_condemned_after": ("names condemned",),
    "list_tombstones_after": ("names tombstones",),
    "say_ended": ("create ended",),
    "report_success": (),
    "report_failure": (),
    "report_nothing": ("create ended",),
    "restart": (),
    "verify that the packs exist": (),  # the model without rule 7
}
IF_FOUND = {
    "list_fences": "names runs",
    "list_fences_after": "names runs",
    "list_condemned_after": "names tombstones",
}
ALARM = ("names runs", "names ledgers", "names tombstones", "names index")
IS_THERE = " (is there)"
CHANGES_NOTHING = ("plan", "wait", "list_", "leave_condemned", "begin again", "crash")


class Stage:
    """A scenario, explored, and the repository that each replay gets a copy of."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.explorer = Explorer(scenario.model)
        self.found = self.explorer.explore()
        self.folder = folder
        self.members, self.access, self.files = prepared(scenario, folder / "start")
        self._numbers = iter(range(1 << 30))

    def replay(self, trace: Sequence[Event], *, early: bool = False) -> "Replay":
        """Follow a trace to its end; any difference is an AssertionError.

        If `early`, of a step that is several calls all listings but a last one come before the steps of others that
        precede it in the trace.
        """
        folder = self.folder / str(next(self._numbers))
        shutil.copytree(self.members.folder, folder)
        replay = Replay(self, folder)
        try:
            for n, event in enumerate(trace):
                try:
                    replay.follow(event)
                    if early and event.actor in replay.writers:
                        replay.begin_next(trace[n + 1 :], event.actor)
                except AssertionError as error:
                    error.add_note(f"in {event}, after {[tuple(e) for e in replay.followed]}")
                    raise
            replay.judge()
        finally:
            replay.stop()
            shutil.rmtree(folder)
        return replay


class Replay:
    """One trace, on a repository of its own."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._scenario, self._explorer = stage.scenario, stage.explorer
        self._world = stage.scenario.model.world
        self._members: Members = copy(stage.members)
        self._members.folder, self._members.path = folder, folder / "repository"
        self._access, self._files = stage.access, dict(stage.files)
        self._state = next(iter(self._explorer.before))
        self._compares: set[str] = set()  # writers that know done records, and hold listed index files against them
        self._begun: dict[str, tuple[str, ...]] = {}
        self._counted: set[str] = set()
        self._present: set[str] = set()
        self._readers = 0
        self.followed: list[Event] = []
        self.writers = {name: self._started(name) for name in stage.scenario.programs}

    def _started(self, name: str) -> Gate:
        gate = Gate(self._members.backend())

        def work() -> object:
            with self._members.open(self._access[name], host=name, backend=gate) as repository:
                return self._scenario.programs[name](repository)

        gate.run(work)
        return gate

    def stop(self) -> None:
        """End the programs, wherever they are."""
        for gate in self.writers.values():
            gate.stop()

    def follow(self, event: Event) -> None:
        """Take one step, and compare what is there with what should be."""
        (after,) = {reached for found, reached in self._explorer.events(self._state) if found == event}
        if event.actor in self.writers:
            self._write(event)
        elif not event.name.startswith(CHANGES_NOTHING) and event.args != "none" and IS_THERE not in event.args:
            self._play(event)
        changed = self._store(after) != self._store(self._state)
        self._state = after
        self.followed.append(event)
        if changed:
            self._compare()
        if event.name in ("create_done", "create_tombstone", "delete"):
            self.judge()

    def begin_next(self, trace: Sequence[Event], writer: str) -> None:
        """Let the listings through with which a writer's next step begins."""
        following = next((event for event in trace if event.actor == writer), None)
        if following is not None:
            calls = CALLS[following.name][:-1]
            self._begun[writer] = calls if all(call.startswith("names ") for call in calls) else ()
            for call in self._begun[writer]:
                self.writers[writer].let(call)

    def _store(self, state: int) -> Store:
        store = self._explorer.stores.values[state & ((1 << STORE_BITS) - 1)]
        assert isinstance(store, Store)
        return store

    # -- writers

    def _write(self, event: Event) -> None:
        gate, what = self.writers[event.actor], event.name
        calls = list(CALLS[what][len(self._begun.pop(event.actor, ())) :])
        if what in IF_FOUND and event.args != "none":
            calls.append(IF_FOUND[what])
        if what == "report_failure" and event.args.startswith("ended"):
            calls.append("create ended")
        files = [name for call in calls for name in [gate.let(call)] if call.startswith("create ")]
        while what == "list_packs" and gate.waiting().what == calls[0]:
            gate.let(calls[0])
        if what == "list_index" and event.actor in self._compares and gate.waiting().what == ALARM[0]:
            for call in ALARM:
                gate.let(call)
        if what == "list_snapshots":
            self._compares.add(event.actor)
        if what == "restart":
            assert "create run" == gate.waiting().what
        if what.startswith("report_"):
            self._reported(event)
        if files:
            self._made(event.args.removesuffix(IS_THERE), files)

    def _reported(self, event: Event) -> None:
        gate = self.writers[event.actor]
        call = gate.waiting()
        assert END == call.what, f"expected: the end; the program would: {call.what} {call.name}"
        if event.name == "report_failure":
            assert isinstance(gate.error, DedupError), repr(gate.error)
            return
        assert gate.error is None, repr(gate.error)
        published = gate.result if isinstance(gate.result, list) else [gate.result]
        expected = [] if event.name == "report_nothing" else [self._digest(f"snapshot {event.args}")]
        assert expected == [info.name for info in published]

    def _made(self, name: str, files: list[str]) -> None:
        """Note the files that a writer made, which must say what the model's do."""
        assert not {file for known in self._files.values() for file in known} & set(files)
        self._files[name] = [*self._files.get(name, []), *files]
        kind, what = name.split(" ")
        if kind == "snapshot":
            snapshot, record = self._world.snapshots[what], self._snapshot(what)
            assert self._run(snapshot.run) == record.run
            assert set(snapshot.chunks) == {stream.name for stream in record.streams}
            parent = self._digest(f"snapshot {snapshot.parent}") if snapshot.parent else b""
            assert parent == b"".join(parent_of(stream) for stream in record.streams)
        elif kind == "done":
            done = self._record(Kind.DONE, files[0], Done)
            assert self._run(self._world.snapshots[what].run) == done.run == layout.run_of(files[0], Kind.DONE)
            assert self._digest(f"snapshot {what}") == done.snapshots
        elif kind == "ended":
            ended = self._record(Kind.ENDED, files[0], Ended)
            assert self._run(what) == ended.run == layout.run_of(files[0], Kind.ENDED)

    # -- the others

    def _play(self, event: Event) -> None:
        kind, what = event.args.split(" ", 1)
        if event.name in ("delete", "delete_condemned"):
            for file in self._files[event.args]:
                (self._members.path / file).unlink()
            return
        now = int(time.time())
        if kind == "condemned":
            made = self._sign(Kind.CONDEMNED, self._condemned(event, now))
        elif kind == "fence":
            run = self._run(what.split(" ")[0])
            made = self._sign(Kind.FENCE, Fence(run=run, time=now), run)
        elif kind == "tombstone":
            made = self._sign(Kind.TOMBSTONES, self._tombstone(event, what, now))
        else:
            assert ("create", "ended") == (event.name, kind)
            run = self._run(what)
            made = self._sign(Kind.ENDED, Ended(run=run, time=now), run, "W1")
        self._files[event.args] = [made]

    def _sign(self, kind: Kind, record: msgspec.Struct, run: bytes = b"", who: str = "pruner") -> str:
        digest = self._members.sign(self._access[who], kind, record, run)
        return layout.run_record_file(kind, run, digest) if run else layout.content_file(kind, digest)

    def _condemned(self, event: Event, now: int) -> Condemned:
        pruner, cycle, plan = event.args.removeprefix("condemned ").split(".")
        actor = next(a for a in self._scenario.model.actors if isinstance(a, Pruner) and a.name == pruner)
        chosen = actor.plans[int(plan)]

        def column(*names: str) -> bytes:
            return b"".join(self._digests(*names))

        return Condemned(
            time=now,
            packs=column(*(name for name in chosen.drop if name.startswith("pack "))),
            index=column(*(name for name in chosen.drop if name.startswith("index "))),
            snapshots=column(*(f"snapshot {name}" for name in chosen.expire)),
            abandoned=column(*(f"snapshot {name}" for name in chosen.abandon)),
        )

    def _tombstone(self, event: Event, snapshot: str, now: int) -> Tombstones:
        record, name = self._snapshot(snapshot), self._digest(f"snapshot {snapshot}")
        signer = signer_of(self._access["W2" if snapshot.startswith("S2") else "W1"])
        previous = record.heads.get(signer, (0, bytes(32)))[1]
        local = self._explorer.locals_of(self._state)[event.actor]
        assert isinstance(local, PrunerLocal)
        doomed = self._world.names(local.doomed & self._world.kind("index")).split(", ")
        return Tombstones(
            time=now,
            replaces=b"",
            snapshots=struct.pack("<32s32s32sQ", name, signer, previous, record.sequence),
            index=b"".join(self._digests(*(file for file in doomed if file in self._files))),
        )

    # -- what is there

    def _digests(self, *names: str) -> list[bytes]:
        return [layout.sha256((self._members.path / f).read_bytes()) for name in names for f in self._files[name]]

    def _digest(self, name: str) -> bytes:
        (file,) = self._files[name]
        digest = layout.digest_of(file)
        assert digest is not None
        return digest

    def _run(self, run: str) -> bytes:
        (file,) = self._files[f"run {run}"]
        return bytes.fromhex(Path(file).stem)

    def _record(self, kind: Kind, file: str, record: type[T]) -> T:
        data = (self._members.path / file).read_bytes()
        return catalogue.open_record(self._members.admin, kind, file, data, record)[1]

    def _snapshot(self, name: str) -> SnapshotRecord:
        return self._record(Kind.SNAPSHOT, self._files[f"snapshot {name}"][0], SnapshotRecord)

    def _compare(self) -> None:
        """The files that are there are those of the model."""
        root = self._members.path
        there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        there = {file for file in there if not file.startswith(("checkpoints/", "place/"))}
        self._present = present = {name for name, files in self._files.items() if there >= set(files)}
        expected = set(self._world.names(self._store(self._state).present).split(", "))
        assert expected == present, f"missing: {expected - present}; too many: {present - expected}"
        unknown = there - {file for name in present for file in self._files[name]}
        assert not unknown, f"the program made {unknown}"

    def judge(self) -> None:
        """S1 to S3 hold for a reader that has seen nothing before."""
        store = self._store(self._state)
        counts = set(self._world.names(self._world.surely_count(store)).replace("snapshot ", "").split(", "))
        counts.discard("none")
        self._readers += 1
        with self._members.open(self._members.admin, host=f"reader{self._readers}") as repository:
            found = {info.name: info for info in repository.snapshots()}
            assert {self._digest(f"snapshot {name}") for name in counts} == found.keys()
            for name in counts:
                self._restore(repository, name, "S1")
            for name in self._expected(store) - counts:
                self._restore(repository, name, "U")
            assert [] == repository.damage
        for name in self._counted - counts:
            assert f"tombstone {name}" in self._files, f"S3: {name} no longer counts, and has no tombstone"
        self._counted |= counts
        for event in self.followed:
            lost = event.name == "report_success" and event.args not in counts
            assert not lost, f"S2: success was reported, and {event.args} does not count"

    def _expected(self, store: Store) -> set[str]:
        """Return the snapshots that are there, and whose runs nobody has fenced or ended."""
        found = set()
        for name, snapshot in self._world.snapshots.items():
            excuses = self._world.all(f"tombstone {name}", f"ended {snapshot.run}")
            fenced = store.fenced & self._world.bit(f"run {snapshot.run}")
            if store.present & self._world.bit(f"snapshot {name}") and not store.present & excuses and not fenced:
                found.add(name)
        return found

    def _restore(self, repository: Repository, name: str, promise: str) -> None:
        record = self._snapshot(name)
        info = info_of(self._digest(f"snapshot {name}"), b"", record)
        try:
            for stream in record.streams:
                assert BYTES[stream.name] == b"".join(repository.read(info, stream))
        except DedupError as error:
            raise AssertionError(f"{promise}: {name} cannot be restored: {error}") from error
        if parent := self._world.snapshots[name].parent:
            assert f"snapshot {parent}" in self._present, f"{promise}: {parent}, which {name} builds on, is gone"
            self._restore(repository, parent, promise)
