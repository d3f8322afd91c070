"""The kinds of worlds that are explored, each with its actors, and with the rules that are switched off."""

from tests.model.explorer import Actor
from tests.model.others import Cleaner, Deeds, Reader
from tests.model.pruner import Pruner
from tests.model.world import Model, Plan, Snapshot, World
from tests.model.writer import Attempt, Writer

Plans = dict[str, tuple[Plan, ...]]
OLD = ("pack A", "index A", "snapshot S0", "done S0")
EXPIRE = Plan(drop=("pack A", "index A"), expire=("S0",))
DROP = Plan(drop=("pack A", "index A"))


def abandon(run: str, *drop: str) -> Plan:
    """Return a plan that abandons the snapshot of a run."""
    return Plan(drop=drop or ("pack A", "index A"), abandon=(f"S{run}",))


def one_chunk(
    without: frozenset[str],
    *,
    writers: int = 1,
    attempts: int = 1,
    plans: Plans,
    cycles: int = 1,
    clean: bool = False,
    crashes: bool = False,
    reader: bool = False,
    thief: tuple[tuple[str, str], ...] = (),
    slow: tuple[str, ...] = (),
    windows: bool = False,
    old: tuple[str, ...] = OLD,
) -> Model:
    """Every snapshot needs chunk a: an old pack A has it (B, too, if it is there), a writer may upload it again."""
    indexes: dict[str, tuple[str, ...]]
    packs, indexes = {"A": "a"}, {"A": ("A",)}
    if "pack B" in old:
        packs["B"], indexes["B"] = "a", ("B",)
    for pruner, its in plans.items():
        if any(plan.copies for plan in its):
            packs[f"M{pruner}"], indexes[f"M{pruner}"] = "a", (f"M{pruner}",)
    snapshots = {"S0": Snapshot("R0", "a")}
    tries: list[tuple[Attempt, ...]] = []
    for n in range(1, writers + 1):
        mine = []
        for k in range(attempts):
            tag = f"{n}{chr(97 + k)}" if attempts > 1 else str(n)
            packs[f"N{tag}"], indexes[f"N{tag}"] = "a", (f"N{tag}",)
            snapshots[f"S{tag}"] = Snapshot(f"R{tag}", "a")
            mine.append(Attempt(f"R{tag}", f"S{tag}", index=f"N{tag}", packs=(f"N{tag}",)))
        tries.append(tuple(mine))
    world = World(packs, indexes, snapshots, without, frozenset(slow), windows, reader)
    return _model(world, old, tries, plans, cycles, clean, crashes, thief)


def checkpoint(without: frozenset[str], *, plans: Plans, clean: bool = False) -> Model:
    """W1 makes S1 (chunk b); W2 completes a checkpoint of the same host, S2 (chunk a), as a run of its own.

    Rule 9 removed: as the run of W1, which may be alive.
    """
    run = "R1" if "9" in without else "R2"
    world = World(
        {"A": "a", "N1": "b", "N2": "a"},
        {"A": ("A",), "N1": ("N1",), "N2": ("N2",)},
        {"S0": Snapshot("R0", "a"), "S1": Snapshot("R1", "b"), "S2": Snapshot(run, "a")},
        without,
    )
    tries: list[tuple[Attempt, ...]] = [
        (Attempt("R1", "S1", index="N1", packs=("N1",)),),
        (Attempt(run, "S2", index="N2", packs=("N2",)),),
    ]
    return _model(world, OLD, tries, plans, clean=clean, takes_over="9" in without)


def _model(
    world: World,
    files: tuple[str, ...],
    tries: list[tuple[Attempt, ...]],
    plans: Plans,
    cycles: int = 1,
    clean: bool = False,
    crashes: bool = False,
    thief: tuple[tuple[str, str], ...] = (),
    takes_over: bool = False,
) -> Model:
    pruners = [
        Pruner(world, len(tries) + n, name, its, cycles) for n, (name, its) in enumerate(plans.items())
    ]
    actors: list[Actor] = [
        Writer(world, n, f"W{n + 1}", mine, crashes=crashes, takes_over=takes_over and n == 1)
        for n, mine in enumerate(tries)
    ]
    actors += pruners
    if clean:
        actors.append(Cleaner(world))
    if thief:
        actors.append(Deeds(world, "thief", thief))
    if world.reader:
        actors.append(Reader(world, len(actors)))
    return Model(world, actors, files)


