"""The columns of packs: ids and places of their chunks, in the packs' order, in files that only grow.

Invariant: the table `columns` names a piece of a file for each pack that is there, and those bytes never change;
they are durable when the transaction that names them is.  A file that it does not name is left over, and deleted.
What is read is what was written: behind each part is its CRC-32 (4 bytes, little), begun with its place in the file.
A file is written on only where the last piece ends, as the table `ends` says, and never made a second time.

Reading is a `pread` of a part.  A mapped file would take more: a page in it, when it is touched at random, maps
64 KiB around it, which counts as this process's memory.
"""

import os
import struct
import weakref
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dedupstore.cache import row_formats
from dedupstore.cache.file import CacheFile
from dedupstore.errors import DamageError
from dedupstore.state import atomic

if TYPE_CHECKING:
    import lmdb

MOST = 64 << 20  # bytes after which another file is begun
OPEN_FILES = 64
_NEWEST = b"columns"
_SUM = 4
_WHOLE = row_formats.PART * row_formats.WIDTH + _SUM  # bytes of a part that is full
_PIECE = struct.Struct(">2s8sQI")
_END = struct.Struct(">Q")


class Piece(NamedTuple):
    """A pack's columns: its domain's number, the file, the first byte in it, and how many chunks there are."""

    prefix: bytes
    name: bytes
    at: int
    chunks: int


class Columns:
    """The columns of all packs in one cache file."""

    def __init__(self, file: CacheFile) -> None:
        self._file = file
        self._table, self._ends = file.tables["columns"], file.tables["ends"]
        self._counters = file.tables["counters"]
        self._open: dict[bytes, _File] = {}

    def write(self, parts: Iterable[bytes]) -> tuple[bytes, int]:
        """Write columns durably; return the file and the offset, for `note`.  No one else may be writing.

        Raises `DamageError` if the file lacks what was written before.
        """
        with self._file.environment.begin() as txn:
            name, start = self._end(txn)
        if self._size_of(name) < start:  # to write on would leave a hole
            raise DamageError("a file of columns is missing or cut short")
        with open(self._file.beside("columns", name), "r+b", buffering=1 << 18, opener=_create) as file:
            at = file.seek(start)
            for part in parts:
                at += file.write(part + _sum(part, at))
            file.flush()
            os.fsync(file.fileno())
        if start == 0:  # a new file
            atomic.sync_folder(self._file.path)
        return name, start

    def note(
        self,
        txn: "lmdb.Transaction[bytes]",
        prefix: bytes,
        first: int,
        chunks: Sequence[int],
        place: tuple[bytes, int],
    ) -> None:
        """Note where the columns of packs from number `first` on are, which have so many chunks each."""
        name, at = place
        for number, count in enumerate(chunks, first):
            piece = Piece(prefix, name, at, count)
            txn.put(row_formats.number_key(number), _PIECE.pack(*piece), db=self._table)
            at += count * row_formats.WIDTH + -(-count // row_formats.PART) * _SUM
        txn.put(name, _END.pack(at), db=self._ends)
        txn.put(_NEWEST, name, db=self._counters)

    def _end(self, txn: "lmdb.Transaction[bytes]") -> tuple[bytes, int]:
        if name := txn.get(_NEWEST, b"", db=self._counters):
            (at,) = _END.unpack(txn.get(name, b"", db=self._ends))
            if at < MOST:
                return name, at
        return os.urandom(8), 0

    def are_whole(self, txn: "lmdb.Transaction[bytes]") -> bool:
        """Return whether every file is there, up to its last piece; only a writer can be sure that one is not."""
        return all(self._size_of(name) >= _END.unpack(end)[0] for name, end in txn.cursor(self._ends))

    def _size_of(self, name: bytes) -> int:
        try:
            return self._file.beside("columns", name).stat().st_size
        except FileNotFoundError:
            return 0

    def piece(self, txn: "lmdb.Transaction[bytes]", number: int) -> Piece | None:
        """Return where a pack's columns are, or None for one that is gone."""
        row = txn.get(row_formats.number_key(number), db=self._table)
        return None if row is None else Piece(*_PIECE.unpack(row))

    def read(self, number: int, piece: Piece, part: int) -> bytes:
        """Return a part of pack's columns: ids of up to `PART` chunks, and then their places.

        Nothing is behind the last part, nor in a pack that was removed since its piece was looked up.
        """
        size = min(row_formats.PART, piece.chunks - part * row_formats.PART) * row_formats.WIDTH
        if size <= 0:
            return b""
        file = self._open.get(piece.name)
        if file is None:
            try:
                file = self._open_file(piece.name)
            except FileNotFoundError:
                with self._file.environment.begin() as txn:
                    if self.piece(txn, number) != piece:
                        return b""
                raise DamageError("a file of columns is missing") from None
        at = piece.at + part * _WHOLE
        data = os.pread(file.descriptor, size + _SUM, at)
        value = data[:size]
        if _sum(value, at) != data[size:]:
            raise DamageError("a file of columns has other bytes than were written")
        return value

    def remove(self, txn: "lmdb.Transaction[bytes]", number: int) -> None:
        """Forget the columns of a pack."""
        txn.delete(row_formats.number_key(number), db=self._table)

    def tidy(self) -> None:
        """Delete files that nothing names; no one else may be writing."""
        with self._file.environment.begin(write=True) as txn:
            names = {_PIECE.unpack(row)[1] for _, row in txn.cursor(self._table)}
            names.add(txn.get(_NEWEST, b"", db=self._counters))
            for name in set(txn.cursor(self._ends).iternext(values=False)) - names:
                txn.delete(name, db=self._ends)
        self._file.delete_others("columns", names)

    def _open_file(self, name: bytes) -> "_File":
        file = _File(self._file.beside("columns", name))
        some = self._open if len(self._open) < OPEN_FILES else {}
        self._open = {**some, name: file}  # another thread may be reading the old one
        return file


class _File:
    """An open file; it is closed when no thread uses it any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)


def _sum(part: bytes, at: int) -> bytes:
    return zlib.crc32(part, at & 0xFFFFFFFF).to_bytes(_SUM, "little")


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
