"""The threads in which jobs run, and the time-outs of their open flows.

Invariant: every job returns exactly one result, even after an unforeseen failure; after `stop`, no flow stays open, and
no new one is opened.
"""

import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from dedupstore.writing.session import Session
from pipelines.config.run_settings import RunSettings
from pipelines.sources.protocol import Job, JobContext, Line
from pipelines.sources.transfer import Flow, StoppedError, Transfer

_TICK = 1.0  # seconds between two looks at the clocks
_UNWIND = 60.0  # seconds for jobs to end after they were stopped


@dataclass
class Result:
    """A job that has ended: its line for the report, or why it failed."""

    job: Job
    line: Line
    error: BaseException | None = None


class Workers:
    """Run at most `limits.parallel` jobs at the same time; for use by one thread."""

    def __init__(self, session: Session, limits: RunSettings, jobs: int) -> None:
        self._limits = limits
        self._context = JobContext(session, self._watch)
        self._tasks: queue.SimpleQueue[tuple[Job, bool] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._transfers: set[Transfer] = set()
        self._lock = threading.Lock()  # over _transfers
        self._stopping = threading.Event()
        self._look_at = 0.0
        # daemons: a job that cannot be stopped must not keep the program alive
        self._threads = [
            threading.Thread(target=self._work, name="job", daemon=True)
            for _ in range(min(limits.parallel, jobs))
        ]
        for thread in self._threads:
            thread.start()

    def give(self, job: Job, *, last: bool) -> None:
        """Queue the job; `last` as in `Job.attempt`."""
        self._tasks.put((job, last))

    def next(self) -> Result | None:
        """Return the next result; None if there was none for a second."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _TICK
            for transfer in self._open():
                transfer.look()
        with suppress(queue.Empty):
            return self._results.get(timeout=_TICK)
        return None

    def finish(self) -> None:
        """End the threads, which are idle."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def stop(self) -> list[Result]:
        """Close all flows, and return the results of jobs that have ended all the same.

        Do not wait longer than a minute for the others.
        """
        self._stopping.set()
        for transfer in self._open():
            transfer.stop(StoppedError("the run was stopped"))
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + _UNWIND
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        results = []
        with suppress(queue.Empty):
            while True:
                results.append(self._results.get_nowait())
        return results

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._stopping.is_set():
                return
            job, last = task
            try:
                result = Result(job, job.attempt(self._context, last=last))
            except BaseException as error:  # the main thread decides what it means
                result = Result(job, job.line, error)
            self._results.put(result)

    def _watch(self, flow: Flow, name: str) -> Transfer:
        transfer = Transfer(flow, name, self._limits, ended=self._unwatch)
        with self._lock:
            self._transfers.add(transfer)
        if self._stopping.is_set():
            transfer.stop(StoppedError("the run was stopped"))
        return transfer

    def _unwatch(self, transfer: Transfer) -> None:
        with self._lock:
            self._transfers.discard(transfer)

    def _open(self) -> list[Transfer]:
        with self._lock:
            return list(self._transfers)
