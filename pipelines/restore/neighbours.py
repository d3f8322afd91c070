"""Paths that were asked for and are not there, and what lies beside them: perhaps one of that was meant.

Invariant: only names in the folders on the way to those paths are kept, not all that is walked over.
"""

from collections.abc import Iterable, Sequence

from dedupstore.errors import NotStoredError
from pipelines.output.file_names import shown


class Neighbours:
    """What is seen of the folders that `paths` go through, in `volume` (as people call it, with its date).

    `listing` is the command line that shows all that is in it.
    """

    def __init__(self, paths: Iterable[bytes], volume: str, listing: str) -> None:
        self._volume = volume
        self._listing = listing
        self._names: dict[bytes, set[bytes]] = {b"": set()}
        for path in paths:
            while path := path.rpartition(b"/")[0]:
                self._names[path] = set()

    def see(self, path: bytes) -> None:
        """Note one path that is there."""
        folder, _, name = path.rpartition(b"/")
        if (names := self._names.get(folder)) is not None:
            names.add(name)

    def absent(self, paths: Sequence[bytes]) -> NotStoredError:
        """Return the error for paths that are not there."""
        hints = [f"see what there is: {self._listing}"]
        if close := [other for path in paths for other in self._close(path)]:
            hints.insert(0, f"did you mean {' or '.join(map(shown, close))}?")
        return NotStoredError(
            f"there is no {' and no '.join(map(shown, paths))} in {self._volume}", " ".join(hints)
        )

    def _close(self, path: bytes) -> list[bytes]:
        """Return paths like the part of this one up to the first name that is not there."""
        import difflib  # only for the error

        folder = b""
        for name in path.split(b"/"):
            names = self._names.get(folder, set())
            if name not in names:
                # as latin-1, in which each byte is a letter
                found = difflib.get_close_matches(
                    name.decode("latin-1"), [each.decode("latin-1") for each in names]
                )
                return [(folder + b"/" if folder else b"") + each.encode("latin-1") for each in found]
            folder += b"/" + name if folder else name
        return []
