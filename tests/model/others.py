"""The other actors: clean-up (rule 19), a reader (rule 2), and deeds that come at any time (a thief's, an admin's)."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.explorer import Step
from tests.model.world import Store, World


class Cleaner:
    """Removes what is no longer needed. Its conditions stay true once they are, so that each removal is one step."""

    start = ()
    name = "clean-up"

    def __init__(self, world: World) -> None:
        self.world = world

    def steps(self, store: Store, local: tuple[()]) -> Iterator[Step]:
        """Return each removal that the rules allow."""
        world, off = self.world, self.world.without
        for snapshot in world.snapshots.values():
            run = world.bit(f"run {snapshot.run}")
            fences = sum(bit for name, bit in world.bits.items() if name.startswith(f"fence {snapshot.run} "))
            dones = world.all(*(f"done {n}" for n, s in world.snapshots.items() if s.run == snapshot.run))
            reasons = fences | dones | world.bit(f"ended {snapshot.run}")
            if store.present & run and (store.present & reasons or "19.run" in off):
                yield self._delete(store, run)
            if not store.present & run or "19.fence" in off:
                for name, bit in world.bits.items():
                    if bit & fences & store.present:
                        yield self._delete(store, world.bit(name))
        for record, named in world.condemns.items():
            gone = not named & (store.present | store.pending) and not record & world.lasting
            if store.present & record and (gone or "17.others" in off):
                yield self._delete(store, record)
        if "20.tombstones" in off:
            for name in world.snapshots:
                tombstone = world.bit(f"tombstone {name}")
                if store.present & tombstone:
                    yield self._delete(store, tombstone)

    def _delete(self, store: Store, file: int) -> Step:
        return Step("delete", self.world.names(file), self.world.deleted(store, file), ())

    def fault(self, store: Store, local: tuple[()]) -> str:
        """Claim nothing."""
        return ""


class Deeds:
    """Creates each of some files once, at any time after the file that it requires exists."""

    def __init__(self, world: World, name: str, deeds: tuple[tuple[str, str], ...]) -> None:
        self.world, self.name, self.start = world, name, 0
        self.deeds = [(world.bit(file), world.bit(needs) if needs else 0) for file, needs in deeds]

    def steps(self, store: Store, local: int) -> Iterator[Step]:
        """Return each deed that is left."""
        for file, needs in self.deeds:
            if not local & file and (not needs or store.present & needs):
                yield from self.world.creating(store, "create", file, local, local | file)

    def fault(self, store: Store, local: int) -> str:
        """Claim nothing."""
        return ""


class Reading(NamedTuple):
    """What a reader knows: which listing is next, what could count, what it restores, and from which places."""

    at: int = 0
    maybe: int = 0
    target: str = ""
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    last: int = -1
    state: str = ""


class Reader:
    """Lists what counts, takes one snapshot and restores it; a pack that is gone makes it list the index again."""

    def __init__(self, world: World, seat: int) -> None:
        self.world, self.seat, self.name, self.start = world, seat, "reader", Reading()
        self.order = ("snapshot", "done", "tombstone")
        if "2" in world.without:
            self.order = ("tombstone", "snapshot", "done")

    def steps(self, store: Store, local: Reading) -> Iterator[Step]:
        """Return what the reader can do next."""
        world = self.world
        if local.state in ("restored", "expired", "nothing", "lost"):
            return
        if local.at < 3:
            if local.at == 0 and local == self.start:
                store = store._replace(counted=world.may_count(store))
            kind = self.order[local.at]
            yield from world.listing(
                store, self.seat, f"list_{kind}s", world.kind(kind), local, lambda f: self._counted(local, f)
            )
        elif not local.target:
            for name in world.snapshots:
                if local.maybe & world.bit(f"snapshot {name}"):
                    yield Step("choose", name, store, Reading(at=3, target=name))
        elif local.state == "":
            yield from world.listing(
                store,
                self.seat,
                "list_index",
                world.kind("index"),
                local,
                lambda f: local._replace(state="reads", index=f, last=local.index),
            )
        elif local.state == "reads":
            if self._readable(store, local):
                yield Step("read", local.target, store, Reading(state="restored"))
            elif local.index != local.last:
                yield Step("read, something is gone", local.target, store, local._replace(state=""))
            else:
                tombstone = world.bit(f"tombstone {local.target}")
                yield from world.listing(
                    store,
                    self.seat,
                    "list_tombstones",
                    tombstone,
                    local,
                    lambda f: Reading(state="expired" if f else "lost", target=local.target),
                )

    def _counted(self, local: Reading, found: int) -> Reading:
        """Fold a listing into what could count: one bit for each snapshot."""
        world, maybe = self.world, 0
        for name in world.snapshots:
            bit = world.bit(f"snapshot {name}")
            shown = bool(found & world.bit(f"{self.order[local.at]} {name}"))
            good = shown != (self.order[local.at] == "tombstone")
            if good and (local.at == 0 or local.maybe & bit):
                maybe |= bit
        state = "nothing" if local.at == 2 and not maybe else ""
        return Reading(at=local.at + 1, maybe=maybe, state=state)

    def _readable(self, store: Store, local: Reading) -> bool:
        world, name = self.world, local.target
        while name:
            snapshot = world.snapshots[name]
            if not store.present & world.bit(f"snapshot {name}"):
                return False
            for chunk in snapshot.chunks:
                if not any(i & local.index and p & store.present for i, p in world.places[chunk]):
                    return False
            name = snapshot.parent
        return True

    def fault(self, store: Store, local: Reading) -> str:
        """R: what it takes to count has counted since it began, and is restored unless a tombstone explains it."""
        if local.state == "lost":
            return f"S1: the reader cannot restore {local.target}, and no tombstone says why"
        if local.at == 3 and local.maybe & ~store.counted:
            names = self.world.names(local.maybe & ~store.counted)
            return f"R: the reader takes {names} to count, which never did"
        return ""
