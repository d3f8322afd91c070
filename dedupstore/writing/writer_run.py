"""A run of a writer, from its run record to its done record: the rules for writers of docs/format.md 12.

Invariant: what a run relies on was read after its run record was created, and is in no condemned record; its done
record is written only while its run record is there and nothing names it that lets a pruner pass it over.  A run that
a pruner did pass over begins again under a new id and looks for everything again, or fails; it never reports success
for what may be deleted.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from dedupstore.errors import BackendError, DedupError, NewerFormatError
from dedupstore.format import layout, record_files, records
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Done, Ended, Run, Snapshot, Stream
from dedupstore.history import deletion
from dedupstore.history.snapshots import Turn, info_of, snapshot_file

if TYPE_CHECKING:
    from dedupstore.backends.contract import Buffer
    from dedupstore.core import Core
    from dedupstore.history.snapshots import SnapshotInfo

_BEGINNINGS = 3
_PATIENCE = 10.0  # seconds that a last word may take

ParentOf = Callable[[Stream], bytes]
"""Returns the snapshot that a stream cannot be used without, or nothing."""


class WriterRun:
    """One run; `ids` are the ids that it had, the newest last.

    `condemned` are packs that it cannot rely on, by their numbers in the cache.
    """

    def __init__(self, repository: "Core", host: str) -> None:
        if lacking := repository.members.not_for_writing:
            raise NewerFormatError(
                f"writing to this repository requires {lacking}, which this version of dedup lacks",
                "install a newer version of dedup; reading still works",
            )
        self._repository = repository
        self._host = host
        self._may_be_done = False
        self.ids: list[bytes] = []
        self.own: set[int] = set()  # packs that it has stored itself
        try:
            self.begin()
        except BaseException as error:
            self.end(error)
            raise

    @property
    def id(self) -> bytes:
        """The run's id."""
        return self.ids[-1]

    def begin(self) -> None:
        """Create a run record under a new id, and only then read what the run will rely on."""
        repository = self._repository
        self.ids.append(_announce(repository, self._host))
        self.own.clear()
        repository.look_for_what_is_condemned()
        listed = repository.refresh_index()
        # what other processes add to the cache from here on was not seen in a listing by this run, nor was all that
        # they added since that listing: a pruner may have deleted it before this run began
        self._trusted = repository.cache.next_pack()
        unlisted = repository.cache.index_files() - listed
        self.condemned = repository.cache.numbers(
            repository.condemned.index_files | unlisted, repository.condemned.packs
        )
        repository.verify_recent_packs()
        repository.refresh_snapshots()
        repository.refuse_if_rolled_back()

    def known(self, ids: list[bytes]) -> list[bool]:
        """Return for each chunk whether the run can rely on its being stored."""
        repository = self._repository
        return repository.cache.known(repository.access.domain, ids, self._trusted, self.own, self.condemned)

    def problems(self, streams: Iterable[Stream], parent_of: ParentOf) -> dict[str, str]:
        """Look for everything that streams of former runs consist of; return each broken stream, with the problem."""
        from dedupstore.reading.recipe_walk import (
            RecipeWalk,  # slow to load with what reads, and seldom needed
        )
        from dedupstore.reading.stream_reader import StreamReader

        repository = self._repository
        domain = repository.access.domain
        parents = {info.name for info in repository.reliable()}
        unseen = range(self._trusted, repository.cache.next_pack())
        reader = StreamReader(repository, domain, {*self.condemned, *unseen})
        found = {}
        with repository.cache.seen_scope() as seen:
            walk = RecipeWalk(reader, domain, seen, {})
            for stream in streams:
                if (parent := parent_of(stream)) and parent not in parents:
                    found[stream.name] = f"snapshots/{parent.hex()}, which it builds on, is gone or condemned"
                    continue
                if problem := walk.visit(stream):
                    found[stream.name] = problem
        return found

    def publish(
        self,
        describe: Callable[[bytes, Turn], list[Snapshot]],
        index: Collection[bytes],
        verify: Callable[[], None],
    ) -> "list[SnapshotInfo]":
        """Publish snapshots, all of whose data are durable, and return them.

        `describe(run, turn)` gives them; `turn` has the number of the first.  If it gives none, nothing is published.
        `index` names the new index files that they rely on.  `verify` raises an error if not all of it is to be found
        when the run has begun again.
        """
        for beginning in range(_BEGINNINGS):
            if beginning:
                self.begin()
                verify()
            infos = self._attempt(describe, index)
            if infos is not None:
                return infos
        raise DedupError(
            f"a pruner passed this run over {_BEGINNINGS} times, so no backup was recorded",
            "run it again when no pruner is running",
        )

    def _attempt(
        self, describe: Callable[[bytes, Turn], list[Snapshot]], index: Collection[bytes]
    ) -> "list[SnapshotInfo] | None":
        """Return what was published, or None if the run must begin again."""
        repository, run = self._repository, self.id
        backend, access = repository.backend, repository.access
        with repository.publishing() as turn:
            rows = []
            for snapshot in describe(run, turn):
                name = record_files.publish_record(backend, access, Kind.SNAPSHOT, snapshot)
                rows.append((info_of(name, repository.signer, snapshot), records.encode(snapshot)))
            if not rows:
                return []
            repository.keep_snapshots(rows)
            if not deletion.is_open(repository, run, ended=True):
                return None
            infos = [info for info, _ in rows]
            done = Done(
                run=run,
                snapshots=b"".join(info.name for info in infos),
                index=b"".join(sorted(set(index) - repository.condemned.index_files)),
                finished=int(time.time()),
            )
            self._may_be_done = True
            digest = record_files.publish_record(backend, access, Kind.DONE, done, run)
            file = layout.run_record_file(Kind.DONE, run, digest)
            repository.cache.records.add([(file, repository.signer, records.encode(done))])
            if not deletion.is_open(repository, run, ended=False):
                dead = deletion.condemned(repository).snapshots | deletion.entombed(repository)
                if not dead.isdisjoint(info.name for info in infos):
                    raise DedupError(
                        f"a pruner took this run for dead and is deleting {snapshot_file(infos[0].name)}",
                        "run it again: no backup of this run will stay",
                    )
            repository.published(infos)
            return infos

    def end(self, error: BaseException | None = None) -> None:
        """Publish that the run will publish nothing, if that is possible at once; nothing depends on it."""
        if self._may_be_done or not self.ids or isinstance(error, BackendError):
            return
        repository, run = self._repository, self.id

        def say() -> None:
            with suppress(BaseException):
                record = Ended(run=run, time=int(time.time()))
                record_files.publish_record(repository.backend, repository.access, Kind.ENDED, record, run)

        thread = threading.Thread(target=say, name="ended", daemon=True)
        thread.start()
        thread.join(_PATIENCE)


def say_ended(repository: "Core", runs: Iterable[bytes]) -> None:
    """Publish that these dead runs of this member will publish nothing."""
    for run in runs:
        record = Ended(run=run, time=int(time.time()))
        record_files.publish_record(repository.backend, repository.access, Kind.ENDED, record, run)


def _announce(repository: "Core", host: str) -> bytes:
    """Create a run record, and return the run's id."""
    run = b""

    def make() -> "tuple[bytes, Buffer]":
        nonlocal run
        run = secrets.token_bytes(16)
        record = Run(run=run, started=int(time.time()), host=host)
        data = record_files.seal_record(repository.access, Kind.RUN, record)
        return layout.sha256(data), data

    record_files.publish(repository.backend, lambda _: layout.run_file(run), make)
    return run
