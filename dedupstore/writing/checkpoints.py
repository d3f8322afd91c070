"""Killed runs: the next one of the same writer publishes what they had checkpointed.

Invariant: a checkpoint is published once at most, as a new run, and only the streams whose every chunk that run finds.
Which checkpoints there are is noted in this host's state; without the note nothing is lost but the time to read those
streams again.
"""

import re
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dedupstore.errors import DamageError, NotFoundError
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Snapshot, Stream
from dedupstore.history import verified
from dedupstore.history.snapshots import Turn
from dedupstore.state.folder import StateFolder
from dedupstore.writing import writer_run
from dedupstore.writing.writer_run import ParentOf, WriterRun

if TYPE_CHECKING:
    from dedupstore.core import Core
    from dedupstore.history.snapshots import SnapshotInfo

_FOLDER = "checkpoints"
_RUN = re.compile("[0-9a-f]{32}")  # what else lies there is not ours

_Name = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class Note(msgspec.Struct, frozen=True):
    """A run that goes on: its newest checkpoints, its index files, and the ids that it may be done under."""

    checkpoints: list[_Name]
    index: list[_Name]
    runs: list[_Id]


def note(
    state: StateFolder, run: bytes, checkpoints: list[bytes], index: list[bytes], ids: list[bytes]
) -> None:
    """Note what a run, which began under the id `run`, has left if it is killed."""
    found = Note([name.hex() for name in checkpoints], [name.hex() for name in index], [i.hex() for i in ids])
    state.folder(_FOLDER).write(run.hex(), msgspec.json.encode(found))


def forget(state: StateFolder, run: bytes) -> None:
    """Drop the note: the run has published its snapshots, or never will."""
    (state.path / _FOLDER / run.hex()).unlink(missing_ok=True)


def complete(repository: "Core", parent_of: ParentOf) -> "list[SnapshotInfo]":
    """Publish what runs of this host that ended too early had checkpointed; return the snapshots.

    The caller ensures that none of those runs is still going on.  What can no longer be published is reported
    in `repository.damage`.
    """
    folder = repository.state.path / _FOLDER
    noted = sorted(folder.iterdir()) if folder.is_dir() else []
    published: list[SnapshotInfo] = []
    for file in noted:
        if _RUN.fullmatch(file.name) and file.is_file():
            run = bytes.fromhex(file.name)
            try:
                published += _complete(repository, run, parent_of)
            except (DamageError, NotFoundError) as error:
                repository.damage.append(f"{error}; the streams of that run will be stored again")
            forget(repository.state, run)
    return published


def _complete(repository: "Core", run: bytes, parent_of: ParentOf) -> "list[SnapshotInfo]":
    found = _noted(repository.state, run)
    ids = [bytes.fromhex(name) for name in found.runs]
    checkpoints = [_checkpoint(repository, run, bytes.fromhex(name)) for name in found.checkpoints]
    streams = [stream for checkpoint in checkpoints for stream in checkpoint.streams]
    after = WriterRun(repository, checkpoints[0].host)
    try:
        if repository.has_done(ids):  # it was killed between its end and the end of its note
            return []
        # under this id, too, it may be done when the note is read again
        index = [bytes.fromhex(name) for name in found.index]
        whole: list[Stream] = []

        def look() -> None:
            problems = after.problems(streams, parent_of)
            for name, problem in problems.items():
                repository.damage.append(f"{name} of a killed run will be stored again: {problem}")
            whole[:] = [stream for stream in streams if stream.name not in problems]
            note(repository.state, run, [bytes.fromhex(n) for n in found.checkpoints], index, ids + after.ids)

        def describe(new: bytes, turn: Turn) -> list[Snapshot]:
            if repository.has_done(ids):  # another process was faster, or the listing was stale
                return []
            left = {stream.name for stream in whole}
            parts = [[stream for stream in one.streams if stream.name in left] for one in checkpoints]
            return [
                msgspec.structs.replace(
                    checkpoint,
                    run=new,
                    streams=part,
                    sequence=turn.sequence + number,
                    heads=turn.heads,
                    roster=repository.members.roster,
                )
                for number, (checkpoint, part) in enumerate(
                    pair for pair in zip(checkpoints, parts, strict=True) if pair[1]
                )
            ]

        look()
        there = repository.cache.index_files()
        infos = after.publish(describe, [name for name in index if name in there], look)
        writer_run.say_ended(repository, ids)
        return infos
    finally:
        after.end()


def _noted(state: StateFolder, run: bytes) -> Note:
    try:
        found = msgspec.json.decode(state.folder(_FOLDER).read(run.hex()) or b"", type=Note)
    except (msgspec.MsgspecError, ValueError):
        found = Note([], [], [])
    if not found.checkpoints or not found.runs:
        raise DamageError(f"the local note of the checkpoint of run {run.hex()} is damaged")
    return found


def _checkpoint(repository: "Core", run: bytes, name: bytes) -> Snapshot:
    file = layout.content_file(Kind.CHECKPOINT, name)
    found = verified.read(repository, Kind.CHECKPOINT, file, Snapshot)
    if found is None:
        raise DamageError(f"{file} cannot be used")
    signer, _, checkpoint = found
    if (signer, checkpoint.run) != (repository.signer, run):
        raise DamageError(f"{file} is not the checkpoint that this host noted")
    return checkpoint
