"""A real repository, whose files have the names of the model's.

What writers make is noted and read; steps of pruners, clean-up and thieves are played: their records are made, signed
by a member who may, and files are deleted.

Invariant: `compare` passes only if the repository has exactly the files that the model's storage has; `judge` only if
what a reader takes to count, counts in the model, and is restored byte for byte. An AssertionError begins with the
promise that is broken (S1, S2, S3, U), if it is one.
"""

import struct
import time
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

import msgspec

from dedupstore.access import Access
from dedupstore.errors import DedupError
from dedupstore.format import layout, record_files
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Condemned, Done, Ended, Fence, Tombstones
from dedupstore.format.run_records import Snapshot as SnapshotRecord
from dedupstore.history.snapshots import info_of
from dedupstore.repository import Repository
from tests.model.explorer import Event
from tests.model.pruner import Pruner
from tests.model.scenarios import BYTES, parent_of
from tests.model.world import Model, Store
from tests.store import World as Members
from tests.store import signer_of

T = TypeVar("T")


class Storage:
    """See the module. `files` are the real ones of each file of the model: a pack of it is two."""

    def __init__(
        self, model: Model, members: Members, access: dict[str, Access], files: dict[str, list[str]]
    ) -> None:
        self._world, self._members, self._access, self.files = model.world, members, access, dict(files)
        self._plans = {
            self._world.names(record): actor.plans[plan]
            for actor in model.actors
            if isinstance(actor, Pruner)
            for (_, plan), record in actor.records.items()
        }
        self._counted: set[str] = set()
        self._present: set[str] = set()
        self._readers = 0

    def made(self, name: str, files: list[str]) -> None:
        """Note the files that a writer made, which must say what the model's do."""
        assert not {file for known in self.files.values() for file in known} & set(files)
        self.files[name] = [*self.files.get(name, []), *files]
        kind, what = name.split(" ")
        if kind == "snapshot":
            snapshot, record = self._world.snapshots[what], self._snapshot(what)
            assert self._run(snapshot.run) == record.run
            assert set(snapshot.chunks) == {stream.name for stream in record.streams}
            parent = self.digest(f"snapshot {snapshot.parent}") if snapshot.parent else b""
            assert parent == b"".join(parent_of(stream) for stream in record.streams)
        elif kind == "done":
            done = self._record(Kind.DONE, files[0], Done)
            assert (
                self._run(self._world.snapshots[what].run) == done.run == layout.run_of(files[0], Kind.DONE)
            )
            assert self.digest(f"snapshot {what}") == done.snapshots
        elif kind == "ended":
            ended = self._record(Kind.ENDED, files[0], Ended)
            assert self._run(what) == ended.run == layout.run_of(files[0], Kind.ENDED)

    # -- the others

    def play(self, event: Event, doomed: int) -> None:
        """Take a step of a pruner, clean-up or thief; `doomed` is what a pruner is going to delete."""
        kind, what = event.args.split(" ", 1)
        if event.name in ("delete", "delete_condemned"):
            for file in self.files[event.args]:
                (self._members.path / file).unlink()
            return
        now = int(time.time())
        if kind == "condemned":
            made = self._sign(Kind.CONDEMNED, self._condemned(event.args, now))
        elif kind == "fence":
            run = self._run(what.split(" ")[0])
            made = self._sign(Kind.FENCE, Fence(run=run, time=now), run)
        elif kind == "tombstone":
            made = self._sign(Kind.TOMBSTONES, self._tombstone(what, doomed, now))
        else:
            assert ("create", "ended") == (event.name, kind)
            run = self._run(what)
            made = self._sign(Kind.ENDED, Ended(run=run, time=now), run, "W1")
        self.files[event.args] = [made]

    def _sign(self, kind: Kind, record: msgspec.Struct, run: bytes = b"", who: str = "pruner") -> str:
        digest = self._members.sign(self._access[who], kind, record, run)
        return layout.run_record_file(kind, run, digest) if run else layout.content_file(kind, digest)

    def _condemned(self, name: str, now: int) -> Condemned:
        chosen = self._plans[name]

        def column(*names: str) -> bytes:
            return b"".join(self._digests(*names))

        return Condemned(
            time=now,
            packs=column(*(name for name in chosen.drop if name.startswith("pack "))),
            index=column(*(name for name in chosen.drop if name.startswith("index "))),
            snapshots=column(*(f"snapshot {name}" for name in chosen.expire)),
            abandoned=column(*(f"snapshot {name}" for name in chosen.abandon)),
        )

    def _tombstone(self, snapshot: str, doomed: int, now: int) -> Tombstones:
        record, name = self._snapshot(snapshot), self.digest(f"snapshot {snapshot}")
        signer = signer_of(self._access["W2" if snapshot.startswith("S2") else "W1"])
        previous = record.heads.get(signer, (0, bytes(32)))[1]
        index = self._world.names(doomed & self._world.kind("index")).split(", ")
        return Tombstones(
            time=now,
            replaces=b"",
            snapshots=struct.pack("<32s32s32sQ", name, signer, previous, record.sequence),
            index=b"".join(self._digests(*(file for file in index if file in self.files))),
        )

    # -- what is there

    def _digests(self, *names: str) -> list[bytes]:
        return [
            layout.sha256((self._members.path / f).read_bytes()) for name in names for f in self.files[name]
        ]

    def digest(self, name: str) -> bytes:
        """Return the hash that a file is called by."""
        (file,) = self.files[name]
        digest = layout.digest_of(file)
        assert digest is not None
        return digest

    def _run(self, run: str) -> bytes:
        (file,) = self.files[f"run {run}"]
        return bytes.fromhex(Path(file).stem)

    def _record(self, kind: Kind, file: str, record: type[T]) -> T:
        data = (self._members.path / file).read_bytes()
        return record_files.open_record(self._members.admin, kind, file, data, record)[1]

    def _snapshot(self, name: str) -> SnapshotRecord:
        return self._record(Kind.SNAPSHOT, self.files[f"snapshot {name}"][0], SnapshotRecord)

    def compare(self, store: Store) -> None:
        """The files that are there are those of the model."""
        root = self._members.path
        there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        there = {file for file in there if not file.startswith(("checkpoints/", "place/"))}
        self._present = present = {name for name, files in self.files.items() if there >= set(files)}
        expected = set(self._world.names(store.present).split(", "))
        assert expected == present, f"missing: {expected - present}; too many: {present - expected}"
        unknown = there - {file for name in present for file in self.files[name]}
        assert not unknown, f"the program made {unknown}"

    def judge(self, store: Store, succeeded: Collection[str]) -> None:
        """What is promised holds for a reader that has seen nothing before; success was reported for `succeeded`."""
        counts = set(self._world.names(self._world.surely_count(store)).replace("snapshot ", "").split(", "))
        counts.discard("none")
        self._readers += 1
        with self._members.open(self._members.admin, host=f"reader{self._readers}") as repository:
            found = {info.name: info for info in repository.snapshots()}
            assert {self.digest(f"snapshot {name}") for name in counts} == found.keys()
            for name in counts:
                self._restore(repository, name, "S1")
            for name in self._expected(store) - counts:
                self._restore(repository, name, "U")
            assert [] == repository.damage
        for name in self._counted - counts:
            assert f"tombstone {name}" in self.files, f"S3: {name} no longer counts, and has no tombstone"
        self._counted |= counts
        for name in succeeded:
            assert name in counts, f"S2: success was reported, and {name} does not count"

    def _expected(self, store: Store) -> set[str]:
        """Return the snapshots that are there, and whose runs nobody has fenced or ended."""
        found = set()
        for name, snapshot in self._world.snapshots.items():
            excuses = self._world.all(f"tombstone {name}", f"ended {snapshot.run}")
            fenced = store.fenced & self._world.bit(f"run {snapshot.run}")
            if (
                store.present & self._world.bit(f"snapshot {name}")
                and not store.present & excuses
                and not fenced
            ):
                found.add(name)
        return found

    def _restore(self, repository: Repository, name: str, promise: str) -> None:
        record = self._snapshot(name)
        info = info_of(self.digest(f"snapshot {name}"), b"", record)
        try:
            for stream in record.streams:
                assert BYTES[stream.name] == b"".join(repository.read(info, stream))
        except DedupError as error:
            raise AssertionError(f"{promise}: {name} cannot be restored: {error}") from error
        if parent := self._world.snapshots[name].parent:
            assert f"snapshot {parent}" in self._present, (
                f"{promise}: {parent}, which {name} builds on, is gone"
            )
            self._restore(repository, parent, promise)
