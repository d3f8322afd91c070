"""Drives the real program through a trace of the model, and compares both after every step.

A writer is the program, on a back end that stops it before each call; a step of a pruner, of clean-up or of a thief is
played. What these list changes nothing: what they decide, the trace says.

Invariant: a replay passes only if the program makes the calls of `calls.CALLS` in the order of the trace and ends as
the model does, and `Storage` finds after each step what the model has.
"""

import shutil
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from dedupstore.errors import DedupError
from tests.model.calls import ALARM, CALLS, IF_FOUND, LISTED
from tests.model.explorer import STORE_BITS, Event, Explorer
from tests.model.gate import END, Gate
from tests.model.pruner import Local as PrunerLocal
from tests.model.scenarios import Scenario, prepared
from tests.model.storage import Storage
from tests.model.world import Store

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
        self._members = copy(stage.members)
        self._members.folder, self._members.path = folder, folder / "repository"
        self._access = stage.access
        self._storage = Storage(stage.scenario.model, self._members, stage.access, stage.files)
        self._state = next(iter(self._explorer.before))
        self._knowing: set[str] = (
            set()
        )  # writers that know done records, and hold listed index files against them
        self._begun: dict[str, tuple[str, ...]] = {}
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
        elif (
            not event.name.startswith(CHANGES_NOTHING) and event.args != "none" and IS_THERE not in event.args
        ):
            local = self._explorer.locals_of(self._state)[event.actor]
            self._storage.play(event, local.doomed if isinstance(local, PrunerLocal) else 0)
        changed = self._store(after) != self._store(self._state)
        self._state = after
        self.followed.append(event)
        if changed:
            self._storage.compare(self._store(after))
        if event.name in ("create_done", "create_tombstone", "delete"):
            self.judge()

    def judge(self) -> None:
        """What is promised holds now."""
        succeeded = [event.args for event in self.followed if event.name == "report_success"]
        self._storage.judge(self._store(self._state), succeeded)

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
        files = []
        for call in calls:
            if call == "create snapshot":
                self._alarm(gate)
            name = gate.let(call)
            files += [name] if call.startswith("create ") else []
        while what == "list_packs" and gate.waiting().what == calls[0]:
            gate.let(calls[0])
        if (what == "list_index" and event.actor in self._knowing) or CALLS[what] == LISTED:
            self._alarm(gate)
        if what == "list_snapshots":
            self._knowing.add(event.actor)
        if what == "restart":
            assert "create run" == gate.waiting().what
        if what.startswith("report_"):
            self._reported(event)
        if files:
            self._storage.made(event.args.removesuffix(IS_THERE), files)

    def _alarm(self, gate: Gate) -> None:
        """Let the program look again for an index file that a done record names and that is gone."""
        if gate.waiting().what == ALARM[0]:
            for call in ALARM:
                gate.let(call)

    def _reported(self, event: Event) -> None:
        gate = self.writers[event.actor]
        call = gate.waiting()
        assert END == call.what, f"expected: the end; the program would: {call.what} {call.name}"
        if event.name == "report_failure":
            assert isinstance(gate.error, DedupError), repr(gate.error)
            return
        assert gate.error is None, repr(gate.error)
        published = gate.result if isinstance(gate.result, list) else [gate.result]
        expected = [] if event.name == "report_nothing" else [self._storage.digest(f"snapshot {event.args}")]
        assert expected == [info.name for info in published]
