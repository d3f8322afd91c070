"""The program with one rule broken, named as in the model (`tests/model/suite.py`), for a replay that must notice it.

Invariant: each variant is the real code but for the rule: `as_it_is` puts the same pieces together in the right way.
"""

from collections.abc import Callable
from typing import Any

import pytest

from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Ended, Fence
from dedupstore.history import deletion
from dedupstore.history.closings import CountingContext
from dedupstore.history.deletion import CondemnedNames
from dedupstore.repository import Repository
from dedupstore.writing import writer_run
from dedupstore.writing.session import Session
from dedupstore.writing.writer_run import WriterRun

Patch = pytest.MonkeyPatch
Variant = Callable[[Patch], None]
RIGHT = ("run", "condemned", "index", "packs", "snapshots")
_REAL_ATTEMPT, _REAL_PUBLISH, _REAL_ANNOUNCE = WriterRun._attempt, WriterRun.publish, writer_run._announce
_REAL_BEGIN = WriterRun.begin
_REAL_OPEN, _REAL_CONDEMNED, _REAL_ENTOMBED = deletion.is_open, deletion.condemned, deletion.entombed


def begin(*order: str) -> Variant:
    """Begin a run in this order."""

    def replacement(self: WriterRun) -> None:
        repository = self._repository
        steps: dict[str, Callable[[], object]] = {
            "run": lambda: self.ids.append(writer_run._announce(repository, self._host)),
            "condemned": repository.look_for_what_is_condemned,
            "index": repository.refresh_index,
            "packs": repository.verify_recent_packs,
            "snapshots": repository.refresh_snapshots,
        }
        self.own.clear()
        for step in order:
            steps[step]()
        condemned = repository.condemned
        self.condemned = repository.cache.numbers(condemned.index_files, condemned.packs)
        self._trusted = repository.cache.next_pack()

    return lambda patch: patch.setattr(WriterRun, "begin", replacement)


def look(
    before: tuple[str, ...] = ("fences", "runs", "ended"), after: tuple[str, ...] = ("fences", "runs")
) -> Variant:
    """Look at these before the done record, and at those after it, in this order."""

    def is_open(context: CountingContext, run: bytes, *, ended: bool) -> bool:
        good = True
        for what in before if ended else after:
            if what == "fences":
                files = [f for f in context.backend.names("fences") if layout.run_of(f, Kind.FENCE) == run]
                good = good and not deletion._pass_over(context, Kind.FENCE, files, Fence)
            elif what == "runs":
                there = set(context.backend.names("runs"))
                good = good and layout.run_file(run) in there
            else:
                ends = [file for file in there if layout.run_of(file, Kind.ENDED) == run]
                good = good and not deletion._pass_over(context, Kind.ENDED, ends, Ended)
        return good

    return lambda patch: patch.setattr(deletion, "is_open", is_open)


def as_it_is(patch: Patch) -> None:
    """Put the pieces together in the right way."""
    begin(*RIGHT)(patch)
    look()(patch)


def relies_on_condemned_parents(patch: Patch) -> None:
    """5: the parent may be condemned."""
    patch.setattr(Repository, "reliable", Repository.snapshots)


def looks_before_the_snapshot(patch: Patch) -> None:
    """6: fences and runs are listed before the snapshot is there."""

    def attempt(self: WriterRun, *args: Any) -> Any:
        if not _REAL_OPEN(self._repository, self.id, ended=True):
            return None
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(
                deletion,
                "is_open",
                lambda context, run, *, ended: ended or _REAL_OPEN(context, run, ended=False),
            )
            return _REAL_ATTEMPT(self, *args)

    patch.setattr(WriterRun, "_attempt", attempt)


def writes_done_though_fenced(patch: Patch) -> None:
    """6, 7: what the listings show before the done record is not heeded."""

    def is_open(context: CountingContext, run: bytes, *, ended: bool) -> bool:
        return _REAL_OPEN(context, run, ended=ended) or ended

    patch.setattr(deletion, "is_open", is_open)


