"""The local index cache: which chunks are stored and where, and the snapshots, as verified files said it.

Invariant: it holds nothing but what verified, durable files of the repository say, and every row names the file that it came from;
so it can be thrown away at any time, and is, at the first doubt.  A file's rows are looked up only together with its
record; those of a file that is gone, or of a pack that is lost, are removed before `index_files` or any new `IndexCache`
says anything.  Memory does not grow with the cache: rows are on disk, transactions are small.

    cache        this module: the tables and what is asked of them
    cache_rows   the bytes of a row
    cache_file   the LMDB file: opened safely, shared, thrown away

Processes of one user share it; threads share one `IndexCache`.  Every method raises `StateError` if the
folder cannot be used (a full disk, say).
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dedupstore import layout, records
from dedupstore.cache_file import META, CacheFile, ScratchSet
from dedupstore.cache_rows import (
    BATCH_ROWS,
    ORDER_SIZE,
    CachedBlock,
    CachedPack,
    FileRow,
    Location,
    batches,
    decode_pack,
    describe,
    encode_pack,
    location,
    number_key,
    pack_of,
)
from dedupstore.errors import DamageError, StateError

if TYPE_CHECKING:
    import lmdb

__all__ = ["CachedBlock", "CachedPack", "IndexCache", "Location"]

SCHEMA = 1
SNAPSHOT_BATCH = 8 << 20  # bytes of payload in one transaction
TABLES: dict[str, dict[str, bool]] = {
    META: {},  # identity, list of domains, next pack number
    "files": {},  # index file name -> FileRow
    "packs": {},  # number -> order, CachedPack
    "chunks": {"dupsort": True, "dupfixed": True},  # domain's number, id -> locations
    "doomed": {},  # numbers of packs whose rows are to be removed
    "headers": {},  # snapshot name -> header
    "payloads": {},  # snapshot name -> payload
}


class IndexCache:
    """The cache of one repository (its id, 16 bytes) in `folder`, which is made (mode 0700) if need be."""

    def __init__(self, folder: Path, repository: bytes) -> None:
        self._file = CacheFile(folder, b"%d:%s" % (SCHEMA, repository), TABLES)
        tables = self._file.tables
        self._meta, self._files, self._packs = tables[META], tables["files"], tables["packs"]
        self._chunks, self._doomed = tables["chunks"], tables["doomed"]
        self._headers, self._payloads = tables["headers"], tables["payloads"]
        self._prefixes: dict[str, bytes] = {}  # a domain's number never changes
        self.index_files()

    def close(self) -> None:
        """Free the file; twice does no harm."""
        self._file.close()

    # -- index files

    def index_files(self) -> set[bytes]:
        """Return the names of the index files whose rows are all there."""
        with self._file.guard():
            rows, unsettled = self._file_rows()
        if unsettled:  # by a process that died, or is still at work: then wait for it
            with self._file.writing():
                self._settle()
                rows, _ = self._file_rows()
        return {name for name, row in rows.items() if row.complete}

    def add_index(self, name: bytes, index: records.Index) -> None:
        """Add what a verified index file says, durably; if it is there already, do nothing.

        Raises `DamageError` if it says what cannot be.
        """
        packs = [describe(pack, name) for pack in index.packs]
        with self._file.writing():
            self._settle()
            with self._begin(write=True) as txn:
                if txn.get(name, db=self._files) is not None:
                    return
                prefix = self._new_prefix(txn, index.domain)
                first = int.from_bytes(txn.get(b"next pack", b"\0", db=self._meta), "big")
            row = FileRow(index.time, first, len(packs), complete=False, verified=False)
            rows = batches(prefix, first, index.packs)
            # small transactions: memory stays flat, and an index file without its last one is removed again
            batch = next(rows, [])
            while batch is not None:
                following = next(rows, None)
                with self._begin(write=True) as txn:
                    for number, pack in enumerate(packs, first):
                        txn.put(number_key(number), encode_pack(index.time, name, pack), db=self._packs)
                    txn.put(b"next pack", number_key(first + row.packs), db=self._meta)
                    txn.put(name, row._replace(complete=following is None).encode(), db=self._files)
                    txn.cursor(self._chunks).putmulti(batch)
                packs, batch = [], following

    def drop_index(self, names: Collection[bytes]) -> None:
        """Remove all rows of these index files."""
        with self._file.writing():
            self._settle()
            self._doom(names, ())
            self._remove_doomed()

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
                    row = self._read_row(value)._replace(verified=True)
                    txn.put(name, row.encode(), db=self._files)

    # -- packs and chunks

    def known(self, domain: str, ids: Sequence[bytes]) -> list[bool]:
        """Tell for each id whether an index file of the domain names it."""
        with self._file.guard(), self._begin() as txn:
            prefix = self._prefix(txn, domain)
            if prefix is None:
                return [False] * len(ids)
            seek = txn.cursor(self._chunks).set_key  # the fastest of py-lmdb's ways to ask
            return [seek(prefix + id_) for id_ in ids]

    def locate(self, domain: str, ids: Sequence[bytes]) -> list[list[Location]]:
        """Return for each id its copies in the domain, the oldest first by (index file's time, its name)."""
        found: list[list[Location]] = []
        with self._file.guard(), self._begin() as txn:
            prefix = self._prefix(txn, domain)
            if prefix is None:
                return [[] for _ in ids]
            cursor = txn.cursor(self._chunks)
            for id_ in ids:
                places: list[Location] = []
                more = cursor.set_key(prefix + id_)
                while more:
                    places.append(location(cursor.value()))
                    more = cursor.next_dup()
                if len(places) > 1:
                    places.sort(key=lambda place: self._pack_row(txn, place.pack)[:ORDER_SIZE])
                found.append(places)
        return found

    def pack(self, number: int) -> CachedPack:
        """Return the pack of that number, which came from `locate` or `packs_of`."""
        with self._file.guard(), self._begin() as txn:
            return self._read_pack(self._pack_row(txn, number))

    def packs_of(self, names: Collection[bytes]) -> Iterator[tuple[int, CachedPack]]:
        """Yield the packs that these index files name, but those marked as lost, with their numbers."""
        for name in names:
            with self._file.guard(), self._begin() as txn:
                value = txn.get(name, db=self._files)
                numbers = self._read_row(value).numbers if value else range(0)
                rows = [(number, txn.get(number_key(number), db=self._packs)) for number in numbers]
            for number, pack in rows:
                if pack is not None:
                    yield number, self._read_pack(pack)

    def mark_lost(self, numbers: Collection[int]) -> None:
        """Remove packs that are not in the back end, so that their chunks are neither known nor located.

        Their index files stay; drop and add one to believe it again.
        """
        with self._file.writing():
            self._settle()
            self._doom((), numbers)
            self._remove_doomed()

    # -- snapshots

    def snapshot_names(self) -> set[bytes]:
        """Return the names of the snapshots that are there."""
        with self._file.guard(), self._begin() as txn:
            return set(txn.cursor(self._headers).iternext(values=False))

    def add_snapshots(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Add or replace verified snapshots: name, header and payload of each (at most 64 MiB)."""
        from dedupstore import compression  # takes longer to load than all else that `list` needs

        remaining = iter(rows)
        batch: list[tuple[bytes, bytes, bytes]] = []
        while True:
            row = next(remaining, None)
            if row is not None:
                name, header, payload = row
                packed = compression.pack(payload)
                batch.append((name, header, b"\1" + packed if len(packed) < len(payload) else b"\0" + payload))
            if row is None or sum(len(payload) for _, _, payload in batch) >= SNAPSHOT_BATCH:
                with self._file.writing(), self._begin(write=True) as txn:
                    for name, header, payload in batch:
                        txn.put(name, header, db=self._headers)
                        txn.put(name, payload, db=self._payloads)
                batch = []
            if row is None:
                return

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
