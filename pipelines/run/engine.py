"""The run itself: jobs a few at a time, retries, checkpoints; one snapshot at the end.

Invariant: a stream's failure loses that stream only.  The store's failure, or a signal, loses what was stored since the
last checkpoint: the next run publishes the rest, and resumes from there.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from dedupstore.errors import (
    BackendError,
    DamagedStateError,
    DamageError,
    DedupError,
    KeyAccessError,
    TrustError,
)
from dedupstore.format import layout
from dedupstore.format.run_records import Stream
from dedupstore.writing.session import RunDetails, Session
from pipelines import mishap
from pipelines.config.run_settings import RunSettings
from pipelines.run.workers import Result, Workers
from pipelines.sources.protocol import Job, Line, Listing, Report, Source
from pipelines.streams import dates, facts
from pipelines.text import count

if TYPE_CHECKING:
    from dedupstore.repository import Repository

CHECKPOINT_SECONDS = 300.0
CHECKPOINT_STREAMS = 100

_TICK = 1.0  # seconds between two looks at the clock

# What the store raises; every other error concerns one stream.
_STORE_ERRORS = (BackendError, DamageError, DamagedStateError, KeyAccessError, TrustError)


class Engine:
    """One run over these sources.

    `progress` is called with what goes on, how many streams are done, and of how many.  After a failure or a signal,
    `kept` is how many streams the next run resumes with, and `finishing` whether the snapshot was being published.
    """

    def __init__(
        self,
        repository: "Repository",
        sources: Iterable[Source],
        limits: RunSettings,
        details: RunDetails,
        *,
        level: int = 3,
        progress: Callable[[str, int, int], None] = lambda what, done, of: None,
    ) -> None:
        self._repository = repository
        self._sources = list(sources)
        self._limits = limits
        self._details = details
        self._level = level
        self._progress = progress
        self._stored = 0
        self._fresh = 0  # stored since the last checkpoint
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        self.kept = 0
        self.finishing = False
        self.report = Report(run_day(details))

    def run(self) -> Report:
        """Store everything, publish the snapshot, and return the report.

        Raises `DedupError` if the store fails: then nothing more can be stored.
        """
        began = time.monotonic()
        report = self.report
        report.taken_up = self._repository.complete_interrupted(facts.parent_of)
        done = self._resumed()
        # before the sources look up what an incremental can build on
        with self._repository.session(self._details, level=self._level, parent_of=facts.parent_of) as session:
            listings = self._list(done)
            for listing in listings:
                report.lines += listing.lines
                report.warnings += listing.warnings
            jobs = self._without_twins([job for listing in listings for job in listing.jobs])
            if jobs:
                self._store(session, jobs)
            if self._stored:
                self.finishing = True
                report.snapshot = session.finish()
        for listing in listings:
            listing.published()
        report.seconds = time.monotonic() - began
        return report

    def plan(self) -> Report:
        """Return what a run would do, and change nothing."""
        for source in self._sources:
            try:
                self.report.lines += source.plan()
            except _STORE_ERRORS:
                raise
            except DedupError as error:
                self.report.lines.append(Line(source.name, "", "failed", error=str(error)))
        _refuse_names(self.report.of("planned"))
        return self.report

    def resumed_next(self) -> str:
        """Return what the next run does with the streams stored by one that failed; "" if there are none."""
        return f"the next run resumes with {count(self.kept, 'stream')}" if self.kept else ""

    # -- before

    def _resumed(self) -> set[str]:
        """Report what interrupted runs of the same day had stored; return the names."""
        names = set()
        for snapshot in self.report.taken_up:
            if dates.local(snapshot).date() != self.report.today:
                continue
            for stream in self._repository.streams(snapshot):
                names.add(stream.name)
                self.report.lines.append(_kept(stream))
        return names

    def _list(self, done: set[str]) -> list[Listing]:
        listings = []
        for source in self._sources:
            self._progress(f"listing {source.name}", 0, 1)
            try:
                listings.append(source.listing(done))
            except _STORE_ERRORS:
                raise
            except DedupError as error:
                self.report.lines.append(Line(source.name, "", "failed", error=str(error)))
        return listings

    def _without_twins(self, jobs: Iterable[Job]) -> list[Job]:
        """Refuse the second of two streams of the same name: a snapshot holds one."""
        first: dict[str, Job] = {}
        for job in jobs:
            other = first.setdefault(job.line.name, job)
            if other is not job:
                why = f"{other.line.source} has a stream of the same name, which was stored"
                self.report.lines.append(replace(job.line, state="failed", error=why))
        return list(first.values())

    # -- during

    def _store(self, session: Session, jobs: list[Job]) -> None:
        workers = Workers(session, self._limits, len(jobs))
        try:
            self._rounds(session, workers, jobs)
        except BaseException as error:
            for result in workers.stop():
                if result.error is None:
                    self._note(result.line)
            if not isinstance(error, _STORE_ERRORS):
                with suppress(DedupError):
                    self._checkpoint(session)
            raise
        workers.finish()

    def _rounds(self, session: Session, workers: Workers, jobs: list[Job]) -> None:
        """Try all jobs, then retry those that failed, as often as the config says."""
        total = len(jobs)
        for tries_left in range(self._limits.retries, -1, -1):
            failed: list[Result] = []
            for job in jobs:
                workers.give(job, last=tries_left == 0)
            for left in range(len(jobs), 0, -1):
                self._progress("storing", total - left - len(failed), total)
                while (result := workers.next()) is None:
                    self._checkpoint_if_due(session)
                if isinstance(result.error, _STORE_ERRORS):
                    raise result.error
                if result.error is None:
                    self._note(result.line)
                else:
                    failed.append(result)
                self._checkpoint_if_due(session)
            if not failed:
                return
            jobs = [result.job for result in failed]
            if tries_left:
                self._progress(f"waiting to retry {count(len(jobs), 'stream')}", total - len(jobs), total)
                self._wait(session, self._limits.retry_wait)
        self.report.lines += [
            replace(result.line, state="failed", error=mishap.told(result.error)) for result in failed
        ]

    def _wait(self, session: Session, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_TICK, left))
            self._checkpoint_if_due(session)

    def _note(self, line: Line) -> None:
        self.report.lines.append(line)
        self._stored += 1
        self._fresh += 1

    def _checkpoint_if_due(self, session: Session) -> None:
        if self._fresh >= CHECKPOINT_STREAMS or (self._fresh and time.monotonic() >= self._checkpoint_at):
            self._checkpoint(session)

    def _checkpoint(self, session: Session) -> None:
        if self._fresh:
            stored = self._stored
            session.checkpoint()
            self.kept, self._fresh = stored, 0
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS


def _refuse_names(planned: Iterable[Line]) -> None:
    """Mark the planned streams that a run would refuse for their names."""
    first: dict[str, Line] = {}
    for line in planned:
        other = first.setdefault(line.name, line)
        try:
            layout.check_stream_name(line.name)
        except DedupError as error:
            line.state, line.error = "failed", str(error)
        else:
            if other is not line:
                line.state, line.error = "failed", f"{other.source} has a stream of the same name"


def _kept(stream: Stream) -> Line:
    """Return the line of a stream that an interrupted run has stored."""
    volume = facts.volume_of(stream)
    kind = stream.kind if volume is None else "full" if volume.full else "incr"
    line = Line(facts.source_of(stream), stream.name, "kept", kind)
    line.size, line.new, line.stored = stream.size, stream.new, stream.stored
    return line


def run_day(details: RunDetails) -> date:
    """Return the day of the run, in its own time zone."""
    return (datetime(1970, 1, 1) + timedelta(seconds=details.time + details.utc_offset)).date()
