"""Small record files in the index cache: who signed each that was verified, and what it says.

Invariant: a row is of a file whose bytes, signature and shape were found right; its name is the hash of its bytes, so
it never changes.  Whether the signer still counts is for the caller to check.
"""

from collections.abc import Collection, Iterable

from dedupstore.cache.file import CacheFile

TABLE = "records"
_SIGNER = 32


class RecordRows:
    """The table of record files of one cache."""

    def __init__(self, file: CacheFile) -> None:
        self._file = file
        self._table = file.tables[TABLE]

    def of(self, folder: str) -> dict[str, tuple[bytes, bytes]]:
        """Return signer and payload of each file of a folder that is known."""
        prefix = f"{folder}/".encode()
        found: dict[str, tuple[bytes, bytes]] = {}
        with self._file.guard(), self._file.environment.begin() as txn:
            cursor = txn.cursor(self._table)
            if cursor.set_range(prefix):
                for key, value in cursor:
                    if not key.startswith(prefix):
                        break
                    found[key.decode()] = value[:_SIGNER], value[_SIGNER:]
        return found

    def add(self, rows: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Keep verified files (name, signer and payload of each) in one transaction."""
        with self._file.writing(), self._file.environment.begin(write=True) as txn:
            for name, signer, payload in rows:
                txn.put(name.encode(), signer + payload, db=self._table)

    def drop(self, names: Collection[str]) -> None:
        """Forget files."""
        with self._file.writing(), self._file.environment.begin(write=True) as txn:
            for name in names:
                txn.delete(name.encode(), db=self._table)
