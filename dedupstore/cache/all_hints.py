"""The hints of all domains: new ones in a table of LMDB, and when those are many, in files that are merged.

Invariant: every hint of a pack that is there is in the table or in a file that the table `hints` names, at the
end of each transaction.  Files that it does not name are left over, and deleted.

A file is merged with the newest ones before it that are not `GROWTH` times as large: so there are few of
them (two to four for a hundred million chunks), and each hint is written again a few times only, always in long
runs.  One large tree of random keys would write a page for nearly each new chunk, and a look-up would map two.
"""

import os
import struct
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from dedupstore.cache import hint_files, row_formats
from dedupstore.cache.file import CacheFile
from dedupstore.cache.hint_files import HintFile
from dedupstore.errors import DamageError
from dedupstore.state import atomic

if TYPE_CHECKING:
    import lmdb

MOST_RECENT = 1 << 18  # hints in the table: 5 MB
GROWTH = 6
_COUNTER = b"hints"
_SERIAL = struct.Struct(">2sI")
_ROW = struct.Struct(">8sQQQ")


class _FileRow(NamedTuple):
    """A file of hints: its name, buckets, size in bytes, and how many hints it has."""

    name: bytes
    buckets: int
    size: int
    hints: int


class Hints:
    """The hints in one cache file."""

    def __init__(self, file: CacheFile) -> None:
        self._file = file
        self._recent, self._table = file.tables["recent"], file.tables["hints"]
        self._packs, self._counters = file.tables["packs"], file.tables["counters"]
        self._open: dict[bytes, tuple[bytes, dict[bytes, HintFile]]] = {}

    def add(self, txn: "lmdb.Transaction[bytes]", prefix: bytes, hints: list[bytes]) -> None:
        """Add hints of a domain; sorted ones fall side by side into few pages."""
        txn.cursor(self._recent).putmulti([(prefix, hint) for hint in hints])

    def files(self, txn: "lmdb.Transaction[bytes]", prefix: bytes) -> list[HintFile] | None:
        """Return a domain's files; None if some were merged into another since the transaction began."""
        stamp = txn.get(_COUNTER, b"", db=self._counters)
        seen, files = self._open.get(prefix, (b"", {}))
        if stamp != seen:
            rows = [row for _, row in self._rows(txn, prefix)]
            try:
                files = {row.name: files.get(row.name) or self._open_file(row) for row in rows}
            except FileNotFoundError:
                return None
            self._open[prefix] = stamp, files
        return list(files.values())

    def are_whole(self, txn: "lmdb.Transaction[bytes]") -> bool:
        """Return whether every file is there, of its size; only a writer can be sure that one is not."""
        try:
            return all(
                self._file.beside("hints", row.name).stat().st_size == row.size
                for _, row in self._rows(txn, b"")
            )
        except FileNotFoundError:
            return False

    def settle(self, prefix: bytes) -> None:
        """Write a file if a domain's recent hints are many.  No one else may be writing."""
        with self._file.environment.begin() as txn:
            recent = txn.cursor(self._recent)
            if not recent.set_key(prefix) or (count := recent.count()) < MOST_RECENT:
                return
            merged, rows = [], self._rows(txn, prefix)
            while rows and rows[-1][1].hints < GROWTH * count:
                merged.append(rows.pop())
                count += merged[-1][1].hints
            name = os.urandom(8)
            try:  # these are not merged by others meanwhile
                files = [self._open_file(old) for _, old in merged]
            except FileNotFoundError:
                raise DamageError("a file of hints is missing") from None
            sources = [_in_lists(recent.iternext_dup()), *(file.read() for file in files)]
            hints = self._living(txn, hint_files.merge(sources))
            row = _FileRow(name, *hint_files.write(self._file.beside("hints", name), hints, count))
            atomic.sync_folder(self._file.path)
        with self._file.environment.begin(write=True) as txn:
            for key, _ in merged:
                txn.delete(key, db=self._table)
            serial = int.from_bytes(txn.get(_COUNTER, b"", db=self._counters), "big") + 1
            txn.put(_SERIAL.pack(prefix, serial), _ROW.pack(*row), db=self._table)
            txn.put(_COUNTER, serial.to_bytes(4, "big"), db=self._counters)
            txn.delete(prefix, db=self._recent)
            named = {old.name for _, old in self._rows(txn, b"")}
        self._file.delete_others("hints", named)

    def _living(self, txn: "lmdb.Transaction[bytes]", hints: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        """Leave out the hints of packs that are gone."""
        numbers = int.from_bytes(txn.get(b"next pack", b"", db=self._counters), "big")
        if txn.stat(self._packs)["entries"] >= numbers - 1:
            return hints
        living = bytearray(numbers)
        for key in txn.cursor(self._packs).iternext(values=False):
            living[int.from_bytes(key, "big")] = True
        return ([hint for hint in some if living[row_formats.hint_pack(hint)]] for some in hints)

    def _open_file(self, row: _FileRow) -> HintFile:
        return HintFile(self._file.beside("hints", row.name), row.buckets, row.size)

    def _rows(self, txn: "lmdb.Transaction[bytes]", prefix: bytes) -> list[tuple[bytes, _FileRow]]:
        """Return the files of a domain, or all, from the oldest on."""
        cursor = txn.cursor(self._table)
        rows = cursor if cursor.set_range(prefix) else ()
        return [
            (key, _FileRow(*_ROW.unpack(value)))
            for key, value in takewhile(lambda row: row[0].startswith(prefix), rows)
        ]


def _in_lists(hints: Iterator[bytes]) -> Iterator[list[bytes]]:
    while some := list(islice(hints, 1 << 14)):
        yield some
