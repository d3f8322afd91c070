"""Snapshots: which there are and count, whether the repository went back, and how another is published.

Invariant: a snapshot is shown only when it is signed by a member, its run is done, and it still counts; what this
host saw before and is gone, or forked, is told (`alarms`) and stops runs that write.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from dedupstore import heads, layout, records
from dedupstore.errors import DamageError, NotFoundError, TrustError
from dedupstore.layout import Kind
from dedupstore.opened import Opened
from dedupstore.records import Done, Snapshot, Stream

Head = heads.Head


class SnapshotInfo(msgspec.Struct, frozen=True):
    """A snapshot without its streams; sizes in bytes, times in Unix seconds, `streams` is their number."""

    name: bytes
    signer: bytes
    run: bytes
    domain: str
    sequence: int
    time: int
    utc_offset: int
    started: int
    finished: int
    host: str
    program: str
    streams: int
    size: int
    stored: int
    new: int
    heads: dict[bytes, tuple[int, bytes]]
    roster: tuple[int, bytes]
    done: bool


class Snapshots:
    """The snapshots of a repository; `alarms` says what is wrong with their history."""

    def __init__(self, opened: Opened) -> None:
        self.alarms: list[str] = []
        self._opened = opened
        self._rolled_back: list[str] = []
        self._disowned: set[bytes] = set()
        self._infos: dict[bytes, SnapshotInfo] | None = None

    def counting(self) -> list[SnapshotInfo]:
        """Return the snapshots that count, the oldest date first."""
        counting = (info for info in self._all().values() if info.done and info.name not in self._disowned)
        return sorted(counting, key=lambda info: (info.time, info.finished, info.sequence, info.name))

    def streams(self, snapshot: SnapshotInfo) -> list[Stream]:
        """Return a snapshot's streams, in the order in which they were stored."""
        payload = self._opened.cache.snapshot_payload(snapshot.name)
        return records.decode(payload, Snapshot, snapshot_file(snapshot.name)).streams

    def heads(self) -> dict[bytes, SnapshotInfo]:
        """Return each signer's newest snapshot that counts."""
        newest: dict[bytes, SnapshotInfo] = {}
        for info in self.counting():
            if info.signer not in newest or info.sequence > newest[info.signer].sequence:
                newest[info.signer] = info
        return newest

    def unfinished(self) -> int:
        """Return how many snapshots are there that do not count."""
        return len(self._all()) - len(self.counting())

    def _all(self) -> dict[bytes, SnapshotInfo]:
        """Return all snapshots, also those that do not count."""
        if self._infos is None:
            self.refresh()
        return self._infos or {}

    def refresh(self) -> None:
        """Read the snapshots that are new, drop those that are gone, and compare with what was seen before."""
        # what is compared with a listing is read before it: other processes of this host add to both meanwhile
        kept, cached = heads.load(self._opened.state), self._opened.cache.snapshot_names()
        # `runs` is listed first: a run that ends in between is merely not seen yet
        done: dict[bytes, list[str]] = {}
        for name in self._opened.backend.names("runs"):
            if (run := layout.run_done(name)) is not None:
                done.setdefault(run, []).append(name)
        present = layout.digests(self._opened.backend.names("snapshots"))
        if gone := cached - present:
            self._opened.cache.drop_snapshots(gone)
        decoder = records.decoder(SnapshotInfo)
        rows = [decoder.decode(row) for _, row in self._opened.cache.snapshot_headers()]
        infos = {info.name: info for info in rows}
        for batch in self._opened.fetch(
            sorted(present - infos.keys()), lambda name: self._read_snapshot(name, done)
        ):
            self._keep(batch)
            infos.update((info.name, info) for info, _ in batch)
        # with more than one record, a run may have been withdrawn after it was kept here as done
        waiting = [
            info for info in infos.values() if info.run in done and (not info.done or len(done[info.run]) > 1)
        ]
        for confirmed in self._opened.fetch(waiting, lambda info: self._confirm(info, done[info.run])):
            changed = [info for info in confirmed if info != infos[info.name]]
            self._keep([(info, self._opened.cache.snapshot_payload(info.name)) for info in changed])
            infos.update((info.name, info) for info in changed)
        # a done record that vanished makes its snapshot uncounted for everyone, so for us too
        self._infos = {
            name: info if info.run in done else msgspec.structs.replace(info, done=False)
            for name, info in infos.items()
        }
        self._recall(kept, done)
        self._compare_heads(kept)

    @contextmanager
    def publishing(self) -> Iterator[tuple[int, dict[bytes, tuple[int, bytes]]]]:
        """Hold this host's turn to publish a snapshot; sees what others have published meanwhile.

        Yields the sequence number and the heads that the snapshot must have.
        """
        with self._opened.state.lock("publish.lock"):
            self.refresh()
            self.refuse_if_rolled_back()
            seen = {signer: (info.sequence, info.name) for signer, info in self.heads().items()}
            yield self._next_sequence(), seen

    def publish(self, snapshot: Snapshot) -> SnapshotInfo:
        """Write the snapshot, all of whose data are durable, and the record that its run is done.

        Only within `publishing`.
        """
        from dedupstore import catalogue

        data = catalogue.seal_record(self._opened.access, Kind.SNAPSHOT, snapshot)
        name = layout.sha256(data)
        self._opened.backend.create(snapshot_file(name), data)
        end = Done(run=snapshot.run, snapshot=name, finished=snapshot.finished)
        done = catalogue.seal_record(self._opened.access, Kind.DONE, end)
        self._opened.backend.create(layout.done_file(snapshot.run, layout.sha256(done)), done)
        info = _info(name, self._opened.signer, snapshot, done=True)
        self._keep([(info, records.encode(snapshot))])
        self._all()[name] = info
        heads.advance(self._opened.state, {info.signer: (info.sequence, info.name)})
        return info

    def _next_sequence(self) -> int:
        """Return the sequence number for this member's next snapshot: above all that it ever used."""
        mine = self._opened.signer
        used = [info.sequence for info in self._all().values() if info.signer == mine]
        used.append(heads.load(self._opened.state).get(mine, (0, b""))[0])
        return max(used) + 1

    def refuse_if_rolled_back(self) -> None:
        """Raise `TrustError` if the repository lost what this host itself has seen."""
        if self._rolled_back:
            raise TrustError(
                self._rolled_back[0],
                "nothing was listed. Look with `dedup list` and `dedup check`; if an admin knows why, "
                "`dedup trust accept` takes the repository as it is now",
            )

    def _keep(self, rows: list[tuple[SnapshotInfo, bytes]]) -> None:
        self._opened.cache.add_snapshots(
            (info.name, msgspec.msgpack.encode(info), payload) for info, payload in rows
        )

    def _read_snapshot(self, name: bytes, done: dict[bytes, list[str]]) -> tuple[SnapshotInfo, bytes] | None:
        from dedupstore import catalogue

        file = snapshot_file(name)
        try:
            signer, payload = catalogue.open_payload(
                self._opened.access, Kind.SNAPSHOT, file, self._opened.backend.read(file)
            )
            snapshot = records.decode(payload, Snapshot, file)
            if snapshot.domain != self._opened.access.signers[signer].domain:
                raise DamageError(f"{file} names a domain that is not its signer's")
        except (DamageError, NotFoundError) as error:
            self._opened.damage.append(str(error))
            return None
        info = _info(name, signer, snapshot, done=False)
        if info.run in done:
            info = self._confirm(info, done[info.run])
        return info, payload

    def _confirm(self, info: SnapshotInfo, files: list[str]) -> SnapshotInfo:
        """Return the snapshot as one that counts if a done record of its run says so, and none withdraws it."""
        from dedupstore import catalogue

        named = set()
        for file in files:
            try:
                signer, done = catalogue.open_record(
                    self._opened.access, Kind.DONE, file, self._opened.backend.read(file), Done
                )
            except (DamageError, NotFoundError) as error:
                self._opened.damage.append(str(error))
                continue
            if (signer, done.run) == (info.signer, info.run):
                named.add(done.snapshot)
        return msgspec.structs.replace(info, done=info.name in named and b"" not in named)

    def _recall(self, kept: Mapping[bytes, Head], done: dict[bytes, list[str]]) -> None:
        """Ask by name for snapshots that someone has seen but the listing lacks: what is there counts.

        A busy folder's listing may miss one, and a storage that hides one must not do so by listings alone.
        """
        infos = self._all()
        named = {name for _, name in kept.values()}
        asked: set[bytes] = set()
        new = list(infos.values())
        while True:  # what is recalled has seen others in its turn
            for info in new:
                named |= {
                    name
                    for signer, (_, name) in info.heads.items()
                    if info.done and signer in self._opened.members.signers
                }
            missing = sorted(named - infos.keys() - asked)
            if not missing:
                return
            asked.update(missing)
            new = []
            for batch in self._opened.fetch(missing, lambda name: self._read_snapshot(name, done)):
                new += [info for info, _ in batch]
                self._keep(batch)
            infos.update((info.name, info) for info in new)

    def _compare_heads(self, kept: Mapping[bytes, Head]) -> None:
        """Note what was seen before and is gone, and two snapshots where one may be; then keep the newest heads."""
        self.alarms = []
        self._rolled_back = []
        self._disown()
        counting = self.counting()
        present = {info.name for info in counting} | self._disowned
        for _, name in kept.values():
            if name not in present:
                self._rolled_back.append(_went_back(name, "this host"))
        self.alarms += self._rolled_back
        # what follows rests on what writers say, so one of them must not be able to stop the others with it
        members = self._opened.members
        taken: dict[tuple[bytes, int], SnapshotInfo] = {}
        for info in counting:
            witness = f"the backup of {info.host} numbered {info.sequence}"
            for signer, (_, name) in info.heads.items():
                if name not in present and signer in self._opened.members.signers:
                    self.alarms.append(_went_back(name, witness))
            if info.roster[0] >= self._opened.members.serial and info.roster != self._opened.members.roster:
                self.alarms.append(
                    f"{witness} was made under roster {info.roster[0]} ({info.roster[1].hex()[:16]}…), "
                    f"but the newest to be had is {members.serial} ({members.digest.hex()[:16]}…)"
                )
            if taken.setdefault((info.signer, info.sequence), info) is not info:
                self.alarms.append(
                    f"the repository forked: {info.host} published two backups numbered {info.sequence}"
                )
        self.alarms = list(dict.fromkeys(self.alarms))
        if not self._rolled_back:
            heads.advance(
                self._opened.state, {s: (info.sequence, info.name) for s, info in self.heads().items()}
            )

    def _disown(self) -> None:
        """Of a former member, only the last snapshot that the roster names and its predecessors count."""
        infos = self._all()
        self._disowned = {
            info.name for info in infos.values() if info.signer not in self._opened.members.signers
        }
        for signer, member in self._opened.members.signers.items():
            if member.last_snapshot is None:
                continue
            kept: set[bytes] = set()
            name = member.last_snapshot
            while (info := infos.get(name)) is not None and name not in kept:
                kept.add(name)
                name = info.heads.get(signer, (0, b""))[1]
            self._disowned |= {info.name for info in infos.values() if info.signer == signer} - kept


def _went_back(name: bytes, witness: str) -> str:
    return f"the repository went back: snapshots/{name.hex()} is gone, damaged or undone, but {witness} has seen it"


def snapshot_file(name: bytes) -> str:
    """Return the name of the file that holds the snapshot."""
    return layout.content_file(Kind.SNAPSHOT, name)


def _info(name: bytes, signer: bytes, snapshot: Snapshot, *, done: bool) -> SnapshotInfo:
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
        done=done,
    )
