"""`main`: the one place where exceptions become messages and exit statuses.

Invariant: every way out of the program goes through here.  A user's mistake never shows a traceback.
"""

import gc
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from dedupstore.errors import DedupError
from pipelines import VERSION
from pipelines.cli.console import Console
from pipelines.cli.status import ExitStatus
from pipelines.cli.stop import Interrupted, catch_signals, interruption
from pipelines.output.pipes import ReaderGoneError

_GARBAGE = (
    50_000  # objects; with the interpreter's 700, it looks a hundred times through what is being imported
)


def main() -> NoReturn:
    """Run `dedup` with the arguments of the process, and exit."""
    gc.set_threshold(_GARBAGE)
    console = Console()
    try:
        catch_signals()
        status = _run(sys.argv[1:], console)
        console.flush()
    except (Exception, Interrupted) as error:
        status = _failed(error, console)
    console.close()
    gc.freeze()  # or else the interpreter looks through all that was imported once more, to free what ends anyway
    sys.exit(status)


def _failed(error: Exception | Interrupted, console: Console) -> int:
    """Say what went wrong, and return the exit status."""
    if (stop := interruption(error)) is not None:
        console.fail("; ".join(filter(None, ("interrupted", stop.meaning))))
        return 128 + stop.number
    if isinstance(error, ReaderGoneError):
        return 128 + signal.SIGPIPE  # as other programs end; whoever closed the pipe knows why
    if isinstance(error, DedupError):
        console.fail(str(error))
    elif isinstance(error, Exception):
        console.bug(error)
    return ExitStatus.FAILED


def _run(arguments: Sequence[str], console: Console) -> int:
    """Run one command and return its exit status."""
    if list(arguments) == ["--version"]:
        console.answer(f"dedup {VERSION}\n")
        return 0
    import click  # after the fast way out

    from dedupstore import malloc
    from pipelines.cli.group import dedup
    from pipelines.secrecy import keep_secret

    keep_secret()  # before there is one
    malloc.reuse_buffers()  # before GnuPG or a back end starts the first thread

    try:
        with dedup.make_context("dedup", list(arguments), obj=console) as context:
            status = dedup.invoke(context) or 0
            return status or (ExitStatus.DAMAGE if console.alarmed else ExitStatus.DONE)
    except click.exceptions.Exit as done:  # --help
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as help_text:
        console.fail("missing command")
        console.say(help_text.format_message())
        return ExitStatus.USAGE
    except click.UsageError as error:
        from pipelines.cli.usage import advice

        console.fail(f"{error.format_message().rstrip('.')}; {advice(error)}")
        return ExitStatus.USAGE
