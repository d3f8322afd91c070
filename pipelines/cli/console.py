"""What is said to the user.

Invariant: answers go to standard output, everything else to standard error; nothing that is said
holds control characters that a name or a server slipped in; an answer that could not be written is a failure.
"""

import os
import sys
from contextlib import suppress

from dedupstore.errors import DedupError
from pipelines.output import pipes
from pipelines.text import safe


class Console:
    """Standard output and error.  `quiet` silences what is merely nice to know, `verbose` adds details."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self.alarmed = False
        _occupy_standard_descriptors()
        if sys.stdout is not None:
            # With this in place, click's own output (--help) fails in the same way as ours.
            sys.stdout = pipes.text_output(1, "standard output", sys.stdout.encoding)

    @property
    def terminal(self) -> bool:
        """Whether somebody watches standard error."""
        return sys.stderr is not None and sys.stderr.isatty()

    def answer(self, text: str) -> None:
        """Print the answer: text with the line ends that it needs."""
        if sys.stdout is None:
            raise pipes.closed("standard output")
        sys.stdout.write(text)

    def say(self, lines: str) -> None:
        """Say something nice to know; it may have several lines."""
        if not self.quiet:
            for line in lines.split("\n"):
                _to_stderr(line)

    def detail(self, line: str) -> None:
        """Say something for those who look closely."""
        if self.verbose:
            _to_stderr(line)

    def warn(self, line: str) -> None:
        """Say something that needs attention, but is no failure."""
        _to_stderr(f"dedup: warning: {line}")

    def alarm(self, line: str) -> None:
        """Say what is wrong with the history of backups; the exit status tells of it, too."""
        self.alarmed = True
        _to_stderr(f"dedup: ALARM: {line}")

    def fail(self, line: str) -> None:
        """Say why the command failed."""
        _to_stderr(f"dedup: {line}")

    def bug(self, error: Exception) -> None:
        """Say that the program itself failed; with `verbose`, also where."""
        if self.verbose:
            import traceback

            for part in traceback.format_exception(error):
                _to_stderr(part.rstrip("\n"))
        self.fail(f"{type(error).__name__}: {error}; this is a bug: run again with -v to see where")

    def confirm(self, question: str) -> bool | None:
        """Ask on the terminal, and return whether the answer is yes; None if nobody is there to ask."""
        if sys.stdin is None or not sys.stdin.isatty() or sys.stderr is None:
            return None
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def require_yes(self, what: str, question: str, declined: str) -> None:
        """Go on only if a human confirms `what`.  Raises `DedupError` if not, or if nobody is there to ask."""
        answer = self.confirm(f"{what}. {question}")
        if answer is None:
            raise DedupError(what, "if that is meant, add --yes")
        if not answer:
            raise DedupError(declined)

    def flush(self) -> None:
        """Write what waits to be written; raises if that fails."""
        if sys.stdout is not None:
            sys.stdout.flush()

    def close(self) -> None:
        """Make sure that the end of the process has nothing left to write, and so cannot fail."""
        try:
            self.flush()
        except Exception:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)


def _to_stderr(line: str) -> None:
    if sys.stderr is not None:
        with suppress(Exception):  # whoever flushes the answer at its end will tell
            sys.stdout.flush()  # so that 2>&1 keeps the order
        try:
            print(safe(line), file=sys.stderr, flush=True)
        except OSError:
            sys.stderr = None  # nobody listens; go on


def _occupy_standard_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 is closed: or else a database could become our standard error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # as standard streams are
    os.close(descriptor)
