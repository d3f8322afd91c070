"""The storage of the model: which files can exist, what a listing may show, what counts and what can be restored.

A store is a set of files, as bits. Creates of the kinds in `slow` take time: between their begin and their return a
file is *pending*, and a listing may or may not show it. With `windows`, a listing takes time, too: it shows every file
that was there throughout, and any of those that came or went meanwhile. Everything else is atomic.

Invariant: what actors learn, they learn from `listing`; only the judges of the properties look at the whole store.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.explorer import Actor, Step


class Window(NamedTuple):
    """A listing under way: of which files, those there throughout, and those that were there at some instant."""

    mask: int
    surely: int
    maybe: int


class Store(NamedTuple):
    """The files; `fenced` and `counted` are the judge's notes, which no actor sees."""

    present: int = 0
    pending: int = 0
    windows: tuple[Window | None, ...] = ()
    fenced: int = 0  # runs that ever had a fence
    counted: int = 0  # snapshots that counted at an instant since the reader began


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: the run that makes it, the chunks that it needs, and the snapshot that it is an increment to."""

    run: str
    chunks: str
    parent: str = ""


@dataclass(frozen=True)
class Plan:
    """What one record condemns (files, snapshots that expire, snapshots that are abandoned), and what comes first."""

    drop: tuple[str, ...] = ()
    expire: tuple[str, ...] = ()
    abandon: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()  # published first, in this order; possible in the first pass only
    publishes: str = ""  # a roster, instead of deletions ...
    unlists: tuple[str, ...] = ()  # ... which leaves these snapshots out
    trusts: bool = False  # rule 18 removed: goes on with the record of another pruner


@dataclass
class World:
    """The files that a configuration can have, and the rules that are switched off in it."""

    packs: dict[str, str]  # name: chunks
    indexes: dict[str, tuple[str, ...]]  # name: packs
    snapshots: dict[str, Snapshot]
    without: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()
    windows: bool = False
    reader: bool = False
    closed: frozenset[str] = frozenset()  # the closed signer's snapshots and index files ...
    lists: tuple[frozenset[str], ...] = ()  # ... and what each of its closing lists lets count
    bits: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    condemns: dict[int, int] = field(default_factory=dict)  # condemned record: the files that it names
    lasting: int = 0  # condemned records of closing lists

    def __post_init__(self) -> None:
        for name in self.packs:
            self.bit(f"pack {name}")
        for name in self.indexes:
            self.bit(f"index {name}")
        for name, snapshot in self.snapshots.items():
            for kind in ("snapshot", "done", "tombstone"):
                self.bit(f"{kind} {name}")
            for kind in ("run", "ended"):
                self.bit(f"{kind} {snapshot.run}")
        for number in range(len(self.lists)):
            self.bit(f"roster {number + 1}")
        self.places = {
            chunk: [
                (self.bit(f"index {index}"), self.bit(f"pack {pack}"))
                for index, packs in self.indexes.items()
                for pack in packs
                if chunk in self.packs[pack]
            ]
            for chunk in sorted({chunk for chunks in self.packs.values() for chunk in chunks})
        }

    def bit(self, name: str) -> int:
        """Return the bit of the file `name` ("kind rest")."""
        if name not in self.bits:
            self.bits[name] = 1 << len(self.bits)
            kind = name.split()[0]
            self.kinds[kind] = self.kinds.get(kind, 0) | self.bits[name]
        return self.bits[name]

    def all(self, *names: str) -> int:
        """Return the bits of several files."""
        return sum({self.bit(name) for name in names})

    def kind(self, *kinds: str) -> int:
        """Return the bits of all files of some kinds."""
        return sum(self.kinds.get(kind, 0) for kind in kinds)

    def names(self, files: int) -> str:
        """Return the names of files, for a trace."""
        return ", ".join(name for name, bit in self.bits.items() if bit & files) or "none"

    # -- what an actor can do

    def listing(
        self, store: Store, seat: int, step: str, mask: int, local: Hashable, then: Callable[[int], Hashable]
    ) -> Iterator[Step]:
        """List the files of `mask`: one step for each answer that is possible; `then` makes the new local value."""
        surely, maybe = store.present & mask, (store.present | store.pending) & mask
        if self.windows:
            window = store.windows[seat]
            if window is None:
                begun = self._window(store, seat, Window(mask, surely, maybe))
                yield Step(f"{step} begins", "", begun, local)
                return
            surely, maybe = window.surely, window.maybe
            store = self._window(store, seat, None)
        doubtful = some = maybe & ~surely
        while True:
            yield Step(step, self.names(surely | some), store, then(surely | some))
            if not some:
                return
            some = (some - 1) & doubtful

    def creating(
        self, store: Store, step: str, file: int, local: Hashable, after: Hashable, fenced: int = 0
    ) -> Iterator[Step]:
        """Create a file: one step, or two if creates of its kind are slow."""
        name = self.names(file)
        if file & store.present:
            yield Step(step, f"{name} (is there)", store, after)
        elif file & store.pending:
            returned = store._replace(present=store.present | file, pending=store.pending & ~file)
            yield Step(step, name, self._noted(returned, 0), after)
        elif name.split()[0] in self.slow:
            begun = store._replace(pending=store.pending | file, windows=self._seen(store, file))
            yield Step(f"{step} begins", name, self._noted(begun, fenced), local)
        else:
            created = store._replace(present=store.present | file, windows=self._seen(store, file))
            yield Step(step, name, self._noted(created, fenced), after)

    def deleted(self, store: Store, file: int) -> Store:
        """Return the store without a file."""
        windows = tuple(w and w._replace(surely=w.surely & ~file) for w in store.windows)
        return self._noted(store._replace(present=store.present & ~file, windows=windows), 0)

    def _seen(self, store: Store, file: int) -> tuple[Window | None, ...]:
        return tuple(w and w._replace(maybe=w.maybe | file & w.mask) for w in store.windows)

    def _window(self, store: Store, seat: int, window: Window | None) -> Store:
        return store._replace(windows=(*store.windows[:seat], window, *store.windows[seat + 1 :]))

    def _noted(self, store: Store, fenced: int) -> Store:
        counted = store.counted | self.may_count(store) if self.reader else 0
        return store._replace(fenced=store.fenced | fenced, counted=counted)

    # -- what counts, and what can be restored

    def _count(self, shown: int, tombstones: int) -> int:
        counting = 0
        for name, snapshot in self.snapshots.items():
            bit = self.bits[f"snapshot {name}"]
            done = self.bits[f"done {name}"]
            if "1.signer" in self.without:
                done |= self.bits.get(f"forged {name}", 0)
            if not (shown & bit and shown & done) or tombstones & self.bits[f"tombstone {name}"]:
                continue
            if "1.withdrawal" in self.without and shown & self.bits[f"ended {snapshot.run}"]:
                continue
            if name in self.closed and name not in self._listed(shown, name):
                continue
            counting |= bit
        return counting

    def _listed(self, present: int, name: str) -> frozenset[str]:
        """Return what the newest roster lets count of the closed signer."""
        for number in range(len(self.lists), 0, -1):
            if present & self.bits[f"roster {number}"]:
                return self.lists[number - 1]
        return frozenset({name})

    def may_count(self, store: Store) -> int:
        """Return the snapshots that a reader could take to count."""
        return self._count(store.present | store.pending, store.present)

    def surely_count(self, store: Store) -> int:
        """Return the snapshots that every reader takes to count."""
        return self._count(store.present, store.present | store.pending)

    def restorable(self, present: int, name: str) -> bool:
        """Return whether a snapshot, its ancestors and a place of each of their chunks are there."""
        snapshot = self.snapshots[name]
        if snapshot.parent and not (
            present & self.bits[f"snapshot {snapshot.parent}"] and self.restorable(present, snapshot.parent)
        ):
            return False
        return all(self.place_of(present, chunk) for chunk in snapshot.chunks)

    def place_of(self, present: int, chunk: str) -> bool:
        """Return whether a chunk has a place: an index file that counts, and a pack."""
        return any(
            index & present and pack & present and self.valid(present, index)
            for index, pack in self.places[chunk]
        )

    def valid(self, present: int, index: int) -> bool:
        """Return whether no closing list leaves an index file out."""
        if not self.closed:
            return True
        name = self.names(index).removeprefix("index ")
        return name not in self.closed or name in self._listed(present, name)


@dataclass
class Model:
    """A world and its actors: what the explorer explores. The judge of the properties S1, S2, S3 and F."""

    world: World
    actors: list[Actor]
    files: tuple[str, ...]

    @property
    def start(self) -> Store:
        windows = (None,) * len(self.actors) if self.world.windows else ()
        return self.world._noted(Store(self.world.all(*self.files), windows=windows), 0)

    def store_fault(self, store: Store) -> str:
        """S1: what any reader may take to count can be restored from what is surely there."""
        counting = self.world.may_count(store)
        for name in self.world.snapshots:
            if counting & self.world.bits[f"snapshot {name}"] and not self.world.restorable(
                store.present, name
            ):
                return f"S1: {name} counts and cannot be restored"
        return self._unresolved(store) if self.world.without <= {"6.order"} else ""

    def _unresolved(self, store: Store) -> str:
        """U: a snapshot that is there resolves, unless someone fenced, ended or buried it (so marking never stalls)."""
        world = self.world
        for name, snapshot in world.snapshots.items():
            excused = store.fenced & world.bits[f"run {snapshot.run}"] or (
                store.present | store.pending
            ) & world.all(f"tombstone {name}", f"ended {snapshot.run}")
            there = store.present & world.bits[f"snapshot {name}"] and name not in world.closed
            if there and not excused and not world.restorable(store.present, name):
                return f"U: {name} is there, nobody fenced its run, and it does not resolve"
        return ""

    def step_fault(self, before: Store, after: Store) -> str:
        """S3: what counted stops counting by a tombstone or an admin's closing list only."""
        world = self.world
        lost = world.surely_count(before) & ~world.surely_count(after)
        if not lost or (before.present ^ after.present) & world.kind("roster"):
            return ""
        for name in world.snapshots:
            buried = world.bits[f"tombstone {name}"] & (after.present | after.pending)
            if lost & world.bits[f"snapshot {name}"] and not buried:
                return f"S3: {name} stopped counting without a tombstone"
        return ""

    def actor_fault(self, store: Store, actor: Actor, local: Hashable) -> str:
        """S2 and F, and whatever else an actor claims in its local value."""
        return actor.fault(store, local)  # type: ignore[attr-defined, no-any-return]
