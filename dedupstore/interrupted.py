"""Runs that were killed: what they had checkpointed is published by the next one of the same writer.

Invariant: a checkpoint is published once at most, under the run that made it, and only the streams whose every
chunk is there.  Which checkpoints there are is noted in this host's state; without the note nothing is lost but
the time to read those streams again.
"""

import re
from typing import TYPE_CHECKING

import msgspec

from dedupstore import catalogue, layout, records
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.layout import Kind
from dedupstore.localstate import StateFolder
from dedupstore.records import Snapshot, Stream

if TYPE_CHECKING:
    from dedupstore.repository import Repository, SnapshotInfo

_FOLDER = "checkpoints"
_DIGEST_SIZE = 32
_RUN = re.compile("[0-9a-f]{32}")  # what else lies there is not ours


def note(state: StateFolder, run: bytes, checkpoint: bytes) -> None:
    """Note the newest checkpoint of a run that goes on."""
    state.folder(_FOLDER).write(run.hex(), checkpoint)


def forget(state: StateFolder, run: bytes) -> None:
    """Drop the note: the run has published its snapshot, or never will."""
    (state.path / _FOLDER / run.hex()).unlink(missing_ok=True)


def complete(repository: "Repository") -> "list[SnapshotInfo]":
    """Publish what runs of this host that ended too early had checkpointed; return the snapshots.

    The caller makes sure that none of those runs is still going on.  What cannot be published any more is told
    in `repository.damage`.
    """
    folder = repository.state.path / _FOLDER
    noted = sorted(folder.iterdir()) if folder.is_dir() else []
    runs = [bytes.fromhex(file.name) for file in noted if _RUN.fullmatch(file.name) and file.is_file()]
    if not runs:
        return []
    published = []
    ended = {layout.run_done(name) for name in repository.backend.names("runs")}
    repository.refresh_index()
    repository.verify_recent_packs()
    for run in runs:
        if run in ended:  # it was killed between its end and the end of its note
            forget(repository.state, run)
            continue
        checkpoint = repository.state.folder(_FOLDER).read(run.hex()) or b""
        info = _complete(repository, run, checkpoint)
        if info is not None:
            published.append(info)
        forget(repository.state, run)
    return published


def _complete(repository: "Repository", run: bytes, checkpoint: bytes) -> "SnapshotInfo | None":
    file = layout.content_file(Kind.CHECKPOINT, checkpoint)
    try:
        if len(checkpoint) != _DIGEST_SIZE:
            raise DamageError(f"this host's note of the checkpoint of the run {run.hex()} is damaged")
        data = repository.backend.read(file)
        signer, payload = catalogue.open_payload(repository.access, Kind.CHECKPOINT, file, data)
        snapshot = records.decode(payload, Snapshot, file)
        if (signer, snapshot.run) != (repository.signer, run):
            raise DamageError(f"{file} is not the checkpoint that this host noted")
    except (DamageError, NotFoundError) as error:
        repository.damage.append(f"{error}; what that run had stored is stored again")
        return None
    whole = [stream for stream in snapshot.streams if _resolves(repository, stream)]
    if not whole:
        return None
    with repository.publishing() as (sequence, heads):
        if any(info.run == run for info in repository.snapshots()):
            return None  # another process was faster, or the listing was stale
        return repository.publish(
            msgspec.structs.replace(
                snapshot, streams=whole, sequence=sequence, heads=heads, roster=repository.members.roster
            )
        )


def _resolves(repository: "Repository", stream: Stream) -> bool:
    from dedupstore.reader import StreamReader

    try:
        StreamReader(repository, repository.access.domain).resolve(stream)
    except DamageError as error:
        repository.damage.append(f"{stream.name} of a run that was killed is stored again: {error}")
        return False
    return True
