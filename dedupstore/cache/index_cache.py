"""The local index cache: which chunks are stored and where, and the snapshots, as verified files say.

Invariant: it holds nothing but what verified, durable files of the repository say, and every row names the
file that it came from; so it can be discarded at any time, and is, at the first doubt.  An index file is
listed when all its rows are there.  What a process that died left half added or half removed is gone before
an index file is listed again.  Memory does not grow with the cache: rows are on disk, transactions small.

Processes of one user share a cache, threads an `IndexCache`.  Every method raises `StateError` if the folder
cannot be used (a full disk, say), and `DamagedStateError` when damage comes to light: then the cache is
discarded, and rebuilt when it is next opened.  Files that are missing or cut short come to light while it is opened.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dedupstore.cache import row_formats
from dedupstore.cache.all_hints import Hints
from dedupstore.cache.column_files import Columns
from dedupstore.cache.file import CacheFile, ScratchSet
from dedupstore.cache.row_formats import CachedBlock, CachedPack, DescribedIndex, FileRow, Location, Span
from dedupstore.cache.search import Search
from dedupstore.cache.small_records import RecordRows
from dedupstore.errors import DamagedStateError, DamageError, StateError
from dedupstore.format import layout, records

if TYPE_CHECKING:
    import lmdb

__all__ = ["CachedBlock", "CachedPack", "DescribedIndex", "IndexCache", "Location", "Span"]

_ATTEMPTS = 10  # at opening files that others merge meanwhile
_AT_ONCE = 1024  # packs removed in one transaction


class IndexCache:
    """The cache of one repository (its id, 16 bytes) in `folder`, which is made (mode 0700) if need be."""

    def __init__(self, folder: Path, repository: bytes) -> None:
        self._folder = folder
        self._identity = b"%d:%s" % (row_formats.SCHEMA, repository)
        self._attach()
        try:
            self.index_files()
            self._require_files()
        except StateError as error:
            self._file.close()
            if not isinstance(error, DamagedStateError):
                raise
            self._attach()

    def _attach(self) -> None:
        self._file = file = CacheFile(self._folder, self._identity, row_formats.TABLES)
        tables = file.tables
        self._files, self._packs = tables["files"], tables["packs"]
        self._doomed, self._domains, self._counters = tables["doomed"], tables["domains"], tables["counters"]
        self._headers, self._payloads = tables["headers"], tables["payloads"]
        self._replaced, self._rejected = tables["replaced"], tables["rejected"]
        self.records = RecordRows(file)
        self._hints, self._columns = Hints(file), Columns(file)
        self._prefixes: dict[str, bytes] = {}
        self._trust: tuple[Collection[int], tuple[int, int, int], bool] = (), (0, 0, 0), False

    def close(self) -> None:
        """Free the file; twice does no harm."""
        self._file.close()

    def discard(self) -> None:
        """Discard the cache, as it contradicts the repository: the next opening makes a new one."""
        self._file.discard()

    def renew(self) -> None:
        """Continue with an empty cache; other processes that have this one open keep it.

        No other thread may be using it.
        """
        self._file.discard()
        self._file.close()
        self._attach()

    def _require_files(self) -> None:
        """Require that all files beside LMDB's exist and are complete."""
        with self._file.guard():
            whole = self._files_are_whole()
        if not whole:  # or they are just being merged, or dropped
            with self._file.writing():
                if not self._files_are_whole():
                    raise DamageError("a file beside it is missing or cut short")

    def _files_are_whole(self) -> bool:
        with self._begin() as txn:
            return self._hints.are_whole(txn) and self._columns.are_whole(txn)

    # -- index files

    def index_files(self) -> set[bytes]:
        """Return the names of the index files whose rows are all there."""
        with self._file.guard():
            rows, unsettled = self._file_rows()
        if unsettled:  # by a process that died, or is still at work: then wait for it
            with self._file.writing():
                rows, _ = self._file_rows()
                self._remove([name for name, row in rows.items() if not row.complete], ())
        return {name for name, row in rows.items() if row.complete}

    def add_index(self, name: bytes, described: DescribedIndex) -> range:
        """Add what a verified index file says, durably, and return its packs' numbers; twice does no harm."""
        index, packs = described.record, described.packs
        rows = [row_formats.cached_pack(*pair) for pair in zip(index.packs, packs, strict=True)]
        with self._file.writing():
            with self._begin() as txn:
                value = txn.get(name, db=self._files)
                first = self._next_pack(txn)
                prefix = self._prefix(txn, index.domain)
                if prefix is None:
                    prefix = row_formats.PREFIX.pack(txn.stat(self._domains)["entries"])
            if value is not None:
                if (old := FileRow.decode(value)).complete:
                    return old.numbers
                self._remove([name], ())
            row = FileRow(
                index.time, first, len(packs), complete=False, verified=False, signer=described.signer
            )
            chunks = [len(pack.lengths) for pack in packs]
            place = self._columns.write(row_formats.columns(packs))
            batches = row_formats.hints(first, packs)
            # small transactions: memory stays flat, and an index file without its last one is removed again
            batch: list[bytes] | None = next(batches)
            while batch is not None:
                following = next(batches, None)
                with self._begin(write=True) as txn:
                    for old_name in records.names(index.replaces) if following is None else ():
                        txn.put(old_name, name, db=self._replaced)
                    if rows:
                        for number, pack in enumerate(rows, first):
                            value = row_formats.encode_pack(index.time, name, pack)
                            txn.put(row_formats.number_key(number), value, db=self._packs)
                        txn.put(row_formats.domain_key(index.domain), prefix, db=self._domains)
                        txn.put(b"next pack", row_formats.number_key(first + row.packs), db=self._counters)
                        self._columns.note(txn, prefix, first, chunks, place)
                    txn.put(name, row._replace(complete=following is None).encode(), db=self._files)
                    self._hints.add(txn, prefix, batch)
                self._file.pages.limit()
                rows, batch = [], following
            self._hints.settle(prefix)
        return row.numbers

    def index_signers(self) -> dict[bytes, bytes]:
        """Return the signer of each index file whose rows are all there."""
        with self._file.guard():
            rows, _ = self._file_rows()
        return {name: row.signer for name, row in rows.items() if row.complete}

    def stands_for(self, name: bytes) -> bytes | None:
        """Return the index file, one that is in the cache, that stands for another, perhaps through more of them."""
        passed = set()
        with self._file.guard(), self._begin() as txn:
            last: bytes | None = name
            while last is not None and last not in passed and txn.get(last, db=self._files) is None:
                passed.add(last)
                last = txn.get(last, db=self._replaced)
        return None if last in passed else last

    def numbers(self, index: Collection[bytes], packs: Collection[bytes]) -> set[int]:
        """Return the numbers of all packs that these index files name, and of those with these names."""
        with self._file.guard(), self._begin() as txn:
            files = [txn.get(name, db=self._files) for name in index]
            found = {number for value in files if value for number in FileRow.decode(value).numbers}
            if packs:
                found |= {
                    int.from_bytes(key, "big")
                    for key, value in txn.cursor(self._packs)
                    if row_formats.decode_pack(value).name in packs
                }
        return found

    def drop_index(self, names: Collection[bytes]) -> None:
        """Remove all rows of these index files."""
        with self._file.writing():
            self._remove(names, ())

    def unverified(self) -> set[bytes]:
        """Return the index files whose packs were not yet seen in the back end."""
        with self._file.guard():
            rows, _ = self._file_rows()
        return {name for name, row in rows.items() if row.complete and not row.verified}

    def mark_verified(self, names: Collection[bytes]) -> None:
        """Note that the packs of these index files were seen in the back end, or marked as lost."""
        with self._file.writing(), self._begin(write=True) as txn:
            for name in names:
                if value := txn.get(name, db=self._files):
                    txn.put(name, FileRow.decode(value)._replace(verified=True).encode(), db=self._files)

    # -- files that were refused

    def reject(self, file: str, roster: bytes, reason: str) -> None:
        """Note why a file was refused under a roster (its SHA-256), so that it is not read again for that."""
        with self._file.writing(), self._begin(write=True) as txn:
            txn.put(file.encode(), roster + reason.encode(), db=self._rejected)

    def rejected(self, roster: bytes) -> dict[str, str]:
        """Return the files that were refused under this roster, and why; what others had refused is forgotten."""
        with self._file.guard(), self._begin() as txn:
            rows = list(txn.cursor(self._rejected))
        found = {key.decode(): value[32:].decode() for key, value in rows if value[:32] == roster}
        if len(found) < len(rows):
            with self._file.writing(), self._begin(write=True) as txn:
                for key, value in rows:
                    if value[:32] != roster:
                        txn.delete(key, db=self._rejected)
        return found

    # -- packs and chunks

    def next_pack(self) -> int:
        """Return the number that the next pack will get; no index file is half added below it."""
        with self._file.writing():
            rows, _ = self._file_rows()
            self._remove([name for name, row in rows.items() if not row.complete], ())
            with self._begin() as txn:
                return self._next_pack(txn)

    def known(
        self,
        domain: str,
        ids: Sequence[bytes],
        below: int = row_formats.NO_PACK,
        own: Collection[int] = (),
        condemned: Collection[int] = (),
    ) -> list[bool]:
        """Return for each id whether a pack with a number `below` that, or one of `own`, holds it.

        Packs that are `condemned` hold nothing that can be relied on.
        """
        with self._search(domain) as (txn, search):
            if search is None:
                return [False] * len(ids)
            if not condemned and self._all_trusted(txn, below, own):
                return list(map(bool, search.packs(ids)))
            return list(
                map(
                    bool,
                    search.packs(ids, lambda pack: (pack < below or pack in own) and pack not in condemned),
                )
            )

    def _all_trusted(self, txn: "lmdb.Transaction[bytes]", below: int, own: Collection[int]) -> bool:
        """Return whether all packs are `below` or `own`, as they are unless two runs meet."""
        state, trust = (below, self._next_pack(txn), len(own)), self._trust
        if trust[0] is not own or trust[1] != state:
            trust = self._trust = own, state, all(number in own for number in range(*state[:2]))
        return trust[2]

    def locate(self, domain: str, ids: Sequence[bytes]) -> list[list[Location]]:
        """Return for each id its copies in the domain, the oldest first by (index file's time, its name)."""
        with self._search(domain) as (txn, search):
            if search is None:
                return [[] for _ in ids]
            found = [search.copies(id_) for id_ in ids]
            for places in found:
                if len(places) > 1:
                    places.sort(key=lambda place: (self._order(txn, place.pack), place))
        return found

    def some_pack(self, domain: str, ids: Sequence[bytes]) -> list[int]:
        """Return for each id the number (from 1) of a pack that has it, 0 if none has: cheaper than `locate`."""
        with self._search(domain) as (_, search):
            return [0] * len(ids) if search is None else search.packs(ids)

    def spans(self, domain: str, ids: Sequence[bytes], lengths: list[int]) -> list[Span]:
        """Return one of the copies of each chunk that has one of this length: cheaper than `locate`.

        They are in the order of the ids, joined where they follow each other in a block.
        """
        with self._search(domain) as (_, search):
            return [] if search is None else list(search.spans(ids, lengths))

    @contextmanager
    def _search(self, domain: str) -> "Iterator[tuple[lmdb.Transaction[bytes], Search | None]]":
        """Give a transaction, and in it the domain's chunks, or None for a domain without any."""
        self._file.pages.limit()
        with self._file.guard():
            for _ in range(_ATTEMPTS):
                with self._begin() as txn:
                    prefix, search = self._prefix(txn, domain), None
                    if prefix is not None:
                        if (files := self._hints.files(txn, prefix)) is None:
                            continue
                        recent = self._file.tables["recent"]
                        search = Search(txn, prefix, recent, files, self._columns)
                    yield txn, search
                    return
            raise DamageError("a file of hints is missing")

    def pack(self, number: int) -> CachedPack:
        """Return the pack of that number, which came from `locate` or `packs_of`."""
        self._file.pages.limit()
        with self._file.guard(), self._begin() as txn:
            row = txn.get(row_formats.number_key(number), db=self._packs)
            if row is None:
                raise self._gone(f"pack {number}")
            return row_formats.decode_pack(row)

    def domain_of(self, number: int) -> bytes:
        """Return the key of a pack's domain, as `row_formats.domain_key` gives it."""
        with self._file.guard(), self._begin() as txn:
            piece = self._columns.piece(txn, number)
            for key, prefix in txn.cursor(self._domains):
                if piece is not None and prefix == piece.prefix:
                    return key
        raise self._gone(f"pack {number}")

    def packs_of(self, names: Collection[bytes]) -> Iterator[tuple[int, CachedPack]]:
        """Yield the packs that these index files name, but those marked as lost, with their numbers."""
        for name in names:
            self._file.pages.limit()
            with self._file.guard(), self._begin() as txn:
                value = txn.get(name, db=self._files)
                numbers = FileRow.decode(value).numbers if value else range(0)
                rows = [
                    (number, txn.get(row_formats.number_key(number), db=self._packs)) for number in numbers
                ]
                packs = [(number, row_formats.decode_pack(row)) for number, row in rows if row is not None]
            yield from packs

    def mark_lost(self, numbers: Collection[int]) -> None:
        """Remove packs that are not in the back end, so that their chunks are neither known nor located.

        Their index files stay, as ones `with_lost_packs`; drop and add one to trust it again.
        """
        lost = set(numbers)
        with self._file.writing():
            rows, _ = self._file_rows()
            with self._begin(write=True) as txn:
                for name, row in rows.items():
                    if not lost.isdisjoint(row.numbers):
                        txn.put(name, row._replace(lost=True).encode(), db=self._files)
            self._remove((), lost)

    def with_lost_packs(self) -> set[bytes]:
        """Return the index files of which `mark_lost` removed packs."""
        with self._file.guard():
            return {name for name, row in self._file_rows()[0].items() if row.lost}

    # -- snapshots

    def snapshot_names(self) -> set[bytes]:
        """Return the names of the snapshots that are there."""
        with self._file.guard(), self._begin() as txn:
            return set(txn.cursor(self._headers).iternext(values=False))

    def add_snapshots(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Add or replace verified snapshots (name, header and payload of each) in one transaction."""
        from dedupstore.format import compression  # takes longer to load than all else that `list` needs

        stored = [
            (name, header, min(b"\0" + payload, b"\1" + compression.pack(payload), key=len))
            for name, header, payload in rows
        ]
        with self._file.writing(), self._begin(write=True) as txn:
            for name, header, payload in stored:
                txn.put(name, header, db=self._headers)
                txn.put(name, payload, db=self._payloads)

    def drop_snapshots(self, names: Collection[bytes]) -> None:
        """Remove snapshots."""
        with self._file.writing(), self._begin(write=True) as txn:
            for name in names:
                txn.delete(name, db=self._headers)
                txn.delete(name, db=self._payloads)

    def snapshot_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the name and header of each snapshot."""
        with self._file.guard(), self._begin() as txn:
            return list(txn.cursor(self._headers))

    def snapshot_payload(self, name: bytes) -> bytes:
        """Return a snapshot's payload."""
        from dedupstore.format import compression

        with self._file.guard():
            with self._begin() as txn:
                value = txn.get(name, db=self._payloads)
                if value is None and txn.get(name, db=self._headers) is not None:
                    raise DamageError("a snapshot's payload is missing")
            if value is None:
                raise self._gone(f"snapshot {name.hex()}")
            if value[0] == 0:
                return value[1:]
            size = min(compression.stated_size(value[1:], name.hex()), layout.MAX_FILE)
            return compression.unpack(value[1:], size, name.hex())

    def seen_scope(self) -> AbstractContextManager[ScratchSet]:
        """Give an empty set on disk, with `add(item) -> bool` (True if new), that vanishes with the context."""
        return self._file.scratch()

    # -- rows

    def _begin(self, *, write: bool = False) -> "lmdb.Transaction[bytes]":
        return self._file.environment.begin(write=write)

    def _file_rows(self) -> tuple[dict[bytes, FileRow], bool]:
        """Return the index files, and whether adding or removing rows was begun but not ended."""
        with self._begin() as txn:
            rows = {name: FileRow.decode(value) for name, value in txn.cursor(self._files)}
            unsettled = txn.cursor(self._doomed).first() or not all(row.complete for row in rows.values())
        return rows, unsettled

    def _order(self, txn: "lmdb.Transaction[bytes]", number: int) -> bytes:
        row = txn.get(row_formats.number_key(number), db=self._packs)
        if row is None:
            raise DamageError("a chunk's pack is missing")
        return row[: row_formats.ORDER_SIZE]

    def _gone(self, what: str) -> StateError:
        return StateError(
            f"the index cache {self._file.path} no longer holds {what}",
            "another process dropped it: run it again",
        )

    def _next_pack(self, txn: "lmdb.Transaction[bytes]") -> int:
        return int.from_bytes(txn.get(b"next pack", b"\1", db=self._counters), "big")

    def _prefix(self, txn: "lmdb.Transaction[bytes]", domain: str) -> bytes | None:
        """Return what the keys of a domain's chunks begin with, or None for a domain without any."""
        prefix = self._prefixes.get(domain)
        if prefix is None:
            prefix = txn.get(row_formats.domain_key(domain), db=self._domains)
            if prefix is not None:
                self._prefixes[domain] = prefix
        return prefix

    def _remove(self, names: Iterable[bytes], numbers: Iterable[int]) -> None:
        """Remove index files and packs with all their rows, and those whose removal was begun before.

        First they are condemned, in one transaction; a process that dies later leaves the rest to the next.
        """
        with self._begin(write=True) as txn:
            doomed = set(numbers)
            for name in names:
                if value := txn.pop(name, db=self._files):
                    doomed.update(FileRow.decode(value).numbers)
            for number in doomed:
                txn.put(row_formats.number_key(number), b"", db=self._doomed)
        with self._begin() as txn:
            doomed = {int.from_bytes(key, "big") for key, _ in txn.cursor(self._doomed)}
        remaining = iter(doomed)
        while some := list(islice(remaining, _AT_ONCE)):
            with self._begin(write=True) as txn:
                for number in some:
                    self._columns.remove(txn, number)
                    txn.delete(row_formats.number_key(number), db=self._packs)
                    txn.delete(row_formats.number_key(number), db=self._doomed)
        if doomed:
            self._columns.tidy()
