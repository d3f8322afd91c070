"""What all kinds of source have in common: sources, their jobs, and what a run reports of each stream.

Invariant: each attempt at a job starts from the beginning; what a failed one left in the store does no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Literal, Protocol

from dedupstore.errors import DedupError
from dedupstore.format import layout
from pipelines.sources.transfer import Flow, Transfer

if TYPE_CHECKING:
    from dedupstore.repository import SnapshotInfo
    from dedupstore.writing.session import Session

State = Literal["stored", "kept", "failed", "gone", "planned"]


@dataclass
class Line:
    """What the summary reports of one stream; sizes in bytes.

    `state`: `kept` was stored by an interrupted run of the same day, `gone` no longer has a volume.  `kind` is
    `full`, `incr` or a format; `reason` is why it is full, and `untimely` is set if the schedule did not ask for
    it.  `full_of` is the day of the full that it builds on, `next_full` that of the next.
    """

    source: str
    name: str
    state: State
    kind: str = ""
    reason: str = ""
    untimely: bool = False
    size: int = 0
    new: int = 0
    stored: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    full_of: date | None = None
    next_full: date | None = None


@dataclass
class Report:
    """What a run did; `snapshot` is None if no stream was stored."""

    today: date
    lines: list[Line] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    snapshot: "SnapshotInfo | None" = None
    taken_up: "list[SnapshotInfo]" = field(default_factory=list)
    seconds: float = 0.0

    @property
    def next_full(self) -> date | None:
        """The next day on which a volume is due for a full; None if there are no volumes."""
        return min((line.next_full for line in self.lines if line.next_full), default=None)

    def of(self, state: str) -> list[Line]:
        """Return the lines of that state."""
        return [line for line in self.lines if line.state == state]


@dataclass(frozen=True)
class JobContext:
    """What a job works with: the session, and `watch`, which applies the run's time-outs to a named flow."""

    session: "Session"
    watch: Callable[[Flow, str], Transfer]


class Job(Protocol):
    """One stream to be stored; `line` is what is known of it beforehand."""

    @property
    def line(self) -> Line: ...  # noqa: D102

    def attempt(self, context: JobContext, *, last: bool) -> Line:
        """Store it; called in a thread of its own.  Raises `DedupError` if that fails.

        `last`: there is no further attempt, so second best is better than nothing.
        """
        ...


@dataclass
class Listing:
    """What one source has today.

    `lines` are of what needs no job: what is gone, and what cannot be stored.  `published` is called when the
    backup that holds the streams is recorded.
    """

    jobs: list[Job] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    published: Callable[[], None] = lambda: None

    def add(self, job: Job, done: set[str]) -> None:
        """Add a job, unless its name is in `done`; a name that no stream may have is a failure."""
        try:
            layout.check_stream_name(job.line.name)
        except DedupError as error:
            self.lines.append(replace(job.line, state="failed", error=str(error)))
            return
        if job.line.name not in done:
            self.jobs.append(job)


class Source(Protocol):
    """A [[source]] of the config file: something that has streams."""

    name: str

    def listing(self, done: set[str]) -> Listing:
        """Prepare and list what is to be stored, except the streams named in `done`.

        Raises `DedupError` if the streams cannot be listed.
        """
        ...

    def plan(self) -> list[Line]:
        """Return what a run would do, and change nothing."""
        ...
