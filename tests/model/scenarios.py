"""What is replayed: small configurations of the model with the program's own writer, and repositories to begin with.

Invariant: a scenario's model and its repository begin with the same files.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dedupstore.access import Access
from dedupstore.format import facts
from dedupstore.format.run_records import Stream
from dedupstore.repository import Repository, SnapshotInfo
from dedupstore.writing.session import RunDetails, Session
from tests.model.builders import EXPIRE, OLD, abandon, increments, one_chunk
from tests.model.explorer import Actor
from tests.model.others import Cleaner
from tests.model.pruner import Pruner
from tests.model.session_writer import Completer, SessionWriter
from tests.model.suite import THIEF
from tests.model.traces import abandon_child
from tests.model.world import Model, Plan, Snapshot, World
from tests.model.writer import Writer
from tests.store import World as Members
from tests.store import noise

VERIFIED = ("pack A",)
PACK_SIZE = 64  # bytes: each stream's chunks, and its lists, get packs of their own
A, K = ("pack A", "index A"), ("pack K", "index K")
BYTES = {letter: noise(150_000, letter) for letter in "ab"}  # the stream, and the chunk of the model

Program = Callable[[Repository], object]


@dataclass
class Scenario:
    """A model, and what each of its writers runs; `prepare` adds to the repository what is there at the start."""

    model: Model
    programs: dict[str, Program]
    killed: str = ""

    @property
    def attempts(self) -> int:
        """How many ids a run of it may have."""
        return max(len(actor.attempts) for actor in self.model.actors if isinstance(actor, Writer))


def parent_of(stream: Stream) -> bytes:
    """Return the snapshot that a stream builds on, as its facts have it."""
    found = (facts.load(stream.facts) or {}).get("parent", b"")
    assert isinstance(found, bytes)
    return found


def session(repository: Repository) -> Session:
    """Begin a run, as the program does."""
    return Session(repository, RunDetails("host", "test", 1_700_000_000, 0), 3, PACK_SIZE, parent_of)


def put(run: Session, streams: str, parent: bytes = b"") -> None:
    """Store streams; `b` builds on the parent, if there is one."""
    for name in streams:
        run.put(name, io.BytesIO(BYTES[name]), facts={"parent": parent} if parent and name == "b" else None)


def back_up(repository: Repository, *, full: str, child: str = "") -> SnapshotInfo:
    """Make a backup: the streams of `child` if there is something to build on, or else those of `full`."""
    with session(repository) as run:
        parents = [info.name for info in repository.reliable()]
        if child and parents:
            put(run, child, parents[-1])
        else:
            put(run, full)
        return run.finish()


def complete(repository: Repository) -> list[SnapshotInfo]:
    """Complete what a run that was killed has left."""
    return repository.complete_interrupted(parent_of)


def _program(model: Model) -> Model:
    """Let the model's writers be the program's."""
    model.actors = [
        SessionWriter(model.world, actor.seat, actor.name, actor.attempts, VERIFIED)
        if isinstance(actor, Writer)
        else actor
        for actor in model.actors
    ]
    return model


def _increments(without: frozenset[str], attempts: int, plan: Plan) -> Scenario:
    model = increments(without, plans={"X": (EXPIRE, plan)}, attempts=attempts, clean=True)
    return Scenario(_program(model), {"W1": partial(back_up, full="ab", child="b")})


def _fulls(without: frozenset[str], **more: object) -> Scenario:
    model = one_chunk(without, **more)  # type: ignore[arg-type]
    writers = [actor.name for actor in model.actors if isinstance(actor, Writer)]
    return Scenario(_program(model), {name: partial(back_up, full="a") for name in writers})


def _checkpoint(without: frozenset[str], attempts: int, *, small: bool = False) -> Scenario:
    """RK was killed: it had stored a, which pack A has, and b, an increment to S0; K has b."""
    runs = tuple(f"R2{letter}" for letter in "ab"[:attempts])
    snapshots = {"S0": Snapshot("R0", "a"), "SK": Snapshot("RK", "ab", "S0")}
    for run in runs:
        for streams in ("a", "b", "ab"):
            snapshots[f"S{run[1:]}-{streams}"] = Snapshot(run, streams, "S0" if "b" in streams else "")
    world = World({"A": "a", "K": "b"}, {"A": ("A",), "K": ("K",)}, snapshots, without)
    plans = (EXPIRE, Plan(A), Plan(K))
    actors: list[Actor] = [
        Completer(world, 0, "W2", runs, VERIFIED, "RK"),
        Pruner(world, 1, "X", plans[::2] if small else plans),
        *(() if small else (Cleaner(world),)),
    ]
    return Scenario(
        Model(world, actors, (*OLD, "run RK", "pack K", "index K")), {"W2": complete}, killed="RK"
    )


SCENARIOS: dict[str, Callable[[frozenset[str]], Scenario]] = {
    "an increment": partial(_increments, attempts=1, plan=Plan(A, abandon=("C1",))),
    "an increment that begins again": partial(_increments, attempts=2, plan=abandon_child()),
    "a full": partial(_fulls, plans={"X": (EXPIRE, abandon("1"))}, clean=True),
    "a full that begins again": partial(
        _fulls, plans={"X": (EXPIRE, abandon("1a", "pack N1a", "index N1a"))}, attempts=2, clean=True
    ),
    "a full whose pruner crashes": partial(_fulls, plans={"X": (EXPIRE, abandon("1"))}, cycles=2, clean=True),
    "a full whose run a thief ends": partial(_fulls, plans={"X": (EXPIRE, abandon("1"))}, thief=THIEF),
    "a checkpoint": partial(_checkpoint, attempts=1),
    "a checkpoint that begins again": partial(_checkpoint, attempts=2, small=True),
    "a checkpoint that begins again, and clean-up": partial(_checkpoint, attempts=2),
    "two writers": partial(_fulls, plans={"X": (EXPIRE, abandon("1"))}, writers=2),
}


def prepared(scenario: Scenario, folder: Path) -> tuple[Members, dict[str, Access], dict[str, list[str]]]:
    """Make the repository that a scenario starts from: its members, who is which writer, the files by model name."""
    members = Members(folder)
    access = {"W1": members.writer, "W2": members.writer}
    if len(scenario.programs) == 2:
        access["W2"] = members.member("second", domain="writer")
    access["pruner"] = members.member("pruner", role="pruner")
    files: dict[str, list[str]] = {}

    def note(name: str, *folders: str) -> None:
        known = {file for some in files.values() for file in some}
        files[name] = sorted(
            str(path.relative_to(members.path))
            for folder in folders
            for path in members.files(folder)
            if str(path.relative_to(members.path)) not in known
        )

    with members.open(access["W1"], host="elsewhere") as repository:
        back_up(repository, full="a")
    (members.path / "runs").joinpath(
        next(p.name for p in members.files("runs") if p.suffix == ".run")
    ).unlink()
    note("pack A", "data", "tree")
    note("index A", "index")
    note("snapshot S0", "snapshots")
    note("done S0", "runs")
    if scenario.killed:
        with members.open(access["W2"], host="W2") as repository:
            run = session(repository)
            (parent,) = (info.name for info in repository.reliable())
            put(run, "ab", parent)
            run.checkpoint()
            run._packs.close()  # it is killed
        note("run RK", "runs")
        note("pack K", "data", "tree")
        note("index K", "index")
    for name in scenario.programs:
        if not scenario.killed:
            with members.open(access[name], host=name) as repository:
                repository.refresh_index()
                repository.verify_recent_packs()
                repository.refresh_snapshots()
    return members, access, files
