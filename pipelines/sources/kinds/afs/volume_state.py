"""What this host remembers of each volume: its vnodes as of the last dump.

One file for each column of vnodes (`AfsSplitter.vnodes`, `Succession.state`), named by the volume's id and the
column's digest, which is also in the facts of the stream.  So a column belongs to exactly one stored stream, whether
that was published or not.  Invariant: a file is there whole or not at all, and `load` returns what was saved or
nothing: then the volume is dumped in full.

A column is 32 bytes a vnode: 32 MB for a million files, held in memory while the volume is stored.
"""

import re
from collections.abc import Set
from pathlib import Path

from blake3 import blake3

from dedupstore.errors import StateError
from dedupstore.state import atomic

_DIGEST_SIZE = 16
_NAME = re.compile(r"(\d+)-([0-9a-f]{32})")


def digest(column: bytes) -> str:
    """Return the hexadecimal digest by which a column is known."""
    return blake3(column).hexdigest(length=_DIGEST_SIZE)


class VolumeStates:
    """The columns in a folder, which is created if missing.  Threads may share it.

    Its methods raise `StateError` if the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error) from None

    def load(self, volume: int, digest_: str) -> bytes | None:
        """Return the column of that digest; None if it is missing or damaged."""
        path = self._path(volume, digest_)
        if path is None:
            return None
        try:
            column = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, error) from None
        return column if digest(column) == digest_ else None

    def save(self, volume: int, column: bytes) -> str:
        """Keep a column beside the volume's others, durably, and return its digest."""
        name = digest(column)
        path = self._folder / f"{volume}-{name}"
        try:
            atomic.replace(path, column)
        except OSError as error:
            raise _unusable(path, error) from None
        return name

    def keep(self, columns: Set[tuple[int, str]]) -> None:
        """Remove all columns but these, by volume and digest: those of the newest published stream of each."""
        try:
            for path in list(self._folder.iterdir()):
                found = _NAME.fullmatch(path.name)
                if not found or (int(found[1]), found[2]) not in columns:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._folder, error) from None

    def _path(self, volume: int, digest_: str) -> Path | None:
        name = f"{volume}-{digest_}"  # the digest is from a snapshot: it must not lead elsewhere
        return self._folder / name if _NAME.fullmatch(name) else None


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"cannot use {path}: {error.strerror or error}", "its folder must belong to the user that runs dedup"
    )
