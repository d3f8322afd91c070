"""What a kind of source provides, and what a run gives it.

Invariant: all that concerns one kind is in its own module of `kinds`; nothing else knows of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dedupstore.errors import DedupError
from dedupstore.format import layout
from pipelines.config.run_settings import RunSettings, Schedule, SourceSettings
from pipelines.config.sections import Section
from pipelines.sources.protocol import Source

if TYPE_CHECKING:
    from dedupstore.repository import Repository

T = TypeVar("T")


@dataclass(frozen=True)
class RunContext:
    """What a run gives its sources: its settings, the repository, its day, and what they share.

    `all_full` asks for full dumps of all.  `root_parts` is what `SourceKind.keep_root` returned, by name of source.
    """

    run: RunSettings
    schedule: Schedule
    repository: "Repository"
    today: date
    all_full: bool = False
    root_parts: Mapping[str, Any] = field(default_factory=dict)
    _shared: dict[Callable[..., Any], Any] = field(default_factory=dict)

    def shared(self, make: Callable[["RunContext"], T]) -> T:
        """Return what all sources of a kind share: what `make` returns, which is called once in a run."""
        if make not in self._shared:
            self._shared[make] = make(self)
        found: T = self._shared[make]
        return found


class SourceKind(ABC):
    """One kind of source; a module of `kinds` has one instance, called `KIND`.

    `settings` are what its own `read` returned.
    """

    @abstractmethod
    def read(self, section: Section, name: str) -> SourceSettings:
        """Read the keys of a [[source]], a frozen dataclass with `kind` and `name`.  Raises `DedupError`."""

    @abstractmethod
    def make(self, settings: Any, context: RunContext) -> Source:
        """Return the source that these settings describe."""

    def check(self, settings: Any, file: Path) -> None:  # noqa: B027 - most kinds need nothing
        """Raise `DedupError`, naming the config file, if this host lacks something; without the network."""

    def keep_root(self, settings: Any) -> AbstractContextManager[Any]:
        """Start what stays root when the run becomes another user."""
        return nullcontext()


def check_stream_name(section: Section, name: str) -> None:
    """Refuse a source whose name cannot begin the name of a stream."""
    try:
        layout.check_stream_name(name)
    except DedupError as error:
        raise section.error("name", error.message, error.hint) from None
