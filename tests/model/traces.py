"""Traces of the model, to drive the real writer through: every step of a small configuration, in every order.

A replay test takes `Event`s (actor, step name, args) in their order. The names of the writer's steps are:

    create_run, list_condemned, list_index, list_packs, list_snapshots,
    upload_pack, upload_index, upload_snapshot, list_fences, list_runs, create_done,
    list_fences_after, list_runs_after, list_condemned_after, list_tombstones_after,
    report_success, report_failure, restart (args: the new run)

How to use it:

    for trace in step_traces(explored(replayed())):
        storage = ...                          # an empty repository; put in what `REPLAY_FILES` names
        writer = ...                           # the real one, on a back end that stops before each call
        for event in trace:
            if event.actor == "W1":
                writer.until(event.name)       # let exactly this call through; compare what it listed with `args`
            else:
                play(storage, event)           # the test itself writes or deletes the pruner's record

A file is named "kind name" in `args`, several are joined by ", ", nothing is "none": "run R1a", "done S1a",
"fence R1a X.0", "condemned X.0.1". `contents` says what each condemned record names. In a replay, one model step of
the writer may be many calls of the program (`upload_pack`: one for each pack), and steps whose name begins with
"list" or "plan" of other actors change nothing in storage: skip them. `report_failure` creates the ended record if the
run gives up before its done record.

`step_traces` takes each step of each actor, with all that it may know before it; `edge_traces` takes each step in each
reachable state, in far more traces. From `list_fences` on, `args` of a listing name only what concerns the own run and
snapshot.
"""

from collections.abc import Hashable, Iterator

from tests.model.builders import EXPIRE, Plans, increments
from tests.model.explorer import Event, Explorer
from tests.model.world import Model, Plan

REPLAY_FILES = ("pack A", "index A", "snapshot S0", "done S0")
WRITER_STEPS = frozenset(
    {
        *("create_run", "list_condemned", "list_index", "list_packs", "list_snapshots"),
        *("upload_pack", "upload_index", "upload_snapshot", "list_fences", "list_runs", "create_done"),
        *("list_fences_after", "list_runs_after", "list_condemned_after", "list_tombstones_after"),
        *("report_success", "report_failure", "restart"),
    }
)


def replayed() -> Model:
    """Return the configuration to replay: a writer with two attempts at an increment, a pruner, and clean-up.

    S0 is a full (chunk a in pack A, index A). Attempt 1a makes the increment C1a (chunk b in pack N1a-b) to it, or the
    full S1a (chunk a in N1a-a and b in N1a-b) if S0 is condemned or gone; attempt 1b likewise.
    """
    plans: Plans = {"X": (EXPIRE, abandon_child())}
    return increments(frozenset(), plans=plans, attempts=2, clean=True)


def abandon_child() -> Plan:
    """Return the plan that abandons the first attempt's increment and drops what it uploaded."""
    return Plan(drop=("pack N1a-b", "index N1a"), abandon=("C1a",))


def explored(model: Model) -> Explorer:
    """Return the explorer of a model, every state visited."""
    explorer = Explorer(model)
    explorer.explore()
    return explorer


def contents(model: Model) -> dict[str, list[str]]:
    """Return what each condemned record names."""
    world = model.world
    return {world.names(record): world.names(named).split(", ") for record, named in world.condemns.items()}


def edge_traces(explorer: Explorer) -> Iterator[list[Event]]:
    """Return traces that together take every step that is possible in every visited state.

    A trace goes on over steps not yet taken as long as there are any.
    """
    left: dict[int, list[tuple[Event, int]]] = {}
    for state in explorer.before:
        trace, at = None, state
        while edges := left.setdefault(at, _edges(explorer, at)):
            trace = explorer.trace(state) if trace is None else trace
            event, at = edges.pop()
            trace.append(event)
        if trace is not None:
            yield trace


def step_traces(explorer: Explorer) -> list[list[Event]]:
    """Return traces in which each actor takes each of its steps: with each args, and from all that it may know.

    Each goes on until the writers have reported.
    """
    first: dict[Hashable, int] = {}
    for state in explorer.before:
        for event, _ in _edges(explorer, state):
            first.setdefault(_key(explorer, state, event), state)
    taken: set[Hashable] = set()
    traces = []
    for key, state in reversed(
        first.items()
    ):  # the deepest first: a trace to them takes many others on its way
        if key in taken:
            continue
        trace, way = explorer.trace(state), explorer.way(state)
        taken.update(_key(explorer, at, event) for at, event in zip(way, trace, strict=False))
        at = state
        while edges := _edges(explorer, at):
            new = [edge for edge in edges if _key(explorer, at, edge[0]) not in taken]
            writing = [edge for edge in edges if edge[0].actor.startswith("W")]
            if not new and not writing:
                break
            event, reached = (new or writing)[0]
            taken.add(_key(explorer, at, event))
            trace.append(event)
            at = reached
        traces.append(trace)
    return traces


def _edges(explorer: Explorer, state: int) -> list[tuple[Event, int]]:
    return [(event, reached) for event, reached in explorer.events(state) if reached != state]


def _key(explorer: Explorer, state: int, event: Event) -> Hashable:
    """Return what tells a step from the others of its actor: its args, and what the actor knows before it."""
    return event, explorer.locals_of(state)[event.actor]
