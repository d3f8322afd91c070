"""Looking at everything: is all there, is it what it says, would every backup come back?

Invariant: nothing is changed in the repository, and the local cache is not believed about it: every record
is read again, every pack is listed, every recipe is walked.  With `read_data` every byte of every pack is read.
The cache is told which packs are lost, so that the next run of this host stores what they held anew.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from dedupstore import blocks, catalogue, layout, packs, recipes, records
from dedupstore.cache import CachedPack
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.layout import Kind
from dedupstore.reader import LOOKUP_BATCH, StreamReader
from dedupstore.records import IndexedPack

if TYPE_CHECKING:
    from dedupstore.repository import Repository

FirstVisit = Callable[[int, bytes, int], bool]  # depth, id, number

_RECORDS: dict[str, tuple[tuple[Kind, str, Any], ...]] = {
    "index": ((Kind.INDEX, "", records.Index),),
    "snapshots": ((Kind.SNAPSHOT, "", records.Snapshot),),
    "checkpoints": ((Kind.CHECKPOINT, "", records.Snapshot),),
    "runs": ((Kind.RUN, ".run", records.Run), (Kind.DONE, ".done", records.Done)),
}


@dataclass
class CheckResult:
    """What was looked at, and what is wrong: `damaged` holds one line for each finding."""

    damaged: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    snapshots: int = 0
    streams: int = 0
    chunks: int = 0


class Checker:
    """One check of one repository.  `report(what, done, of)` is called as it goes on."""

    def __init__(self, repository: "Repository", report: Callable[[str, int, int], None]) -> None:
        self._repository = repository
        self._report = report
        self._result = CheckResult()
        self._lost: list[int] = []
        self._missing: dict[str, set[bytes]] = {}  # packs that are not there, and the index files of each
        self._wrong: dict[bytes, str] = {}  # chunks and nodes that are, or lead to, what is missing

    def run(self, *, read_data: bool) -> CheckResult:
        """Check, and return what was found."""
        repository, result = self._repository, self._result
        repository.refresh_snapshots()
        repository.refresh_index()
        result.damaged += repository.alarms
        for folder in _RECORDS:
            self._records(folder)
        self._packs(read_data=read_data)
        self._recipes()
        self._excuse_missing()
        if self._lost:
            repository.cache.mark_lost(self._lost)
        if not repository.backend.durable:
            result.warnings.append(
                "the server cannot say that files are safely on its disk (it lacks fsync@openssh.com): "
                "a crash of the server may lose the newest backup, which the next run would notice"
            )
        result.damaged = list(dict.fromkeys(result.damaged))
        return result

    def _records(self, folder: str) -> None:
        backend, access = self._repository.backend, self._repository.access
        names = {entry.name: entry.size for entry in backend.list(folder)}
        for number, (name, size) in enumerate(sorted(names.items())):
            self._report(folder, number, len(names))
            for kind, ending, record in _RECORDS[folder]:
                if not name.endswith(ending):
                    continue
                try:
                    catalogue.open_record(access, kind, name, backend.read(name), record)
                except (DamageError, NotFoundError) as error:
                    self._result.damaged.append(str(error))
                self._result.files += 1
                self._result.bytes += size
        for name in names:
            run = layout.run_done(name)
            if run is not None and layout.run_file(run) not in names:
                self._result.damaged.append(f"{layout.run_file(run)} is missing, but {name} is there")

    def _packs(self, *, read_data: bool) -> None:
        repository, result = self._repository, self._result
        cache = repository.cache
        folders = [f"{kind.folder}/{n:02x}" for kind in (Kind.DATA, Kind.TREE) for n in range(256)]
        names = (
            cache.index_files()
        )  # before packs are listed: other processes of this host add to it meanwhile
        sizes = repository.pack_sizes(folders)
        lost: list[int] = []
        seen: set[str] = set()
        opened: set[str] = set()
        may_read = bool(repository.access.sealing_private)
        if read_data and not may_read:
            result.warnings.append(
                "without an admin's key, data packs were checked against their SHA-256 only, not opened"
            )
        for index, number, pack in ((name, *row) for name in names for row in cache.packs_of([name])):
            kind = Kind(pack.kind.encode())
            name = layout.content_file(kind, pack.name)
            self._report("packs", len(seen), len(sizes))
            if sizes.get(name) != pack.size:
                size = sizes.get(name)
                result.damaged.append(
                    f"{name} is missing"
                    if size is None
                    else f"{name} has {size} bytes where {pack.size} are expected"
                )
                if size is None:
                    self._missing.setdefault(name, set()).add(index)
                lost.append(number)
                seen.add(name)
                continue
            if name not in seen:
                result.files += 1
                result.bytes += pack.size
            if read_data:  # every entry that names the pack must say what the pack's own table says
                try:
                    self._read_pack(pack, open_blocks=name not in opened and (may_read or kind is Kind.TREE))
                except (DamageError, NotFoundError) as error:
                    result.damaged.append(str(error))
                opened.add(name)
            seen.add(name)
        self._lost = lost
        if spare := len(sizes.keys() - seen):
            result.warnings.append(
                f"{spare} packs are in no index file: a run was stopped before it indexed them"
            )

    def _excuse_missing(self) -> None:
        """Only warn of missing packs if all that they held is in others, so that nothing can ever need them.

        All else must be sound: what is damaged may be what should take their place.
        """
        result, repository = self._result, self._repository
        missing = {f"{name} is missing" for name in self._missing}
        if not missing or missing != {*result.damaged, *repository.damage}:
            return
        for digest in set().union(*self._missing.values()):
            name = layout.content_file(Kind.INDEX, digest)
            try:
                _, index = catalogue.open_record(
                    repository.access, Kind.INDEX, name, repository.backend.read(name), records.Index
                )
            except (DamageError, NotFoundError):
                return
            for pack in index.packs:
                file = layout.content_file(Kind(pack.kind.encode()), pack.name)
                if file in self._missing and not self._is_elsewhere(index.domain, pack):
                    return
        result.damaged = []
        result.warnings += [
            f"{line}, but no backup needs it any more: what it held is stored elsewhere"
            for line in sorted(missing)
        ]

    def _is_elsewhere(self, domain: str, pack: IndexedPack) -> bool:
        """Tell whether each chunk of a pack is in one that is not lost, too."""
        lost = set(self._lost)
        lengths = memoryview(pack.lengths).cast("I")
        ids = [pack.ids[at : at + 32] for at in range(0, len(pack.ids), 32)]
        return all(
            any(place.pack not in lost and place.length == length for place in places)
            for at in range(0, len(ids), LOOKUP_BATCH)
            for length, places in zip(
                lengths[at : at + LOOKUP_BATCH],
                self._repository.cache.locate(domain, ids[at : at + LOOKUP_BATCH]),
                strict=True,
            )
        )

    def _read_pack(self, claimed: CachedPack, *, open_blocks: bool) -> None:
        access = self._repository.access
        kind, digest = Kind(claimed.kind.encode()), claimed.name
        name = layout.content_file(kind, digest)
        data = memoryview(self._repository.backend.read(name))
        if layout.sha256(data) != digest:
            raise DamageError(f"{name} is not what its name says: its bytes have another SHA-256")
        entry = packs.read_table(
            access, kind, digest, len(data), lambda at, length: bytes(data[at : at + length])
        )
        if open_blocks:
            key = recipes.node_key(access.id_key) if kind is Kind.TREE else access.id_key
            for id_, chunk in self._chunks(kind, entry, data, name):
                self._result.chunks += 1
                if blake3(chunk, key=key).digest() != id_:
                    raise DamageError(f"{name} holds a chunk that is not {id_.hex()}, as its table says")
        if (entry.keys, entry.blocks, layout.sha256(entry.ids + entry.lengths)) != (
            claimed.keys,
            [(block.key, block.number, block.stored, block.chunks) for block in claimed.blocks],
            claimed.columns,
        ):
            raise DamageError(f"{name} is not described rightly by an index file that names it")

    def _chunks(
        self, kind: Kind, entry: IndexedPack, data: memoryview, name: str
    ) -> Iterator[tuple[bytes, memoryview]]:
        keys = [packs.open_key(self._repository.access, kind, key) for key in entry.keys]
        lengths = memoryview(entry.lengths).cast("I")
        at, chunk = layout.HEADER_SIZE, 0
        for key, number, stored, count in entry.blocks:
            size = sum(lengths[chunk : chunk + count])
            block = memoryview(blocks.open_block(keys[key], number, data[at : at + stored], size, name))
            at += stored
            start = 0
            for position in range(chunk, chunk + count):
                yield entry.ids[32 * position : 32 * position + 32], block[start : start + lengths[position]]
                start += lengths[position]
            chunk += count

    def _recipes(self) -> None:
        repository, result = self._repository, self._result
        snapshots = repository.snapshots()
        if unfinished := repository.unfinished():
            result.warnings.append(
                f"{unfinished} snapshots do not count: their runs were stopped, or their done records are gone"
            )
        with repository.cache.seen_scope() as seen:
            for number, snapshot in enumerate(snapshots):
                self._report("backups", number, len(snapshots))
                reader = StreamReader(repository, snapshot.domain, self._lost)
                fresh = partial(_first_visit, seen.add, snapshot.domain)
                result.snapshots += 1
                for stream in repository.streams(snapshot):
                    result.streams += 1
                    problems = [
                        self._visit(reader, root.depth, root.id, root.size if root.depth == 0 else 0, fresh)
                        for root in (stream.layout, stream.skeleton, stream.content)
                        if root.size
                    ]
                    for problem in [problem for problem in problems if problem][:1]:
                        result.damaged.append(
                            f"the backup of {stream.name} in snapshots/{snapshot.name.hex()[:16]}… "
                            f"cannot be restored whole: {problem}"
                        )

    def _visit(self, reader: StreamReader, depth: int, id_: bytes, number: int, fresh: FirstVisit) -> str:
        """Return what is wrong with a chunk (depth 0) or with all below a node; nothing if all is well.

        What many backups share is visited once; what is wrong with it is remembered for each of them.
        """
        if not fresh(depth, id_, number):
            return self._wrong.get(id_, "")
        problem = ""
        try:
            if depth == 0:
                reader.require([(id_, number)])
            else:
                (node,) = reader.nodes([id_], [number * recipes.ENTRY_SIZE])
                problem = self._below(reader, depth - 1, recipes.parse_node(node), fresh)
        except (DamageError, NotFoundError) as error:
            problem = error.message
        if problem:
            self._wrong[id_] = problem
        return problem

    def _below(
        self, reader: StreamReader, depth: int, entries: list[tuple[bytes, int]], fresh: FirstVisit
    ) -> str:
        if depth == 0:  # mostly all is well, and one look-up for all is quick
            unseen = [entry for entry in entries if fresh(0, *entry)]
            try:
                reader.require(unseen)
            except (DamageError, NotFoundError):
                for entry in unseen:
                    try:
                        reader.require([entry])
                    except (DamageError, NotFoundError) as error:
                        self._wrong[entry[0]] = error.message
            problems = [self._wrong.get(id_, "") for id_, _ in entries] if self._wrong else []
        else:
            problems = [self._visit(reader, depth, id_, number, fresh) for id_, number in entries]
        return next((problem for problem in problems if problem), "")


def _first_visit(add: Callable[[bytes], bool], domain: str, depth: int, id_: bytes, number: int) -> bool:
    """Tell whether this chunk or node, so described, was not visited before in this domain."""
    return add(struct.pack("<BI", depth, number) + id_ + layout.sha256(domain.encode())[:16])
