"""Check a repository: is everything there, is it what it says, can every backup be restored?

Invariant: nothing is changed in the repository, and the local cache is not trusted: it is rebuilt, every
record is read again, every pack is listed, every recipe is walked.  With `read_data` every byte of every pack is read.
Lost packs are marked in the cache, so that the next run of this host stores their chunks again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dedupstore.errors import DamageError, NewerFormatError, NotFoundError
from dedupstore.format import layout, pack_records, packs, record_files, run_records
from dedupstore.format.layout import Kind
from dedupstore.history import index_files
from dedupstore.maintenance.check_packs import PackReadings
from dedupstore.reading.recipe_walk import RecipeWalk
from dedupstore.reading.stream_reader import LOOKUP_BATCH, StreamReader

if TYPE_CHECKING:
    from dedupstore.core import Core

_RECORDS: dict[str, tuple[tuple[Kind, str, Any], ...]] = {
    "index": ((Kind.INDEX, "", pack_records.Index),),
    "snapshots": ((Kind.SNAPSHOT, "", run_records.Snapshot),),
    "checkpoints": ((Kind.CHECKPOINT, "", run_records.Snapshot),),
    "runs": (
        (Kind.RUN, ".run", run_records.Run),
        (Kind.DONE, ".done", run_records.Done),
        (Kind.ENDED, ".ended", run_records.Ended),
    ),
    "ledgers": ((Kind.LEDGER, "", run_records.Ledger),),
    "closings": ((Kind.CLOSING, "", run_records.Closing),),
    "condemned": ((Kind.CONDEMNED, "", run_records.Condemned),),
    "fences": ((Kind.FENCE, "", run_records.Fence),),
    "tombstones": ((Kind.TOMBSTONES, "", run_records.Tombstones),),
}
_RECORDS_AT_ONCE = {"index": 4, "runs": 64}  # index files are large


@dataclass
class CheckResult:
    """What was checked, and what is wrong: `damaged` holds one line for each finding."""

    damaged: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    snapshots: int = 0
    streams: int = 0
    chunks: int = 0


class Checker:
    """One check of one repository.  `report(what, done, of)` is called as it goes on."""

    def __init__(self, repository: "Core", report: Callable[[str, int, int], None]) -> None:
        self._repository = repository
        self._report = report
        self._result = CheckResult()
        self._lost: list[int] = []
        self._missing: dict[str, set[bytes]] = {}  # packs that are not there, and the index files of each

    def run(self, *, read_data: bool) -> CheckResult:
        """Check, and return what was found."""
        repository, result = self._repository, self._result
        repository.renew_cache()
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
        if not repository.backend.properties.durable:
            result.warnings.append(
                "the server cannot confirm that files are on its disk (no fsync@openssh.com): "
                "a crash of the server may lose the newest backup; the next run would detect that"
            )
        result.damaged = list(dict.fromkeys(result.damaged))
        return result

    def _records(self, folder: str) -> None:
        backend, access = self._repository.backend, self._repository.access
        names = {entry.name: entry.size for entry in backend.list(folder)}
        known = [
            (kind, name, record)
            for name in sorted(names)
            for kind, ending, record in _RECORDS[folder]
            if name.endswith(ending)
        ]

        def problem(what: tuple[Kind, str, Any]) -> str | None:
            kind, name, record = what
            try:
                signer, found = record_files.open_record(access, kind, name, backend.read(name), record)
                if kind is Kind.INDEX:
                    index_files.describe(access, layout.digest_of(name) or b"", signer, found)
            except NewerFormatError as error:
                self._result.warnings.append(str(error))
            except (DamageError, NotFoundError) as error:
                return str(error)
            return None

        at_once = _RECORDS_AT_ONCE.get(folder, 16)
        for number, problems in enumerate(self._repository.fetch(known, problem, at_once)):
            self._report(folder, number * at_once, len(names))
            self._result.damaged += problems
        self._result.files += len(known)
        self._result.bytes += sum(names[name] for _, name, _ in known)

    def _packs(self, *, read_data: bool) -> None:
        repository, result = self._repository, self._result
        cache = repository.cache
        folders = [f"{kind.folder}/{n:02x}" for kind in (Kind.DATA, Kind.TREE) for n in range(256)]
        # before packs are listed: other processes of this host add to it meanwhile
        names = sorted(cache.index_files())
        sizes = repository.pack_sizes(folders)
        lost: list[int] = []
        seen: set[str] = set()
        opened: set[str] = set()
        may_read = bool(repository.access.sealing_private)
        if read_data and not may_read:
            result.warnings.append(
                "without an admin's key, data packs were checked against their SHA-256 only, not opened"
            )
        with PackReadings(
            repository.backend, repository.access, result.damaged.append, result.warnings.append
        ) as readings:
            for digest, number, pack in ((name, *row) for name in names for row in cache.packs_of([name])):
                name = pack.file
                self._report("packs", len(seen), len(sizes))
                if sizes.get(name) != pack.size:
                    size = sizes.get(name)
                    readings.note(
                        f"{name} is missing"
                        if size is None
                        else f"{name} has {size} bytes where {pack.size} are expected"
                    )
                    if size is None:
                        self._missing.setdefault(name, set()).add(digest)
                    lost.append(number)
                    seen.add(name)
                    continue
                if name not in seen:
                    result.files += 1
                    result.bytes += pack.size
                if read_data:  # every entry that names the pack must say what the pack's own table says
                    domain = cache.domain_of(number)
                    readings.read(
                        pack,
                        domain,
                        open_blocks=name not in opened and (may_read or pack.file_kind is Kind.TREE),
                    )
                    opened.add(name)
                seen.add(name)
        result.chunks += readings.chunks
        self._lost = lost
        if spare := len(sizes.keys() - seen):
            result.warnings.append(f"{spare} packs are in no index file: a run stopped before indexing them")

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
                signer, index = record_files.open_record(
                    repository.access, Kind.INDEX, name, repository.backend.read(name), pack_records.Index
                )
                described = index_files.describe(repository.access, digest, signer, index)
            except (DamageError, NotFoundError):
                return
            for pack, held in zip(index.packs, described.packs, strict=True):
                if pack.file in self._missing and not self._is_elsewhere(index.domain, held):
                    return
        result.damaged = []
        result.warnings += [
            f"{line}, but no backup needs it any more: its contents are stored elsewhere"
            for line in sorted(missing)
        ]

    def _is_elsewhere(self, domain: str, pack: packs.Described) -> bool:
        """Return whether each chunk of a pack is in one that is not lost, too."""
        lost = set(self._lost)
        lengths, size = pack.lengths, layout.SHORT_ID
        ids = [pack.ids[at : at + size] for at in range(0, len(pack.ids), size)]
        return all(
            any(place.pack not in lost and place.length == length for place in places)
            for at in range(0, len(ids), LOOKUP_BATCH)
            for length, places in zip(
                lengths[at : at + LOOKUP_BATCH],
                self._repository.cache.locate(domain, ids[at : at + LOOKUP_BATCH]),
                strict=True,
            )
        )

    def _recipes(self) -> None:
        repository, result = self._repository, self._result
        snapshots = repository.snapshots()
        if unfinished := repository.unfinished():
            result.warnings.append(
                f"{unfinished} snapshots do not count: their runs were stopped, or their done records are gone"
            )
        wrong: dict[str, dict[bytes, str]] = {}  # by domain
        with repository.cache.seen_scope() as seen:
            for number, snapshot in enumerate(snapshots):
                self._report("backups", number, len(snapshots))
                reader = StreamReader(repository, snapshot.domain, self._lost)
                walk = RecipeWalk(reader, snapshot.domain, seen, wrong.setdefault(snapshot.domain, {}))
                result.snapshots += 1
                for stream in repository.streams(snapshot):
                    result.streams += 1
                    if problem := walk.visit(stream):
                        result.damaged.append(
                            f"the backup of {stream.name} in snapshots/{snapshot.name.hex()[:16]}… "
                            f"cannot be restored whole: {problem}"
                        )
