"""Snapshots: which exist, which of them count, and what the next one must say (docs/format.md 10, 11).

Invariant: a snapshot is shown only when a member signed it, a done record or ledger names it, no tombstone does, and
its signer is a present member or its closing list names it.  A snapshot that this host saw before and that is gone is
an alarm; only the loss of its own backups stops it from writing.  Snapshots that no done record names are read by
writers only, last, one by one.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from dedupstore.errors import NotFoundError, TrustError
from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Snapshot, Stream
from dedupstore.history import alarms, done_records, verified
from dedupstore.history.alarms import SnapshotInfo
from dedupstore.history.closings import CountingContext
from dedupstore.history.done_records import DoneRecords
from dedupstore.state import heads
from dedupstore.state.heads import Head

__all__ = ["SnapshotInfo", "Snapshots", "Turn"]

_AT_ONCE = 16  # each may take some MiB


class Turn(NamedTuple):
    """What the next snapshot of this member must say: its number, and the heads that it has seen."""

    sequence: int
    heads: dict[bytes, Head]


class Snapshots:
    """The snapshots of a repository; `alarms` says what is wrong with their history."""

    def __init__(self, context: CountingContext) -> None:
        self.alarms: list[str] = []
        self._context = context
        self._lost: dict[bytes, str] = {}
        self._present: set[bytes] = set()
        self._infos: dict[bytes, SnapshotInfo] = {}
        self._counting: list[SnapshotInfo] | None = None
        self._numbers: dict[bytes, int] = {}
        self._done = DoneRecords(set(), [], {}, set())
        self._index: set[bytes] | None = None  # the index files that were listed last

    def counting(self) -> list[SnapshotInfo]:
        """Return the snapshots that count, the oldest date first."""
        if self._counting is None:
            self.refresh()
        return list(self._counting or ())

    def streams(self, snapshot: SnapshotInfo) -> list[Stream]:
        """Return a snapshot's streams, in the order in which they were stored."""
        payload = self._context.cache.snapshot_payload(snapshot.name)
        return records.decode(payload, Snapshot, snapshot_file(snapshot.name)).streams

    def heads(self) -> dict[bytes, SnapshotInfo]:
        """Return the newest snapshot that counts of each present member."""
        newest: dict[bytes, SnapshotInfo] = {}
        for info in self.counting():
            member = self._context.members.signers[info.signer]
            if member.closing is None and info.sequence <= self._numbers[info.signer]:
                newest[info.signer] = max(newest.get(info.signer, info), info, key=lambda info: info.sequence)
        return newest

    def unfinished(self) -> int:
        """Return how many snapshots are there that do not count."""
        return len(self._present - {info.name for info in self.counting()})

    def has_done(self, signer: bytes, runs: Iterable[bytes]) -> bool:
        """Return whether one of these runs of a signer has published snapshots, as far as was seen last."""
        self.counting()
        ends = {signer + run for run in runs}
        return any(row[32:] in ends for row in self._done.named)

    def named_by(self, signer: bytes, most: int) -> tuple[list[bytes], list[bytes], int]:
        """Return the snapshots of a signer that count, or would if they could be read, and the index files they need.

        What is only damaged or hidden at this moment must not be given up for good.  Those with the lowest sequence
        numbers come first, `most` of them, and likewise their index files: a thief of the signer's keys puts
        nothing before them without an alarm, as each number counts once.  The number of snapshots that are left out
        is returned, too.
        """
        ours = sorted(
            (info for info in self.counting() if info.signer == signer), key=lambda info: info.sequence
        )
        unread = {
            name
            for name, by in self._done.snapshots()
            if by == signer and name in self._present and name not in self._infos
            if not self._context.is_rejected(snapshot_file(name))
        }
        snapshots = [*dict.fromkeys(info.name for info in ours), *sorted(unread)]
        place = {name: number for number, name in enumerate(snapshots[:most])}
        needed = []
        for by, record in self._done.records:
            places = [place[name] for name in records.names(record.snapshots) if name in place]
            if by == signer and places:
                needed.append((min(places), records.names(record.index)))
        index = dict.fromkeys(name for _, some in sorted(needed) for name in some)
        return (
            list(place),
            [name for name in index if name not in self._done.dropped],
            len(snapshots) - len(place),
        )

    # -- keeping all this true

    def refresh(self) -> None:
        """Read the snapshots that are new, drop those that are gone, and compare with what was seen before."""
        context = self._context
        # what is compared with a listing is read before it: other processes of this host add to both meanwhile
        kept, cached = heads.load(context.state), context.cache.snapshot_names()
        context.look_for_closings_again()
        self._present = layout.digests(context.backend.names("snapshots"))
        self._done = done_records.read(context)
        if gone := cached - self._present:
            context.cache.drop_snapshots(gone)
        decoder = records.decoder(SnapshotInfo)
        rows = [decoder.decode(row) for name, row in context.cache.snapshot_headers() if name not in gone]
        self._infos = {info.name: info for info in rows}
        named = {name for name, signer in self._done.snapshots() if self._may_count(name, signer)}
        self._read_all(named & self._present)
        self._recall(kept, named)
        self._count()
        self._compare(kept)
        self._compare_index()

    def check_index(self, present: set[bytes]) -> None:
        """Compare what done records rely on with the index files that are there, now and at each refreshing."""
        self._index = present
        if self._counting is not None:
            self._compare_index()

    def _compare_index(self) -> None:
        if self._index is None:
            return
        counting, stands_for = self._counting or [], self._context.cache.stands_for
        missing = alarms.missing_index(counting, self._done, self._index, stands_for)
        if missing:  # it may be new, or have been deleted lawfully since
            self._done = done_records.read(self._context)
            self._index = layout.digests(self._context.backend.names("index"))
            missing = alarms.missing_index(counting, self._done, self._index, stands_for)
        self.alarms = list(dict.fromkeys([*self.alarms, *missing]))

    def refuse_if_rolled_back(self, signer: bytes) -> None:
        """Raise `TrustError` if this host has seen a backup of the signer that is gone."""
        self.counting()
        if signer in self._lost:
            raise TrustError(
                self._lost[signer],
                "no backup was recorded. Run `dedup list` and `dedup check`; if an admin knows why, "
                "`dedup trust accept` accepts the repository as it is now",
            )

    def _may_count(self, name: bytes, signer: bytes) -> bool:
        member = self._context.members.signers.get(signer)
        if member is None or member.closing is None:
            return member is not None
        closing = self._context.closed(signer)
        return closing is not None and name in closing.counting

    def _read_all(self, names: Iterable[bytes], at_once: int = _AT_ONCE) -> None:
        """Read snapshots that are not known yet."""
        for batch in self._context.fetch(sorted(set(names) - self._infos.keys()), self._read, at_once):
            self.keep(batch)

    def _read(self, name: bytes) -> tuple[SnapshotInfo, bytes] | None:
        file = snapshot_file(name)
        try:
            found = verified.read(self._context, Kind.SNAPSHOT, file, Snapshot)
        except NotFoundError as error:
            if name in self._present:  # else there is an alarm
                self._context.damage.append(str(error))
            return None
        if found is None:
            return None
        signer, payload, snapshot = found
        members = self._context.members.signers
        copied = snapshot.origin is not None and members[signer].role == "admin"
        if snapshot.domain != members[signer].domain and not (
            copied and any(member.domain == snapshot.domain for member in members.values())
        ):
            self._context.reject(file, f"{file} names a domain that is not its signer's")
            return None
        heads = {other: head for other, head in snapshot.heads.items() if other in members}
        return info_of(name, signer, msgspec.structs.replace(snapshot, heads=heads)), payload

    def keep(self, rows: Iterable[tuple[SnapshotInfo, bytes]]) -> None:
        """Take snapshots, with their payloads, as ones that are there."""
        rows = list(rows)
        self._context.cache.add_snapshots(
            (info.name, msgspec.msgpack.encode(info), payload) for info, payload in rows
        )
        self._infos.update((info.name, info) for info, _ in rows)
        self._present.update(info.name for info, _ in rows)

    def _recall(self, kept: dict[bytes, Head], named: set[bytes]) -> None:
        """Ask by name for snapshots that someone has seen but the listing lacks: what is there counts.

        A busy folder's listing may miss one, and a storage that hides one must not do so by listings alone.
        """
        seen = {name for _, name in kept.values()}
        asked: set[bytes] = set()
        new = [info for info in self._infos.values() if info.name in named]
        while True:  # what is recalled has seen others in its turn
            for info in new:
                seen |= {name for signer, (_, name) in info.heads.items() if self._may_count(name, signer)}
            missing = (seen & named) - self._infos.keys() - asked - self._present
            if not missing:
                return
            asked |= missing
            self._read_all(missing)
            new = [self._infos[name] for name in missing if name in self._infos]

    def _count(self) -> None:
        self._counting = sorted(
            (
                info
                for info in self._infos.values()
                if self._done.names(info.name, info.signer, info.run)
                and self._may_count(info.name, info.signer)
            ),
            key=lambda info: (info.time, info.finished, info.sequence, info.name),
        )

    def _compare(self, kept: dict[bytes, Head]) -> None:
        """Note what is wrong with the history; then keep the newest heads of those of whom nothing is lost."""
        context, counting = self._context, self._counting or []
        used = {signer: {number} for signer, (number, _) in kept.items()}
        for info in counting:
            used.setdefault(info.signer, set()).add(info.sequence)
        for tombstone in self._done.entombed.values():
            used.setdefault(tombstone.signer, set()).add(tombstone.sequence)
        self._numbers = {
            signer: alarms.highest(numbers, kept.get(signer, (0, b""))[0]) for signer, numbers in used.items()
        }
        self._lost = alarms.lost(kept, counting, self._done, self._may_count)
        self.alarms = list(
            dict.fromkeys(
                [
                    *self._lost.values(),
                    *context.closing_alarms(),
                    *alarms.history(context, counting, self._done, self._numbers),
                ]
            )
        )
        seen = {signer: (info.sequence, info.name) for signer, info in self.heads().items()}
        heads.advance(
            context.state, {signer: head for signer, head in seen.items() if signer not in self._lost}
        )

    # -- another one

    @contextmanager
    def publishing(self) -> Iterator[Turn]:
        """Hold this host's turn to publish; sees what others have published meanwhile."""
        mine = self._context.signer
        with self._context.state.lock("publish.lock"):
            self.refresh()
            self.refuse_if_rolled_back(mine)
            self._read_all(self._present, at_once=1)  # a number that an unfinished one has is taken, too
            used = {info.sequence for info in self._infos.values() if info.signer == mine}
            top = self._numbers.get(mine, 0)
            seen = {signer: (info.sequence, info.name) for signer, info in self.heads().items()}
            yield Turn(alarms.highest(used, top) + 1, seen)

    def published(self, infos: Iterable[SnapshotInfo]) -> None:
        """Take snapshots, which were kept before, as ones that count: their done record is there."""
        infos = list(infos)
        self._done.named.update(info.name + info.signer + info.run for info in infos)
        self._numbers.update((info.signer, info.sequence) for info in infos)
        self._count()
        heads.advance(self._context.state, {info.signer: (info.sequence, info.name) for info in infos})


def snapshot_file(name: bytes) -> str:
    """Return the name of the file that holds the snapshot."""
    return layout.content_file(Kind.SNAPSHOT, name)


def info_of(name: bytes, signer: bytes, snapshot: Snapshot) -> SnapshotInfo:
    """Return the summary of a snapshot that is kept in memory."""
    return SnapshotInfo(
        name=name,
        signer=signer,
        run=snapshot.run,
        domain=snapshot.domain,
        sequence=snapshot.sequence,
        time=snapshot.time,
        utc_offset=snapshot.utc_offset,
        started=snapshot.started,
        finished=snapshot.finished,
        host=snapshot.host,
        program=snapshot.program,
        streams=len(snapshot.streams),
        size=sum(stream.size for stream in snapshot.streams),
        stored=sum(stream.stored for stream in snapshot.streams),
        new=sum(stream.new for stream in snapshot.streams),
        heads=snapshot.heads,
        roster=snapshot.roster,
    )