def two_chunks(
    without: frozenset[str],
    *,
    plans: Plans,
    one_index: bool = False,
    writers: int = 1,
    attempts: int = 1,
    cycles: int = 1,
    clean: bool = False,
    reader: bool = False,
) -> Model:
    """Every snapshot needs a (old pack A) and b (old pack B); with `one_index`, one index file I names both packs.

    The copies that a plan may make: index J names pack B only; pack M has a, index M names it.
    """
    packs = {"A": "a", "B": "b"}
    indexes: dict[str, tuple[str, ...]] = {"I": ("A", "B")} if one_index else {"A": ("A",), "B": ("B",)}
    copies = {file for its in plans.values() for plan in its for file in plan.copies}
    if "index J" in copies:
        indexes["J"] = ("B",)
    if "index M" in copies:
        packs["M"], indexes["M"] = "a", ("M",)
    snapshots = {"S0": Snapshot("R0", "ab")}
    tries: list[tuple[Attempt, ...]] = []
    for n in range(1, writers + 1):
        mine = []
        for k in range(attempts):
            tag = f"{n}{chr(97 + k)}" if attempts > 1 else str(n)
            own = (f"N{tag}-a", f"N{tag}-b")
            packs[own[0]], packs[own[1]], indexes[f"N{tag}"] = "a", "b", own
            snapshots[f"S{tag}"] = Snapshot(f"R{tag}", "ab")
            mine.append(Attempt(f"R{tag}", f"S{tag}", index=f"N{tag}", packs=own))
        tries.append(tuple(mine))
    world = World(packs, indexes, snapshots, without, reader=reader)
    old = [f"index {i}" for i in ("I", "A", "B") if i in indexes]
    return _model(world, ("pack A", "pack B", *old, "snapshot S0", "done S0"), tries, plans, cycles, clean)


def increments(
    without: frozenset[str],
    *,
    plans: Plans,
    writers: int = 1,
    attempts: int = 1,
    cycles: int = 1,
    clean: bool = False,
    old_child: bool = False,
    reader: bool = False,
) -> Model:
    """S0 is a full (chunk a, pack A). A writer makes an increment to it (chunk b), or a full (both) if it cannot.

    With `old_child`, S0 already has an increment C0 (chunk c, pack C).
    """
    indexes: dict[str, tuple[str, ...]]
    packs, indexes = {"A": "a"}, {"A": ("A",)}
    snapshots = {"S0": Snapshot("R0", "a")}
    old: tuple[str, ...] = OLD
    if old_child:
        packs["C"], indexes["C"], snapshots["C0"] = "c", ("C",), Snapshot("RC", "c", "S0")
        old += ("pack C", "index C", "snapshot C0", "done C0")
    tries: list[tuple[Attempt, ...]] = []
    for n in range(1, writers + 1):
        mine = []
        for k in range(attempts):
            tag = f"{n}{chr(97 + k)}" if attempts > 1 else str(n)
            own = (f"N{tag}-a", f"N{tag}-b")
            packs[own[0]], packs[own[1]], indexes[f"N{tag}"] = "a", "b", own
            snapshots[f"S{tag}"] = Snapshot(f"R{tag}", "ab")
            snapshots[f"C{tag}"] = Snapshot(f"R{tag}", "b", "S0")
            mine.append(Attempt(f"R{tag}", f"S{tag}", f"C{tag}", f"N{tag}", own))
        tries.append(tuple(mine))
    world = World(packs, indexes, snapshots, without, reader=reader)
    return _model(world, old, tries, plans, cycles, clean)


def closing(
    without: frozenset[str],
    *,
    plans: Plans,
    writers: int = 0,
    cycles: int = 1,
    again: bool = False,
    clean: bool = False,
) -> Model:
    """A member is closed. It has S0 (chunk a, pack A) and S9 (chunk c, pack N9); a thief adds index N8 (a in pack N8).

    The closing list leaves out index N8. With `again`, a first one leaves out S9 and index N9, too, and an admin
    replaces it.
    Writers belong to another member of the same domain; their snapshots need a.
    """
    indexes: dict[str, tuple[str, ...]]
    packs, indexes = {"A": "a", "N9": "c", "N8": "a"}, {"A": ("A",), "N9": ("N9",), "N8": ("N8",)}
    snapshots = {"S0": Snapshot("R0", "a"), "S9": Snapshot("R9", "c")}
    tries: list[tuple[Attempt, ...]] = []
    for n in range(1, writers + 1):
        packs[f"N{n}"], indexes[f"N{n}"], snapshots[f"S{n}"] = "a", (f"N{n}",), Snapshot(f"R{n}", "a")
        tries.append((Attempt(f"R{n}", f"S{n}", index=f"N{n}", packs=(f"N{n}",)),))
    listed = frozenset({"S0", "A", "S9", "N9"})
    world = World(
        packs,
        indexes,
        snapshots,
        without,
        closed=frozenset({"S0", "S9", "A", "N9", "N8"}),
        lists=(listed - {"S9", "N9"}, listed) if again else (listed,),
    )
    thief = (("pack N8", ""), ("index N8", "pack N8"), *((("roster 2", "roster 1"),) if again else ()))
    old = (*OLD, "pack N9", "index N9", "snapshot S9", "done S9")
    return _model(world, old, tries, plans, cycles, clean, thief=thief)
