"""The writer of the model, narrowed to what a `Session` and `interrupted` do, so that a replay can follow each step.

What the rules leave open, the program has decided:

- `list_snapshots` is always taken; the parent counts by its snapshot, done record and tombstones (all listed there).
- `list_packs` lists only packs of index files that this host has not verified yet, and is left out if there are none.
  The rules need no such listing: with a pack, a pruner condemns every index file that names it.
- A run that was passed over always goes on under a new id as long as it may. It uploads nothing then: if something of
  what it has stored or relied on cannot be relied on any more, it reports failure.
- An ended record that appears after the done record goes unnoticed.
- "again" in `World.without` switches off that a run that begins again looks for everything again.
- A completed checkpoint is each of its streams that is found whole, and its parent with it; none, then nothing is
  published. Of the killed run an ended record says afterwards that it will publish nothing.

Invariant: every step is one that the rules allow; `test_replay` explores this writer like the others.
"""

from collections.abc import Iterator

from tests.model.explorer import Step
from tests.model.programs import writer_program
from tests.model.world import Store, World
from tests.model.writer import Attempt, Local, Writer


class SessionWriter(Writer):
    """Makes a snapshot as a `Session` does; `verified` are the packs that its host has seen before."""

    def __init__(
        self, world: World, seat: int, name: str, attempts: tuple[Attempt, ...], verified: tuple[str, ...]
    ) -> None:
        self.verified = world.all(*verified)
        super().__init__(world, seat, name, attempts)
        self.program = writer_program(world.without, parents=True)
        self.start = self._moved(Local(at=-1))

    # -- moving on

    def _moved(self, local: Local) -> Local:
        while True:
            local = local._replace(at=local.at + 1)
            step = self.program[local.at]
            if step == "decide":
                local = self._decided(local)
                if local.state:
                    return local
            elif step == "list_packs" and not self._unverified(local):
                local = local._replace(packs=self._verified(local))
            elif step not in ("upload_pack", "upload_index") or local.upload:
                return local

    def _unverified(self, local: Local) -> int:
        """Return the packs of the index files that were listed, but those that this host has seen."""
        found = sum({pack for places in self.world.places.values() for i, pack in places if i & local.index})
        return found & ~self._verified(local)

    def _verified(self, local: Local) -> int:
        """Return the packs that the host has seen in former runs, and in former attempts of this one."""
        return self.verified

    def _decided(self, local: Local) -> Local:
        if not local.attempt:
            return super()._decided(local)
        before, attempt = self.attempts[local.attempt - 1], self.attempts[local.attempt]
        snapshot = attempt.child if local.snapshot == before.child else attempt.full
        whole = "again" in self.world.without or self._is_whole(snapshot, local)
        state = "" if whole else "gives up"
        return Local(at=local.at, attempt=local.attempt, snapshot=snapshot, state=state)

    def _is_whole(self, snapshot: str, local: Local) -> bool:
        """Return whether all that a snapshot consists of can be relied on."""
        needs = self.world.snapshots[snapshot]
        parent = self.world.bits.get(f"snapshot {needs.parent}", 0)
        condemned = 0 if "5.parent" in self.world.without else local.condemned
        return parent & local.snapshots & ~condemned == parent and all(
            any(i & local.index and p & local.packs and not (i | p) & local.condemned for i, p in places)
            for chunk, places in self.world.places.items()
            if chunk in needs.chunks
        )

    def _gives_up(self, store: Store, local: Local) -> Iterator[Step]:
        if local.attempt + 1 < len(self.attempts) and self.program[local.at] != "decide":
            yield self._restart(store, local)
            return
        ended = self.world.bit(f"ended {self.attempts[local.attempt].run}")
        yield from self.world.creating(store, "report_failure", ended, local, local._replace(state="failure"))

    def _restart(self, store: Store, local: Local) -> Step:
        after = self._moved(Local(at=-1, attempt=local.attempt + 1, snapshot=local.snapshot))
        return Step("restart", self.attempts[after.attempt].run, store, after)

    # -- steps

    def _list_packs(self, store: Store, local: Local) -> Iterator[Step]:
        def learn(found: int) -> Local:
            return self._moved(local._replace(packs=found | self._verified(local)))

        yield from self.world.listing(store, self.seat, "list_packs", self._unverified(local), local, learn)

    def _list_snapshots(self, store: Store, local: Local) -> Iterator[Step]:
        parent = next((s.parent for s in self.world.snapshots.values() if s.parent), "")
        mask = self.world.all(*(f"{kind} {parent}" for kind in ("snapshot", "done", "tombstone") if parent))

        def learn(found: int) -> Local:
            there = self.world.all(f"snapshot {parent}", f"done {parent}") if parent else 0
            counts = found == there  # and no tombstone
            return self._moved(
                local._replace(snapshots=self.world.bits.get(f"snapshot {parent}", 0) if counts else 0)
            )

        yield from self.world.listing(store, self.seat, "list_snapshots", mask, local, learn)

    def _list_runs_after(self, store: Store, local: Local) -> Iterator[Step]:
        own, _ = self._own(local)

        def learn(found: int) -> Local:
            return self._clean(local) if found & own else self._suspicious(local)

        yield from self.world.listing(store, self.seat, "list_runs_after", own, local, learn)

    # -- the judge

    def fault(self, store: Store, local: Local) -> str:
        """As for any writer; what a run that was passed over has lost is no fault of the run that comes after it."""
        runs = [attempt.run for attempt in self.attempts[: local.attempt]]
        if local.state == "gives up" and store.fenced & self.world.all(*(f"run {run}" for run in runs)):
            return ""
        return super().fault(store, local)


