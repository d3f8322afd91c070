"""`main`: the one place where exceptions become messages and exit statuses.

Invariant: every way out of the program goes through here.  A user's mistake never shows a traceback.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from dedupstore.errors import DedupError
from pipelines import VERSION
from pipelines.cli.console import Console
from pipelines.cli.stop import Interrupted, catch_signals
from pipelines.pipes import ReaderGoneError

FAILED, USAGE = 1, 2


def main() -> NoReturn:
    """Run `dedup` with the arguments of the process, and exit."""
    console = Console()
    try:
        catch_signals()
        status = _run(sys.argv[1:], console)
        console.flush()
    except Interrupted as stop:
        console.fail("; ".join(filter(None, ("interrupted", stop.meaning))))
        status = 128 + stop.number
    except DedupError as error:
        console.fail(str(error))
        status = FAILED
    except ReaderGoneError:
        status = FAILED  # whoever closed the pipe knows why: nothing is said
    except Exception as error:
        console.fail(f"{type(error).__name__}: {error}; this is a bug: run again with -v to see where")
        status = FAILED
    console.close()
    sys.exit(status)


def _run(arguments: Sequence[str], console: Console) -> int:
    """Run one command and return its exit status."""
    if list(arguments) == ["--version"]:
        console.answer(f"dedup {VERSION}\n")
        return 0
    import click  # after the fast way out

    from pipelines.cli.group import dedup

    try:
        with dedup.make_context("dedup", list(arguments), obj=console) as context:
            return dedup.invoke(context) or 0
    except click.exceptions.Exit as done:  # --help
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as help_text:
        console.fail("say what to do")
        console.say(help_text.format_message())
        return USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "dedup"
        console.fail(f"{error.format_message().rstrip('.')}; see: {command} --help")
        return USAGE
