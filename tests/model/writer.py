"""The writer: makes one snapshot, step by step as rules 3 to 10 demand.

Its steps are those of `writer_program`; `list_index` and the other listings learn, `decide` (no step of its
own) chooses what to rely on. After a failed check it goes on under a new run id, or reports failure. With `crashes`,
it may also be killed at any point; the next attempt is then the one that completes its checkpoint.

Invariant: a local value holds only what later steps use.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from tests.model.explorer import Step
from tests.model.programs import writer_program
from tests.model.world import Store, World


class Local(NamedTuple):
    """What a writer knows: where it is, in which attempt, what it listed, what it has to upload."""

    at: int = 0
    attempt: int = 0
    condemned: int = 0
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    packs: int = 0
    snapshots: int = 0
    upload: int = 0
    snapshot: str = ""
    state: str = ""  # "gives up", "buried", "success", "failure": no longer in the program


@dataclass(frozen=True)
class Attempt:
    """The names of one attempt: its run, its snapshots (full, incremental), its packs (one per chunk) and index."""

    run: str
    full: str
    child: str = ""
    index: str = ""
    packs: tuple[str, ...] = ()


class Writer:
    """See the module."""

    def __init__(
        self,
        world: World,
        seat: int,
        name: str,
        attempts: tuple[Attempt, ...],
        *,
        crashes: bool = False,
        takes_over: bool = False,
    ) -> None:
        self.world, self.seat, self.name, self.attempts = world, seat, name, attempts
        self.crashes, self.takes_over = crashes, takes_over
        self.program = writer_program(world.without, any(a.child for a in attempts))
        self.start = self._moved(Local(at=-1))

    # -- moving on

    def _moved(self, local: Local) -> Local:
        """Go to the next step that is one: decide on the way, skip uploads that are not needed."""
        while True:
            local = local._replace(at=local.at + 1)
            step = self.program[local.at]
            if step == "decide":
                local = self._decided(local)
            elif step in ("upload_pack", "upload_index") and not local.upload:
                continue
            else:
                return local

    def _decided(self, local: Local) -> Local:
        """Choose the parent, and what to upload: what is not found whole and uncondemned (rule 5)."""
        world, attempt = self.world, self.attempts[local.attempt]
        packs = world.kind("pack") if "4.packs" in world.without else local.packs
        snapshot = attempt.full
        if attempt.child:
            parent = world.bits[f"snapshot {world.snapshots[attempt.child].parent}"]
            condemned = 0 if "5.parent" in world.without else local.condemned
            if local.snapshots & parent & ~condemned:
                snapshot = attempt.child
        upload = 0
        for chunk in world.snapshots[snapshot].chunks:
            found = any(
                index & local.index and pack & packs and not (index | pack) & local.condemned
                for index, pack in world.places[chunk]
            )
            if not found:
                upload |= world.all(*(f"pack {p}" for p in attempt.packs if chunk in world.packs[p]))
        return Local(at=local.at, attempt=local.attempt, upload=upload, snapshot=snapshot)

    def _gives_up(self, store: Store, local: Local) -> Iterator[Step]:
        """Rule 7: go on under a new run id, or end the run and report failure."""
        if local.attempt + 1 < len(self.attempts):
            yield self._restart(store, local)
        ended = self.world.bit(f"ended {self.attempts[local.attempt].run}")
        yield from self.world.creating(store, "report_failure", ended, local, local._replace(state="failure"))

    def _buried(self, store: Store, local: Local) -> Iterator[Step]:
        """Rule 8: the done record is there, the snapshot is being withdrawn."""
        yield Step("report_failure", local.snapshot, store, local._replace(state="failure"))

    def _verifies(self, store: Store, local: Local) -> Iterator[Step]:
        """Rule 7 removed: a fenced run that finds its packs goes on."""
        chunks = self.world.snapshots[local.snapshot].chunks
        if all(self.world.place_of(store.present, chunk) for chunk in chunks):
            yield Step("verify that the packs exist", "", store, self._at(local, "create_done"))

    def _restart(self, store: Store, local: Local) -> Step:
        after = self._moved(Local(at=-1, attempt=local.attempt + 1))
        return Step("restart", self.attempts[after.attempt].run, store, after)

    # -- steps

    def steps(self, store: Store, local: Local) -> Iterator[Step]:
        """Return what the writer can do next."""
        if local.state in ("success", "failure"):
            return
        if self.crashes and local != self.start and local.attempt + 1 < len(self.attempts):
            yield self._restart(self._closed(store), local)._replace(name="crash, restart")
        step = local.state.replace(" ", "_") or self.program[local.at]
        yield from getattr(self, f"_{step}")(store, local)

    def _closed(self, store: Store) -> Store:
        return self.world._window(store, self.seat, None) if self.world.windows else store

    def _create_run(self, store: Store, local: Local) -> Iterator[Step]:
        run = self.attempts[local.attempt].run
        if self.takes_over:  # rule 9 removed: goes on with the run of another process, which it sees open
            seen = store.present & self.world.all(f"run {run}", f"ended {run}")
            if seen == self.world.bit(f"run {run}"):
                yield Step("take_over_run", run, store, self._moved(local))
        else:
            yield from self.world.creating(
                store, "create_run", self.world.bit(f"run {run}"), local, self._moved(local)
            )

    def _list_condemned(self, store: Store, local: Local) -> Iterator[Step]:
        def learn(found: int) -> Local:
            condemned = 0
            for record, named in self.world.condemns.items():
                condemned |= named if record & found else 0
            return self._moved(local._replace(condemned=condemned))

        yield from self.world.listing(
            store, self.seat, "list_condemned", self.world.kind("condemned"), local, learn
        )

    def _list(self, kind: str, store: Store, local: Local) -> Iterator[Step]:
        field = {"pack": "packs", "snapshot": "snapshots"}.get(kind, kind)
        mask = self.world.kind(kind)
        if kind == "snapshot":
            mask = self.world.bit(f"snapshot {self.world.snapshots[self.attempts[0].child].parent}")
        yield from self.world.listing(
            store,
            self.seat,
            f"list_{field}",
            mask,
            local,
            lambda f: self._moved(local._replace(**cast(Any, {field: f}))),
        )

    def _list_index(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._list("index", store, local)

    def _list_packs(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._list("pack", store, local)

    def _list_snapshots(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._list("snapshot", store, local)

    def _upload_pack(self, store: Store, local: Local) -> Iterator[Step]:
        pack = local.upload & -local.upload
        rest = local._replace(upload=local.upload & ~pack)
        if not rest.upload:  # all packs are up: the index file is next
            rest = local._replace(at=local.at + 1)
        yield from self.world.creating(store, "upload_pack", pack, local, rest)

    def _upload_index(self, store: Store, local: Local) -> Iterator[Step]:
        index = self.world.bit(f"index {self.attempts[local.attempt].index}")
        yield from self.world.creating(
            store, "upload_index", index, local, self._moved(local._replace(upload=0))
        )

    def _upload_snapshot(self, store: Store, local: Local) -> Iterator[Step]:
        file = self.world.bit(f"snapshot {local.snapshot}")
        yield from self.world.creating(store, "upload_snapshot", file, local, self._moved(local))

    def _list_fences(self, store: Store, local: Local) -> Iterator[Step]:
        fenced = "verifies" if "7" in self.world.without else "gives up"

        def learn(found: int) -> Local:
            return local._replace(state=fenced) if found else self._moved(local)

        yield from self.world.listing(store, self.seat, "list_fences", self._fences(local), local, learn)

    def _list_runs(self, store: Store, local: Local) -> Iterator[Step]:
        own, ended = self._own(local)

        def learn(found: int) -> Local:
            ok = found & own and (not found & ended or "6.ended" in self.world.without)
            return self._moved(local) if ok else local._replace(state="gives up")

        yield from self.world.listing(store, self.seat, "list_runs", own | ended, local, learn)

    def _create_done(self, store: Store, local: Local) -> Iterator[Step]:
        file = self.world.bit(f"done {local.snapshot}")
        yield from self.world.creating(store, "create_done", file, local, self._moved(local))

    def _list_fences_after(self, store: Store, local: Local) -> Iterator[Step]:
        def learn(found: int) -> Local:
            return self._suspicious(local) if found else self._clean(local)

        yield from self.world.listing(
            store, self.seat, "list_fences_after", self._fences(local), local, learn
        )

    def _list_runs_after(self, store: Store, local: Local) -> Iterator[Step]:
        own, ended = self._own(local)

        def learn(found: int) -> Local:
            ok = found & own and (not found & ended or "8.ended" in self.world.without)
            return self._clean(local) if ok else self._suspicious(local)

        yield from self.world.listing(store, self.seat, "list_runs_after", own | ended, local, learn)

    def _clean(self, local: Local) -> Local:
        follows = self.program[local.at + 1]
        return self._at(
            local, follows if follows in ("list_fences_after", "list_runs_after") else "report_success"
        )

    def _suspicious(self, local: Local) -> Local:
        """Rule 8: a fence, or no run record: look for the own snapshot among what is condemned or buried."""
        looks = ("list_condemned_after", "list_tombstones_after", "report_success")
        return self._at(local, next(step for step in self.program if step in looks))

    def _list_condemned_after(self, store: Store, local: Local) -> Iterator[Step]:
        own = self.world.bit(f"snapshot {local.snapshot}")
        records = sum(record for record, named in self.world.condemns.items() if named & own)
        yield from self._last_look(store, local, "list_condemned_after", records)

    def _list_tombstones_after(self, store: Store, local: Local) -> Iterator[Step]:
        tombstone = self.world.bit(f"tombstone {local.snapshot}")
        yield from self._last_look(store, local, "list_tombstones_after", tombstone)

    def _last_look(self, store: Store, local: Local, step: str, mask: int) -> Iterator[Step]:
        def learn(found: int) -> Local:
            return local._replace(state="buried") if found else self._moved(local)

        yield from self.world.listing(store, self.seat, step, mask, local, learn)

    def _report_success(self, store: Store, local: Local) -> Iterator[Step]:
        after = local._replace(state="success")
        yield Step("report_success", local.snapshot, store, after)

    # -- helpers

    def _at(self, local: Local, step: str) -> Local:
        return local._replace(at=self.program.index(step), state="")

    def _fences(self, local: Local) -> int:
        prefix = f"fence {self.attempts[local.attempt].run} "
        return sum(bit for name, bit in self.world.bits.items() if name.startswith(prefix))

    def _own(self, local: Local) -> tuple[int, int]:
        run = self.attempts[local.attempt].run
        return self.world.bit(f"run {run}"), self.world.bit(f"ended {run}")

    # -- the judge

    def fault(self, store: Store, local: Local) -> str:
        """S2: what was reported as a success counts. F: a run fails only if someone fenced or ended it."""
        run = self.attempts[local.attempt].run
        if local.state == "success":
            counting = self.world.surely_count(store)
            if not counting & self.world.bit(f"snapshot {local.snapshot}"):
                return f"S2: {self.name} reported success, {local.snapshot} does not count"
        ended = self.world.bit(f"ended {run}") & (store.present | store.pending)
        if local.state == "gives up" and not store.fenced & self.world.bit(f"run {run}") and not ended:
            return f"F: {self.name} fails, and nobody fenced or ended its run"
        return ""