def _at_the_end(patch: Patch, name: str, replacement: Callable[..., Any]) -> None:
    """Replace a function of `deletion` while a run publishes."""

    def attempt(self: WriterRun, *args: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(deletion, name, replacement)
            return _REAL_ATTEMPT(self, *args)

    patch.setattr(WriterRun, "_attempt", attempt)


def does_not_look_at_condemned(patch: Patch) -> None:
    """8: nobody looks at what is condemned after the done record."""
    _at_the_end(patch, "condemned", lambda context: CondemnedNames())


def does_not_look_at_tombstones(patch: Patch) -> None:
    """8: nobody looks at tombstones after the done record."""
    _at_the_end(patch, "entombed", lambda context: set())


def looks_at_tombstones_first(patch: Patch) -> None:
    """8: tombstones are listed before what is condemned."""

    def condemned(context: CountingContext) -> CondemnedNames:
        dead = _REAL_ENTOMBED(context)
        return CondemnedNames(snapshots=frozenset(dead) | _REAL_CONDEMNED(context).snapshots)

    _at_the_end(patch, "condemned", condemned)
    patch.setattr(deletion, "entombed", lambda context: set())


def does_not_look_again(patch: Patch) -> None:
    """7: a run that begins again takes it that all is still there."""

    def publish(self: WriterRun, describe: Any, index: Any, verify: Any) -> Any:
        return _REAL_PUBLISH(self, describe, index, lambda: None)

    patch.setattr(WriterRun, "publish", publish)


def begins_again_under_its_old_id(patch: Patch) -> None:
    """7: a run that was passed over goes on under its id."""

    def begin(self: WriterRun) -> None:
        if not self.ids:
            _REAL_BEGIN(self)

    patch.setattr(WriterRun, "begin", begin)


def completes_under_the_old_id(patch: Patch) -> None:
    """9: a checkpoint is completed as the run that was killed."""

    def announce(repository: Repository, host: str) -> bytes:
        (noted,) = (repository.state.path / "checkpoints").iterdir()
        return bytes.fromhex(noted.name)

    patch.setattr(writer_run, "_announce", announce)


def publishes_before_packs_are_stored(patch: Patch) -> None:
    """6: the snapshot is there before what it refers to."""
    flush = Session._make_durable

    def finish(self: Session) -> Any:
        def is_open(context: CountingContext, run: bytes, *, ended: bool) -> bool:
            flush(self)
            return _REAL_OPEN(context, run, ended=ended)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self, "_make_durable", lambda: list(self._streams))
            inner.setattr(deletion, "is_open", is_open)
            return real_finish(self)

    real_finish = Session.finish
    patch.setattr("tests.model.scenarios.PACK_SIZE", 16 << 20)  # or packs are stored as soon as they are full
    patch.setattr(Session, "finish", finish)


VARIANTS: dict[str, tuple[Variant, str]] = {  # rule: what breaks it, the scenario
    "3": (begin("condemned", "index", "packs", "snapshots", "run"), "a full"),
    "4.condemned-first": (begin("run", "index", "packs", "snapshots", "condemned"), "a full"),
    "4.fresh": (begin("index", "packs", "run", "condemned", "snapshots"), "a full"),
    "4.parents": (begin("snapshots", "run", "condemned", "index", "packs"), "an increment"),
    "5.condemned": (begin("run", "index", "packs", "snapshots"), "a full"),
    "5.parent": (relies_on_condemned_parents, "an increment"),
    "6.order": (publishes_before_packs_are_stored, "a full"),
    "6.after-snapshot": (looks_before_the_snapshot, "a full"),
    "6.fences": (look(before=("runs", "ended")), "a full"),
    "6.runs": (look(before=("fences",)), "a full"),
    "6.runs-last": (look(before=("runs", "ended", "fences")), "a full"),
    "6.ended": (look(before=("fences", "runs")), "a full whose run a thief ends"),
    "7": (writes_done_though_fenced, "a full"),
    "8.fences": (look(after=("runs",)), "a full"),
    "8.runs": (look(after=("fences",)), "a full"),
    "8.runs-last": (look(after=("runs", "fences")), "a full"),
    "8.condemned": (does_not_look_at_condemned, "a full"),
    "8.tombstones": (does_not_look_at_tombstones, "a full whose pruner crashes"),
    "8.tombstones-last": (looks_at_tombstones_first, "a full whose pruner crashes"),
    "again": (does_not_look_again, "a full that begins again"),
}
ORDER_ONLY: dict[str, tuple[Variant, str]] = {  # what the model has no switch for
    "again.id": (begins_again_under_its_old_id, "a full that begins again"),
    "again.parent": (does_not_look_again, "an increment that begins again"),
    "9": (completes_under_the_old_id, "a checkpoint"),
}
