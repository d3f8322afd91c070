"""The store's one public face: what is listed, runs that write, streams that come back.

Layers, each calling only those below it:

    repository          this module; check (looks at everything), session (one run), reader (one stream)
    sequences, recipes  cut, hash, look up; lists of chunks
    packing, packs      the cold path; files of blocks
    catalogue, cache    signed record files; the local, disposable index of them
    blocks, sealing, compression, records, layout    bytes of format 1
    backends            where the files lie

Invariant: a snapshot is shown only when it is signed by a member, its run is done, and it still counts; what
this host saw before and is gone, or forked, is told (`alarms`) and stops runs that write.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from dedupstore import heads, layout, records
from dedupstore.access import Access, Membership
from dedupstore.backends.contract import Backend
from dedupstore.cache import IndexCache
from dedupstore.errors import DamageError, NotFoundError, TrustError
from dedupstore.layout import Kind
from dedupstore.localstate import StateFolder
from dedupstore.records import Done, Index, Snapshot, Stream

if TYPE_CHECKING:
    from dedupstore.check import CheckResult
    from dedupstore.session import RunDetails, Session
    from dedupstore.stored import StoredStream

FETCH_THREADS = 8
Head = heads.Head
S = TypeVar("S")
T = TypeVar("T")


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


class Repository:
    """A repository that is open.

    `members` is what the believed roster says.  `unlock` gives the keys when they are first needed: what the
    local cache can answer needs none.  `alarms` and `damage` collect what refreshing found; callers show them.
    """

    def __init__(
        self,
        backend: Backend,
        members: Membership,
        unlock: Callable[[], Access],
        state: StateFolder,
    ) -> None:
        self.backend = backend
        self.members = members
        self.state = state
        self.cache = IndexCache(state.path / "cache", members.repository)
        self.alarms: list[str] = []
        self._rolled_back: list[str] = []
        self._disowned: set[bytes] = set()
        self.damage: list[str] = []
        self._unlock = unlock
        self._infos: dict[bytes, SnapshotInfo] | None = None

    @cached_property
    def access(self) -> Access:
        """This member's keys."""
        return self._unlock()

    def __enter__(self) -> "Repository":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the cache and the back end."""
        self.cache.close()
        self.backend.close()

    # -- what is listed

    def snapshots(self) -> list[SnapshotInfo]:
        """Return the snapshots that count, the oldest date first."""
        counting = (info for info in self._all().values() if info.done and info.name not in self._disowned)
        return sorted(counting, key=lambda info: (info.time, info.finished, info.sequence, info.name))

    def streams(self, snapshot: SnapshotInfo) -> list[Stream]:
        """Return a snapshot's streams, in the order in which they were stored."""
        payload = self.cache.snapshot_payload(snapshot.name)
        return records.decode(payload, Snapshot, _snapshot_file(snapshot.name)).streams

    def heads(self) -> dict[bytes, SnapshotInfo]:
        """Return each signer's newest snapshot that counts."""
        newest: dict[bytes, SnapshotInfo] = {}
        for info in self.snapshots():
            if info.signer not in newest or info.sequence > newest[info.signer].sequence:
                newest[info.signer] = info
        return newest

    def unfinished(self) -> int:
        """Return how many snapshots are there that do not count."""
        return len(self._all()) - len(self.snapshots())

    def _all(self) -> dict[bytes, SnapshotInfo]:
        """Return all snapshots, also those that do not count."""
        if self._infos is None:
            self.refresh_snapshots()
        return self._infos or {}

    # -- keeping the cache true

    def refresh_snapshots(self) -> None:
        """Read the snapshots that are new, drop those that are gone, and compare with what was seen before."""
        # what is compared with a listing is read before it: other processes of this host add to both meanwhile
        kept, cached = heads.load(self.state), self.cache.snapshot_names()
        # `runs` is listed first: a run that ends in between is merely not seen yet
        done: dict[bytes, list[str]] = {}
        for entry in self.backend.list("runs"):
            if (run := layout.run_done(entry.name)) is not None:
                done.setdefault(run, []).append(entry.name)
        present = _named(entry.name for entry in self.backend.list("snapshots"))
        if gone := cached - present:
            self.cache.drop_snapshots(gone)
        rows = [msgspec.msgpack.decode(row, type=SnapshotInfo) for _, row in self.cache.snapshot_headers()]
        infos = {info.name: info for info in rows}
        for batch in self._fetch(
            sorted(present - infos.keys()), lambda name: self._read_snapshot(name, done)
        ):
            self._keep(batch)
            infos.update((info.name, info) for info, _ in batch)
        # with more than one record, a run may have been withdrawn after it was kept here as done
        waiting = [
            info for info in infos.values() if info.run in done and (not info.done or len(done[info.run]) > 1)
        ]
        for confirmed in self._fetch(waiting, lambda info: self._confirm(info, done[info.run])):
            changed = [info for info in confirmed if info != infos[info.name]]
            self._keep([(info, self.cache.snapshot_payload(info.name)) for info in changed])
            infos.update((info.name, info) for info in changed)
        # a done record that vanished makes its snapshot uncounted for everyone, so for us too
        self._infos = {
            name: info if info.run in done else msgspec.structs.replace(info, done=False)
            for name, info in infos.items()
        }
        self._recall(kept, done)
        self._compare_heads(kept)

    def refresh_index(self) -> None:
        """Read the index files that are new, and drop the rows of those that are gone."""
        if lost := self.cache.with_lost_packs():  # they may be back
            self.cache.drop_index(lost)
        cached = self.cache.index_files()
        present = _named(entry.name for entry in self.backend.list("index"))
        if gone := cached - present:
            self.cache.drop_index(gone)
        for batch in self._fetch(sorted(present - cached), self._read_index, at_once=FETCH_THREADS):
            for name, index in batch:
                try:
                    self.cache.add_index(name, index)
                except DamageError as error:
                    self.damage.append(f"{layout.content_file(Kind.INDEX, name)}: {error}")

    def verify_recent_packs(self) -> None:
        """List and size the packs of index files not verified yet: a server may lose what it acknowledged."""
        names = self.cache.unverified()
        if not names:
            return
        packs = [
            (number, layout.content_file(Kind(pack.kind.encode()), pack.name), pack.size)
            for number, pack in self.cache.packs_of(names)
        ]
        sizes = self.pack_sizes({name.rsplit("/", 1)[0] for _, name, _ in packs})
        lost = [(number, name) for number, name, size in packs if sizes.get(name) != size]
        if lost:
            self.cache.mark_lost([number for number, _ in lost])
            self.damage += [
                f"{name} is missing or has a wrong size; its chunks are stored anew" for _, name in lost
            ]
        self.cache.mark_verified(names)

    def pack_sizes(self, folders: Iterable[str]) -> dict[str, int]:
        """Return the files in these folders of packs, with their sizes."""
        from concurrent.futures import ThreadPoolExecutor  # slow to load, and listing seldom needs it

        with ThreadPoolExecutor(FETCH_THREADS) as pool:
            listings = pool.map(lambda folder: list(self.backend.list(folder)), sorted(folders))
            return {entry.name: entry.size for listing in listings for entry in listing}

    # -- writing and reading

    def session(self, details: "RunDetails", *, level: int = 3) -> "Session":
        """Begin a run.  `level` is Zstandard's."""
        from dedupstore.session import Session

        return Session(self, details, level)

    def read(self, snapshot: SnapshotInfo, stream: Stream) -> Iterator[bytes | memoryview]:
        """Yield the stream's bytes, each verified.

        Before the first, everything that can be checked without reading contents is checked.
        Raises `DamageError`; `KeyAccessError` if this member may not read.
        """
        from dedupstore.reader import StreamReader

        self.refresh_index()
        reader = StreamReader(self, snapshot.domain)
        reader.preflight(stream)
        return reader.read(stream)

    def open_stream(self, snapshot: SnapshotInfo, stream: Stream, *, contents: bool = True) -> "StoredStream":
        """Return the stream to walk through; its contents are fetched only where they are asked for.

        Checks beforehand what `read` checks, and raises the same; without `contents`, nothing that only
        contents need.
        """
        from dedupstore.reader import StreamReader
        from dedupstore.stored import StoredStream

        self.refresh_index()
        reader = StreamReader(self, snapshot.domain)
        reader.preflight(stream, contents=contents)
        return StoredStream(reader, stream)

    def check(self, *, read_data: bool, report: Callable[[str, int, int], None]) -> "CheckResult":
        """Look at everything; with `read_data`, at every byte.  `report(what, done, of)` is called as it goes on."""
        from dedupstore.check import Checker

        return Checker(self, report).run(read_data=read_data)

    # -- publishing

    @contextmanager
    def publishing(self) -> Iterator[tuple[int, dict[bytes, tuple[int, bytes]]]]:
        """Hold this host's turn to publish a snapshot; sees what others have published meanwhile.

        Yields the sequence number and the heads that the snapshot must have.
        """
        with self.state.lock("publish.lock"):
            self.refresh_snapshots()
            self.refuse_if_rolled_back()
            seen = {signer: (info.sequence, info.name) for signer, info in self.heads().items()}
            yield self._next_sequence(), seen

    def publish(self, snapshot: Snapshot) -> SnapshotInfo:
        """Write the snapshot, all of whose data are durable, and the record that its run is done.

        Only within `publishing`.
        """
        from dedupstore import catalogue

        data = catalogue.seal_record(self.access, Kind.SNAPSHOT, snapshot)
        name = layout.sha256(data)
        self.backend.create(_snapshot_file(name), data)
        end = Done(run=snapshot.run, snapshot=name, finished=snapshot.finished)
        done = catalogue.seal_record(self.access, Kind.DONE, end)
        self.backend.create(layout.done_file(snapshot.run, layout.sha256(done)), done)
        info = _info(name, self.signer, snapshot, done=True)
        self._keep([(info, records.encode(snapshot))])
        self._all()[name] = info
        heads.advance(self.state, {info.signer: (info.sequence, info.name)})
        return info

    def complete_interrupted(self) -> list[SnapshotInfo]:
        """Publish what runs of this host that were killed had checkpointed; none of them may be going on."""
        from dedupstore import interrupted

        return interrupted.complete(self)

    def _next_sequence(self) -> int:
        """Return the sequence number for this member's next snapshot: above all that it ever used."""
        mine = self.signer
        used = [info.sequence for info in self._all().values() if info.signer == mine]
        used.append(heads.load(self.state).get(mine, (0, b""))[0])
        return max(used) + 1

    @cached_property
    def signer(self) -> bytes:
        """This member's signing public key."""
        from dedupstore import sealing

        return sealing.public_of(self.access.signing_key)

    def refuse_if_rolled_back(self) -> None:
        """Raise `TrustError` if the repository lost what this host itself has seen."""
        if self._rolled_back:
            raise TrustError(
                self._rolled_back[0],
                "nothing was listed. Look with `dedup list` and `dedup check`; if an admin knows why, "
                "`dedup trust accept` takes the repository as it is now",
            )

    # -- details

    def _fetch(
        self, items: Iterable[S], work: Callable[[S], T | None], at_once: int = 8 * FETCH_THREADS
    ) -> Iterator[list[T]]:
        """Yield the results of `work` on the items, batch by batch, without those that are None."""
        items = list(items)
        if not items:
            return
        _ = self.access  # unlock once, before threads need it
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(FETCH_THREADS) as pool:
            for start in range(0, len(items), at_once):
                results = pool.map(work, items[start : start + at_once])
                yield [result for result in results if result is not None]

    def _keep(self, rows: list[tuple[SnapshotInfo, bytes]]) -> None:
        self.cache.add_snapshots((info.name, msgspec.msgpack.encode(info), payload) for info, payload in rows)

    def _read_snapshot(self, name: bytes, done: dict[bytes, list[str]]) -> tuple[SnapshotInfo, bytes] | None:
        from dedupstore import catalogue

        file = _snapshot_file(name)
        try:
            signer, payload = catalogue.open_payload(
                self.access, Kind.SNAPSHOT, file, self.backend.read(file)
            )
            snapshot = records.decode(payload, Snapshot, file)
            if snapshot.domain != self.access.signers[signer].domain:
                raise DamageError(f"{file} names a domain that is not its signer's")
        except (DamageError, NotFoundError) as error:
            self.damage.append(str(error))
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
                    self.access, Kind.DONE, file, self.backend.read(file), Done
                )
            except (DamageError, NotFoundError) as error:
                self.damage.append(str(error))
                continue
            if (signer, done.run) == (info.signer, info.run):
                named.add(done.snapshot)
        return msgspec.structs.replace(info, done=info.name in named and b"" not in named)

    def _read_index(self, name: bytes) -> tuple[bytes, Index] | None:
        from dedupstore import catalogue

        file = layout.content_file(Kind.INDEX, name)
        try:
            signer, index = catalogue.open_record(
                self.access, Kind.INDEX, file, self.backend.read(file), Index
            )
            member = self.access.signers[signer]
            domains = {other.domain for other in self.access.signers.values()}
            free = member.role == "admin" and member.last_snapshot is None and index.domain in domains
            if index.domain != member.domain and not free:
                raise DamageError(f"{file} names a domain that is not its signer's")
        except (DamageError, NotFoundError) as error:
            self.damage.append(str(error))
            return None
        return name, index

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
                    if info.done and signer in self.members.signers
                }
            missing = sorted(named - infos.keys() - asked)
            if not missing:
                return
            asked.update(missing)
            new = []
            for batch in self._fetch(missing, lambda name: self._read_snapshot(name, done)):
                new += [info for info, _ in batch]
                self._keep(batch)
            infos.update((info.name, info) for info in new)

    def _compare_heads(self, kept: Mapping[bytes, Head]) -> None:
        """Note what was seen before and is gone, and two snapshots where one may be; then keep the newest heads."""
        self.alarms = []
        self._rolled_back = []
        self._disown()
        counting = self.snapshots()
        present = {info.name for info in counting} | self._disowned
        for _, name in kept.values():
            if name not in present:
                self._rolled_back.append(_went_back(name, "this host"))
        self.alarms += self._rolled_back
        # what follows rests on what writers say, so one of them must not be able to stop the others with it
        taken: dict[tuple[bytes, int], SnapshotInfo] = {}
        for info in counting:
            witness = f"the backup of {info.host} numbered {info.sequence}"
            for signer, (_, name) in info.heads.items():
                if name not in present and signer in self.members.signers:
                    self.alarms.append(_went_back(name, witness))
            if info.roster[0] >= self.members.serial and info.roster != self.members.roster:
                self.alarms.append(
                    f"{witness} was made under roster {info.roster[0]} ({info.roster[1].hex()[:16]}…), "
                    f"but the newest to be had is {self.members.serial} ({self.members.digest.hex()[:16]}…)"
                )
            if taken.setdefault((info.signer, info.sequence), info) is not info:
                self.alarms.append(
                    f"the repository forked: {info.host} published two backups numbered {info.sequence}"
                )
        self.alarms = list(dict.fromkeys(self.alarms))
        if not self._rolled_back:
            heads.advance(self.state, {s: (info.sequence, info.name) for s, info in self.heads().items()})

    def _disown(self) -> None:
        """Of a former member, only the last snapshot that the roster names and its predecessors count."""
        infos = self._all()
        self._disowned = {info.name for info in infos.values() if info.signer not in self.members.signers}
        for signer, member in self.members.signers.items():
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


def _snapshot_file(name: bytes) -> str:
    return layout.content_file(Kind.SNAPSHOT, name)


def _named(files: Iterable[str]) -> set[bytes]:
    return {digest for file in files if (digest := layout.digest_of(file)) is not None}


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


def now_offset(when: float | None = None) -> int:
    """Return this machine's offset from UTC at that time, in seconds east."""
    return time.localtime(when).tm_gmtoff