class Completer(SessionWriter):
    """Completes a checkpoint of the run `killed`.

    The names of an attempt's snapshots are its run's and the streams': "S2a-ab" has the streams a and b.
    """

    def __init__(
        self,
        world: World,
        seat: int,
        name: str,
        runs: tuple[str, ...],
        verified: tuple[str, ...],
        killed: str,
    ) -> None:
        self.killed = killed
        super().__init__(world, seat, name, tuple(Attempt(run, "") for run in runs), verified)

    def _decided(self, local: Local) -> Local:
        run = self.attempts[local.attempt].run
        streams = "".join(s for s in "ab" if self._is_whole(f"S{run[1:]}-{s}", local))
        if not streams:
            return Local(at=local.at, attempt=local.attempt, state="nothing")
        return Local(at=local.at, attempt=local.attempt, snapshot=f"S{run[1:]}-{streams}")

    def _verified(self, local: Local) -> int:
        """Whatever is listed the second time was listed, with its packs, the first time."""
        return self.world.kind("pack") if local.attempt else self.verified

    def _clean(self, local: Local) -> Local:
        after = super()._clean(local)
        return after._replace(state="says ended") if self.program[after.at] == "report_success" else after

    def _last_look(self, store: Store, local: Local, step: str, mask: int) -> Iterator[Step]:
        for found in super()._last_look(store, local, step, mask):
            after = found.local
            assert isinstance(after, Local)
            if not after.state and self.program[after.at] == "report_success":
                after = after._replace(state="says ended")
            yield found._replace(local=after)

    def _nothing(self, store: Store, local: Local) -> Iterator[Step]:
        """Nothing is left to publish."""
        yield Step("publish_nothing", "", store, local._replace(state="says ended"))

    def _says_ended(self, store: Store, local: Local) -> Iterator[Step]:
        state = "" if local.snapshot else "gives up for good"
        ended = self.world.bit(f"ended {self.killed}")
        yield from self.world.creating(store, "say_ended", ended, local, local._replace(state=state))

    def _gives_up_for_good(self, store: Store, local: Local) -> Iterator[Step]:
        ended = self.world.bit(f"ended {self.attempts[local.attempt].run}")
        yield from self.world.creating(store, "report_nothing", ended, local, local._replace(state="failure"))
