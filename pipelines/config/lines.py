"""Where in a config file a key stands: `tomllib` gives values without their lines.

Invariant: no grammar of our own.  `tomllib` itself shows where a statement ends: a line that does not parse
alone continues on the next one.  So this is right for every file that `tomllib` accepts.
"""

import tomllib
from typing import Any

Place = tuple[str | int, ...]


def lines(text: str) -> dict[Place, int]:
    """Return the line (from 1) of each table and key of a valid TOML file, by its path: ("source", 0, "name").

    The path of a key within an inline table is included, with the line on which its statement begins.
    """
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    pending = ""
    begins = 1
    for number, line in enumerate(text.split("\n"), 1):
        if not pending:
            begins = number
        pending += f"{line}\n"
        try:
            values = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        head, pending = pending.lstrip(), ""
        if not values:
            continue
        if head.startswith("["):
            table = _table(values, counts, repeated=head.startswith("[["))
            for length in range(1, len(table) + 1):
                found.setdefault(table[:length], begins)
        else:
            _keys(table, values, begins, found)
    return found


def _table(values: Any, counts: dict[Place, int], *, repeated: bool) -> Place:
    """Return the place of the table that a header opens, from what the header alone parses to."""
    path: Place = ()
    while isinstance(values, dict) and values:
        (key,) = values
        path, values = (*path, key), values[key]
        last = isinstance(values, list)
        if repeated and last:
            counts[path] = counts.get(path, -1) + 1
            return (*path, counts[path])
        if path in counts:  # [source.more] belongs to the last [[source]]
            path = (*path, counts[path])
    return path


def _keys(table: Place, values: dict[str, Any], line: int, found: dict[Place, int]) -> None:
    for key, value in values.items():
        place = (*table, key)
        found.setdefault(place, line)
        if isinstance(value, dict):
            _keys(place, value, line, found)
