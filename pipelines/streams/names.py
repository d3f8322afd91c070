"""Names of streams, which are relative paths: the order in which they are shown, and the files that they become.

`dedupstore.format.layout.check_stream_name` says what a name is: no segment of it leads out of a folder.
Invariant: two names never become one file, though one may be another's folder.
"""

from collections.abc import Iterable

_LONGEST = 200  # bytes


def order(name: str) -> tuple[tuple[bool, str], ...]:
    """Return the key that sorts names by their segments; in each folder, folders come before streams."""
    *folders, last = name.split("/")
    return (*((False, folder) for folder in folders), (True, last))


def files(names: Iterable[str]) -> dict[str, str]:
    """Return the relative path of each stream's file: its name.

    Where `web` is a stream and a folder of others, the folder becomes `web.d`, or `web.d.d` if that is taken, too.
    """
    streams = set(names)
    folders = {name[:at] for name in streams for at, letter in enumerate(name) if letter == "/"}
    taken = streams | folders
    made: dict[str, str] = {}
    for folder in sorted(folders):  # each after the one in which it lies
        new = folder
        while new in streams or (new != folder and new in taken):
            new += ".d"
        taken.add(new)
        made[folder] = _below(made, folder, new)
    return {name: _below(made, name, name) for name in streams}


def beside(name: str, ending: str) -> str:
    """Return the name of a single file that belongs to a stream, short enough for what may be added to it."""
    flat = name.replace("/", "_").encode()[:_LONGEST].decode(errors="ignore")
    return flat + ending


def _below(made: dict[str, str], path: str, new: str) -> str:
    """Return the path with its folder as it is made, and its last segment as in `new`."""
    folder, slash, _ = path.rpartition("/")
    return made.get(folder, "") + slash + new.rpartition("/")[2]
