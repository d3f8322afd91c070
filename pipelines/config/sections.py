"""Tables of the config file, read key by key.

Invariant: an invalid value or an unknown key is an error that names the file, the line, and what to write instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from dedupstore.errors import DedupError
from pipelines.config.lines import Place, lines

T = TypeVar("T")


@dataclass(frozen=True)
class Rule(Generic[T]):
    """How one kind of value is read: `read` returns None for an invalid one."""

    read: Callable[[Any], T | None]
    example: str


class Where:
    """The file and its lines, for errors."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text

    def error(self, place: Place, message: str, hint: str) -> DedupError:
        """Return an error about that place."""
        found = lines(self._text)
        while place and place not in found:
            place = place[:-1]
        at = f", line {found[place]}" if place else ""
        return DedupError(f"{self._file}{at}: {message}", hint)


class Section:
    """A table whose keys are taken one by one; `finish` refuses the rest."""

    def __init__(self, where: Where, place: Place, values: Any) -> None:
        self._where = where
        self._place = place
        self._known: list[str] = []
        if not isinstance(values, dict):
            raise where.error(place, f"{place[0]} is not a table", f"begin it with a line [{place[0]}]")
        self._values: Mapping[str, Any] = values

    def has(self, key: str) -> bool:
        """Tell whether the table has the key."""
        return key in self._values

    def take(self, key: str, rule: Rule[T], default: T) -> T:
        """Return the key's value, or the default."""
        self._known.append(key)
        return self._read(key, rule) if key in self._values else default

    def need(self, key: str, rule: Rule[T]) -> T:
        """Return the value of a required key."""
        self._known.append(key)
        if key not in self._values:
            raise self.error(
                None, f"missing key {key} in {self._place[0]}", f"add a line {key} = {rule.example}"
            )
        return self._read(key, rule)

    def _read(self, key: str, rule: Rule[T]) -> T:
        value = rule.read(self._values[key])
        if value is None:
            raise self.error(
                key, f"invalid value {key} = {self._values[key]!a}", f"write {key} = {rule.example}"
            )
        return value

    def error(self, key: str | None, message: str, hint: str) -> DedupError:
        """Return an error about the key, or about the table."""
        return self._where.error((*self._place, key) if key else self._place, message, hint)

    def finish(self) -> None:
        """Refuse keys that were not taken."""
        for key in self._values:
            if key not in self._known:
                raise self.error(
                    key,
                    f"unknown key {key!a} in {self._place[0]}",
                    f"known keys: {', '.join(self._known)}",
                )
