"""The pruner: condemns, fences, marks and deletes by rules 11 to 18; an admin who closes a member is one, too.

A plan is what it would like to go, and the copies that it makes first. A pruner tries its plans in `cycles` passes, one
after the other; a crash at any point ends a pass, and whoever comes next has a record and fences of its own. A plan
with `publishes` leaves index files out of a closing list: it condemns them, and creates the roster in place of
deleting.

Invariant: nothing is deleted that the local value of `decide` does not name.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from tests.model.explorer import Step
from tests.model.programs import pruner_program
from tests.model.world import Plan, Store, World


class Local(NamedTuple):
    """What a pruner knows in a pass."""

    at: int = -1
    cycle: int = 0
    plan: int = 0
    copied: int = 0
    others: int = 0
    runs: int = 0
    fenced: int = 0
    snapshots: int = 0
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    packs: int = 0
    doomed: int = 0
    whole: bool = False


class Pruner:
    """See the module."""

    def __init__(self, world: World, seat: int, name: str, plans: tuple[Plan, ...], cycles: int = 1) -> None:
        self.world, self.seat, self.name, self.plans, self.cycles = world, seat, name, plans, cycles
        self.start = Local()
        self.records: dict[tuple[int, int], int] = {}
        self.contents: list[int] = []
        for n, plan in enumerate(plans):
            snapshots = (f"snapshot {s}" for s in (*plan.expire, *plan.abandon))
            self.contents.append(world.all(*plan.drop, *snapshots))
            for cycle in range(cycles):
                record = world.bit(f"condemned {name}.{cycle}.{n}")
                self.records[cycle, n] = record
                world.condemns[record] = self.contents[n]
                if plan.publishes and "21.stays" not in world.without:
                    world.lasting |= record
        self.runs = sorted({s.run for s in world.snapshots.values()})
        for run in self.runs:
            for cycle in range(cycles):
                world.bit(f"fence {run} {name}.{cycle}")
        self.program = pruner_program(world.without)

    # -- steps

    def steps(self, store: Store, local: Local) -> Iterator[Step]:
        """Return what the pruner can do next."""
        if local.at >= 0 and local.cycle + 1 < self.cycles:
            closed = self.world._window(store, self.seat, None) if self.world.windows else store
            ended = local.at == len(self.program)
            yield Step("begin again" if ended else "crash", "", closed, Local(cycle=local.cycle + 1))
        if local.at == -1:
            yield from self._plan(store, local)
        elif local.at < len(self.program):
            yield from getattr(self, f"_{self.program[local.at]}")(store, local)

    def _plan(self, store: Store, local: Local) -> Iterator[Step]:
        """Choose something that is there; copy; then go on."""
        if local.plan:  # copies under way
            copies = self.plans[local.plan - 1].copies
            copy = self.world.bit(copies[local.copied])
            after = local._replace(copied=local.copied + 1)
            if after.copied == len(copies):
                after = self._moved(Local(plan=local.plan, cycle=local.cycle))
            kind = copies[local.copied].split()[0]
            yield from self.world.creating(store, f"copy_{kind}", copy, local, after)
            return
        seen = store.present | store.pending
        for n, plan in enumerate(self.plans):
            record, content = self.records[local.cycle, n], self.contents[n]
            chosen = local._replace(plan=n + 1)
            if plan.trusts:
                if others := [r for r, named in self.world.condemns.items() if r & seen and named == content]:
                    at = self.program.index("list_condemned")
                    yield Step("trust_condemned", self.world.names(others[0]), store, chosen._replace(at=at))
            elif plan.copies:
                chunks = {chunk for c in plan.copies if c[:5] == "pack " for chunk in self.world.packs[c[5:]]}
                if local.cycle == 0 and all(self.world.place_of(store.present, chunk) for chunk in chunks):
                    yield Step("plan", self.world.names(content), store, chosen)
            elif plan.publishes or seen & content == content:
                yield Step("plan", self.world.names(record), store, self._moved(chosen))

    def _moved(self, local: Local) -> Local:
        """Go to the next step; decide when everything is listed."""
        local = local._replace(at=local.at + 1)
        if local.at < len(self.program) and self.program[local.at] == "decide":
            local = self._decided(local)
            if self.plans[local.plan - 1].publishes:
                return local._replace(at=self.program.index("delete_condemned"), doomed=0)
            return local._replace(at=local.at + 1)
        return local

    def _create_condemned(self, store: Store, local: Local) -> Iterator[Step]:
        record = self.records[local.cycle, local.plan - 1]
        if "21.condemn" in self.world.without and self.plans[local.plan - 1].publishes:
            yield Step("publish without condemning", "", store, self._moved(local))
            return
        yield from self.world.creating(store, "create_condemned", record, local, self._moved(local))

    def _list_condemned(self, store: Store, local: Local) -> Iterator[Step]:
        def learn(found: int) -> Local:
            others = 0
            for record, named in self.world.condemns.items():
                others |= named if record & found else 0
            return self._moved(local._replace(others=others & self.world.kind("index", "pack")))

        mask = self.world.kind("condemned")
        yield from self.world.listing(store, self.seat, "list_condemned", mask, local, learn)

    def _list_runs(self, store: Store, local: Local) -> Iterator[Step]:
        mask = self.world.kind("run", "done", "ended")

        def learn(found: int) -> Local:
            return self._moved(local._replace(runs=found))

        yield from self.world.listing(store, self.seat, "list_runs", mask, local, learn)

    def _fence(self, store: Store, local: Local) -> Iterator[Step]:
        """Rule 13: wait for each open run or fence it, fence the abandoned; list again after each fence."""
        world, off, plan = self.world, self.world.without, self.plans[local.plan - 1]
        open_ = [r for r in self.runs if self._is_open(r, local.runs) and not self._own_fence(r, local)]
        left = [
            world.snapshots[s].run
            for s in plan.abandon
            if not local.runs & world.bit(f"done {s}") and not self._own_fence(world.snapshots[s].run, local)
        ]
        if "13.abandoned" in off:
            left = []
        if "18.fence" in off:
            seen = world.names(store.present | store.pending)
            open_, left = ([r for r in rs if f"fence {r} " not in seen] for rs in (open_, left))
        if "13.fence" in off:
            open_, left = [], []
        again = local._replace(at=self.program.index("list_runs"), runs=0)
        if "13.relist" in off:
            again = local
        if open_ and "13.relist" not in off:
            yield Step("wait", ", ".join(open_), store, again)
        for run in [*open_, *left][:1]:
            fence = world.bit(f"fence {run} {self.name}.{local.cycle}")
            after = again._replace(fenced=local.fenced | world.bit(f"run {run}"))
            yield from world.creating(store, "create_fence", fence, local, after, world.bit(f"run {run}"))
        if not open_ and not left:
            keep = world.all(*(f"done {s}" for s in plan.abandon))
            if {"14.all-present", "10", "14.after-runs"} & off:
                keep = -1
            yield from getattr(self, f"_{self.program[local.at + 1]}")(
                store, local._replace(at=local.at + 1, runs=local.runs & keep, fenced=0)
            )

    def _is_open(self, run: str, runs: int) -> bool:
        world = self.world
        done = world.all(*(f"done {name}" for name, s in world.snapshots.items() if s.run == run))
        return bool(runs & world.bit(f"run {run}")) and not runs & (done | world.bit(f"ended {run}"))

    def _own_fence(self, run: str, local: Local) -> int:
        return local.fenced & self.world.bit(f"run {run}")

    def _list(self, kind: str, store: Store, local: Local) -> Iterator[Step]:
        field = {"snapshot": "snapshots", "pack": "packs"}.get(kind, kind)

        def learn(found: int) -> Local:
            return self._moved(local._replace(**cast(Any, {field: found})))

        yield from self.world.listing(store, self.seat, f"list_{field}", self.world.kind(kind), local, learn)

    def _list_snapshots(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._list("snapshot", store, local)

    def _list_index(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._list("index", store, local)

    def _list_packs(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._list("pack", store, local)

    # -- the decision

    def _decided(self, local: Local) -> Local:
        """Rules 14 and 15: mark, then choose what can go."""
        world, off, plan = self.world, self.world.without, self.plans[local.plan - 1]
        gone = {*plan.expire, *plan.unlists, *(s for s in plan.abandon if self._may_abandon(s, local))}
        marked = [
            s for s in world.snapshots if local.snapshots & world.bit(f"snapshot {s}") and s not in gone
        ]
        if "14.all-present" in off:
            marked = [s for s in marked if local.runs & world.bit(f"done {s}")]
        if "10" in off:
            marked = [s for s in marked if not local.runs & world.bit(f"ended {world.snapshots[s].run}")]
        if "14.unlisted" in off:
            marked = [s for s in marked if s not in world.closed or s in world.lists[0]]
        for name in marked:  # grows: a marked snapshot's parent is marked
            parent = world.snapshots[name].parent
            if parent and parent not in marked and "14.parents" not in off:
                marked.append(parent)
                gone.discard(parent)
        needed = {chunk for s in marked for chunk in world.snapshots[s].chunks}
        content = self.contents[local.plan - 1]
        condemned = content if "15.uncondemned" in off else content | local.others
        doomed = 0
        for name in plan.drop:
            file = world.bit(name)
            lost = [chunk for chunk in needed if self._holds(name, file, chunk, local)]
            if "15.other-place" in off or all(self._another(chunk, condemned, local) for chunk in lost):
                doomed |= file
        if (
            plan.publishes
            and "21.places" not in off
            and not all(self._another(c, condemned, local) for c in needed)
        ):
            doomed = 0  # it also condemns what the closed member may still create: every chunk needs a listed place
        whole = doomed == content & ~world.kind("snapshot") and len(gone) == len(
            plan.expire + plan.abandon + plan.unlists
        )
        for name in gone:
            doomed |= world.all(f"snapshot {name}", f"done {name}", f"tombstone {name}")
        return Local(at=local.at, cycle=local.cycle, plan=local.plan, doomed=doomed, whole=whole)

    def _may_abandon(self, snapshot: str, local: Local) -> bool:
        return "14.not-done" in self.world.without or not local.runs & self.world.bit(f"done {snapshot}")

    def _holds(self, name: str, file: int, chunk: str, local: Local) -> bool:
        """Return whether a condemned file is part of a place of a chunk (or the pack that may be one)."""
        if name.startswith("pack "):
            return chunk in self.world.packs[name[5:]]
        return any(file == index and pack & local.packs for index, pack in self.world.places[chunk])

    def _another(self, chunk: str, condemned: int, local: Local) -> bool:
        for index, pack in self.world.places[chunk]:
            has_index = index & local.index or "15.index-present" in self.world.without
            has_pack = pack & local.packs or "15.pack-present" in self.world.without
            if has_index and has_pack and not (index | pack) & condemned:
                return True
        return False

    # -- deletion

    def _create_tombstones(self, store: Store, local: Local) -> Iterator[Step]:
        missing = local.doomed & self.world.kind("tombstone") & ~store.present
        if not missing:
            yield from self._next(store, local._replace(doomed=local.doomed & ~self.world.kind("tombstone")))
            return
        first = missing & -missing
        rest = local._replace(doomed=local.doomed & ~first)
        yield from self.world.creating(store, "create_tombstone", first, local, rest)

    def _delete(self, kinds: tuple[str, ...], store: Store, local: Local) -> Iterator[Step]:
        mask = self.world.kind(*kinds)
        there = local.doomed & mask & store.present
        if not there:
            yield from self._next(store, local._replace(doomed=local.doomed & ~mask))
            return
        first = there & -there
        after = local._replace(doomed=local.doomed & ~first)
        yield Step("delete", self.world.names(first), self.world.deleted(store, first), after)

    def _next(self, store: Store, local: Local) -> Iterator[Step]:
        """Go on at once: there is nothing to do here."""
        local = local._replace(at=local.at + 1)
        if local.at < len(self.program):
            yield from getattr(self, f"_{self.program[local.at]}")(store, local)

    def _delete_snapshots(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._delete(("snapshot", "done"), store, local)

    def _delete_index(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._delete(("index",), store, local)

    def _delete_packs(self, store: Store, local: Local) -> Iterator[Step]:
        yield from self._delete(("pack",), store, local)

    def _delete_condemned(self, store: Store, local: Local) -> Iterator[Step]:
        """Rule 17: the record stays if anything that it names was spared. A closing list is published here."""
        after = local._replace(at=local.at + 1, whole=False)
        if after.at == len(self.program):
            after = Local(at=after.at, cycle=local.cycle)
        publishes = self.plans[local.plan - 1].publishes
        if publishes:
            after = Local(at=len(self.program), cycle=local.cycle)
            if local.whole or "21.check" in self.world.without:
                yield from self.world.creating(
                    store, "publish_roster", self.world.bit(publishes), local, after
                )
            else:
                yield Step("publish_nothing", "", store, after)
        elif local.whole or "17.stays" in self.world.without:
            record = self.records[local.cycle, local.plan - 1] & store.present
            yield Step("delete_condemned", self.world.names(record), self.world.deleted(store, record), after)
        else:
            yield Step("leave_condemned", "", store, after)

    def fault(self, store: Store, local: Local) -> str:
        """A pruner claims nothing."""
        return ""
