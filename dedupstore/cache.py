"""The local index cache: which chunks are stored and where, and the snapshots, as verified files said it.

Invariant: it holds nothing but what verified, durable files of the repository say, and every row names the
file that it came from; so it can be thrown away at any time, and is, at the first doubt.  An index file is
listed when all its rows are there.  What a process that died left half added or half removed is gone before
an index file is listed again.  Memory does not grow with the cache: rows are on disk, transactions small.

    cache        this module: the tables, and what is asked of them
    cache_rows   the bytes of a row
    cache_file   the LMDB file: opened safely, shared, thrown away

Processes of one user share a cache, threads an `IndexCache`.  Every method raises `StateError` if the folder
cannot be used (a full disk, say).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dedupstore import cache_rows, layout, records
from dedupstore.cache_file import CacheFile, ScratchSet
from dedupstore.cache_rows import CachedBlock, CachedPack, FileRow, Location, Row
from dedupstore.errors import DamageError, StateError

if TYPE_CHECKING:
    import lmdb

__all__ = ["CachedBlock", "CachedPack", "IndexCache", "Location"]


class IndexCache:
    """The cache of one repository (its id, 16 bytes) in `folder`, which is made (mode 0700) if need be."""

    def __init__(self, folder: Path, repository: bytes) -> None:
        identity = b"%d:%s" % (cache_rows.SCHEMA, repository)
        self._attach(CacheFile(folder, identity, cache_rows.TABLES))
        try:
            self.index_files()
        except StateError:
            self._file.close()
            if not self._file.thrown_away:
                raise
            self._attach(CacheFile(folder, identity, cache_rows.TABLES))

    def _attach(self, file: CacheFile) -> None:
        self._file = file
        tables = file.tables
        self._files, self._packs, self._chunks = tables["files"], tables["packs"], tables["chunks"]
        self._doomed, self._domains, self._counters = tables["doomed"], tables["domains"], tables["counters"]
        self._headers, self._payloads = tables["headers"], tables["payloads"]
        self._prefixes: dict[str, bytes] = {}
        self._trust: tuple[Collection[int], tuple[int, int, int], bool] = (), (0, 0, 0), False

    def close(self) -> None:
        """Free the file; twice does no harm."""
        self._file.close()

    def throw_away(self) -> None:
        """Have the cache made anew when it is next opened: it was found at odds with the repository."""
        self._file.throw_away()

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

    def add_index(self, name: bytes, index: records.Index) -> range:
        """Add what a verified index file says, durably, and return its packs' numbers; twice does no harm.

        Raises `DamageError` if it says what cannot be.
        """
        packs = [cache_rows.describe(pack, name) for pack in index.packs]
        with self._file.writing():
            with self._begin() as txn:
                value = txn.get(name, db=self._files)
                first = self._next_pack(txn)
                prefix = self._prefix(txn, index.domain)
                if prefix is None:
                    prefix = cache_rows.PREFIX.pack(txn.stat(self._domains)["entries"])
            if value is not None:
                if (old := FileRow.decode(value)).complete:
                    return old.numbers
                self._remove([name], ())
            row = FileRow(index.time, first, len(packs), complete=False, verified=False)
            rows = cache_rows.batches(prefix, first, index.packs)
            # small transactions: memory stays flat, and an index file without its last one is removed again
            batch: list[Row] | None = next(rows, [])
            while batch is not None:
                following = next(rows, None)
                with self._begin(write=True) as txn:
                    for number, pack in enumerate(packs, first):
                        txn.put(
                            cache_rows.number_key(number),
                            cache_rows.encode_pack(index.time, name, pack),
                            db=self._packs,
                        )
                    txn.put(cache_rows.domain_key(index.domain), prefix, db=self._domains)
                    txn.put(b"next pack", cache_rows.number_key(first + row.packs), db=self._counters)
                    txn.put(name, row._replace(complete=following is None).encode(), db=self._files)
                    txn.cursor(self._chunks).putmulti(batch)
                packs, batch = [], following
        return row.numbers

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

    # -- packs and chunks

    def next_pack(self) -> int:
        """Return the number that the next pack will get; no index file is half added below it."""
        with self._file.writing():
            rows, _ = self._file_rows()
            self._remove([name for name, row in rows.items() if not row.complete], ())
            with self._begin() as txn:
                return self._next_pack(txn)

    def known(
        self, domain: str, ids: Sequence[bytes], below: int = cache_rows.NO_PACK, own: Collection[int] = ()
    ) -> list[bool]:
        """Tell for each id whether a pack with a number `below` that, or one of `own`, holds it."""
        with self._file.guard(), self._begin() as txn:
            prefix = self._prefix(txn, domain)
            if prefix is None:
                return [False] * len(ids)
            cursor = txn.cursor(self._chunks)
            seek = cursor.set_key  # the fastest of py-lmdb's ways to ask
            if self._all_trusted(txn, below, own):
                return [seek(prefix + id_) for id_ in ids]

            def trusted() -> bool:
                while (pack := cache_rows.pack_of(cursor.value())) >= below and pack not in own:
                    if not cursor.next_dup():
                        return False
                return True

            return [seek(prefix + id_) and trusted() for id_ in ids]

    def _all_trusted(self, txn: "lmdb.Transaction[bytes]", below: int, own: Collection[int]) -> bool:
        """Tell whether all packs are `below` or `own`, as they are unless two runs meet: twice as fast."""
        state = (below, self._next_pack(txn), len(own))
        if self._trust[0] is not own or self._trust[1] != state:
            self._trust = own, state, all(number in own for number in range(*state[:2]))
        return self._trust[2]

    def locate(self, domain: str, ids: Sequence[bytes]) -> list[list[Location]]:
        """Return for each id its copies in the domain, the oldest first by (index file's time, its name)."""
        found: list[list[Location]] = []
        with self._file.guard(), self._begin() as txn:
            prefix = self._prefix(txn, domain)
            if prefix is None:
                return [[] for _ in ids]
            cursor = txn.cursor(self._chunks)
            for id_ in ids:
                if not cursor.set_key(prefix + id_):
                    found.append([])
                elif cursor.count() == 1:
                    found.append([cache_rows.location(cursor.value())])
                else:
                    places = [cache_rows.location(value) for value in cursor.iternext_dup()]
                    places.sort(key=lambda place: self._order(txn, place.pack))
                    found.append(places)
        return found

    def some_pack(self, domain: str, ids: Sequence[bytes]) -> list[int]:
        """Return for each id the number (from 1) of a pack that has it, 0 if none has: cheaper than `locate`."""
        with self._file.guard(), self._begin() as txn:
            prefix = self._prefix(txn, domain)
            if prefix is None:
                return [0] * len(ids)
            cursor = txn.cursor(self._chunks)
            return [cache_rows.pack_of(cursor.value()) if cursor.set_key(prefix + id_) else 0 for id_ in ids]

    def pack(self, number: int) -> CachedPack:
        """Return the pack of that number, which came from `locate` or `packs_of`."""
        with self._file.guard(), self._begin() as txn:
            row = txn.get(cache_rows.number_key(number), db=self._packs)
            if row is None:
                raise self._gone(f"pack {number}")
            return cache_rows.decode_pack(row)

    def packs_of(self, names: Collection[bytes]) -> Iterator[tuple[int, CachedPack]]:
        """Yield the packs that these index files name, but those marked as lost, with their numbers."""
        for name in names:
            with self._file.guard(), self._begin() as txn:
                value = txn.get(name, db=self._files)
                numbers = FileRow.decode(value).numbers if value else range(0)
                rows = [
                    (number, txn.get(cache_rows.number_key(number), db=self._packs)) for number in numbers
                ]
                packs = [(number, cache_rows.decode_pack(row)) for number, row in rows if row is not None]
            yield from packs

    def mark_lost(self, numbers: Collection[int]) -> None:
        """Remove packs that are not in the back end, so that their chunks are neither known nor located.

        Their index files stay, as ones `with_lost_packs`; drop and add one to believe it again.
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
        from dedupstore import compression  # takes longer to load than all else that `list` needs

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
        from dedupstore import compression

        with self._file.guard():
            with self._begin() as txn:
                value = txn.get(name, db=self._payloads)
                if value is None and txn.get(name, db=self._headers) is not None:
                    raise DamageError("a snapshot's payload is missing")
            if value is None:
                raise self._gone(f"snapshot {name.hex()}")
            if value[0] == 0:
                return value[1:]
            size = min(compression.stated_size(value[1:], name.hex()), layout.MAX_UNPACKED)
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
        row = txn.get(cache_rows.number_key(number), db=self._packs)
        if row is None:
            raise DamageError("a chunk's pack is missing")
        return row[: cache_rows.ORDER_SIZE]

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
            prefix = txn.get(cache_rows.domain_key(domain), db=self._domains)
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
                txn.put(cache_rows.number_key(number), b"", db=self._doomed)
        with self._begin() as txn:
            doomed = {int.from_bytes(key, "big") for key, _ in txn.cursor(self._doomed)}
        start: bytes | None = b"\0" if doomed else None
        while start is not None:
            start = self._remove_chunks(doomed, start)
        remaining = iter(doomed)
        while batch := list(islice(remaining, cache_rows.BATCH_ROWS)):
            with self._begin(write=True) as txn:
                for number in batch:
                    txn.delete(cache_rows.number_key(number), db=self._packs)
                    txn.delete(cache_rows.number_key(number), db=self._doomed)

    def _remove_chunks(self, doomed: set[int], start: bytes) -> bytes | None:
        """Remove some rows of doomed packs from key `start` on; return the key to go on from."""
        rows = []
        following = None
        with self._begin() as txn:
            cursor = txn.cursor(self._chunks)
            cursor.set_range(start)
            for key, value in cursor:
                if cache_rows.pack_of(value) in doomed:
                    rows.append((key, value))
                    if len(rows) == cache_rows.BATCH_ROWS:
                        following = key
                        break
        with self._begin(write=True) as txn:
            for key, value in rows:
                txn.delete(key, value, db=self._chunks)
        return following
