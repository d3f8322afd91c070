"""`dedup put`: store one stream."""

import os
import sys
import time
from contextlib import ExitStack

import click

from dedupstore.format import layout
from pipelines import VERSION, text
from pipelines.cli.arguments import read_date, read_moment
from pipelines.cli.progress import bar
from pipelines.cli.stop import interruption
from pipelines.cli.workspace import Workspace
from pipelines.formats import detect
from pipelines.output.pipes import closed
from pipelines.streams import dates

HOW = "dedup put NAME < FILE, COMMAND | dedup put NAME, or dedup put NAME -- COMMAND"


class _PutCommand(click.Command):
    """Takes everything after the first -- as a command, and everything before it as its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; for click."""
        at = args.index("--") if "--" in args else len(args)
        own, command = args[:at], args[at + 1 :]
        try:
            rest = super().parse_args(ctx, list(own))
        except click.NoSuchOption as error:
            # Of a command without its --, most likely, if words come before it that are not just the name.
            words = own[: own.index(error.option_name)] if error.option_name in own else []
            if at < len(args) or sum(not word.startswith("-") for word in words) < 2:
                raise
            raise _without_mark(ctx) from None
        if ctx.params.get("arguments"):
            raise _without_mark(ctx)
        if at < len(args) and not command:
            raise click.UsageError(f"there is no command after --: {HOW}", ctx)
        ctx.params["arguments"] = tuple(command)
        return rest


def _without_mark(ctx: click.Context) -> click.UsageError:
    return click.UsageError(f"the command that writes the stream goes after --: {HOW}", ctx)


@click.command(cls=_PutCommand)
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND [ARG]...]")
@click.option("--date", "when", callback=read_date, metavar="DATE", help="Store it under this date, not now.")
@click.option(
    "--format",
    "form",
    type=click.Choice(detect.FORMATS),
    default="auto",
    show_default=True,
    help="What it is. A volume dump must be whole; so must a tar if asked for.",
)
@click.option("--allow-empty", is_flag=True, help="Store a stream without a single byte, too.")
@click.option("--json", "as_json", is_flag=True, help="Print what was stored as JSON.")
@click.pass_obj
def command(
    workspace: Workspace,
    name: str,
    arguments: tuple[str, ...],
    when: dates.When | None,
    form: str,
    allow_empty: bool,
    as_json: bool,
) -> None:
    """Store what comes from standard input, or what COMMAND writes, under NAME.

    If COMMAND fails, no backup is recorded.
    """
    layout.check_stream_name(name)
    moment = read_moment(when)
    if moment.time > time.time() + 60:
        workspace.console.warn(f"{when} lies in the future")
    if not arguments:
        _check_standard_input()
    from dedupstore.writing.session import RunDetails, StreamProgress
    from pipelines.sources.program import Command
    from pipelines.sources.put import store
    from pipelines.sources.standard_input import StandardInput

    began = time.monotonic()
    left = "no backup was recorded"
    try:
        with ExitStack() as stack:
            repository = stack.enter_context(workspace.repository(reading=False))
            details = RunDetails(os.uname().nodename, f"dedup {VERSION}", moment.time, moment.utc_offset)
            session = stack.enter_context(repository.session(details, level=workspace.settings.compression))
            source = stack.enter_context(Command(arguments)) if arguments else StandardInput()
            update = stack.enter_context(bar(workspace.console, name, source.size))

            def progress(now: StreamProgress) -> None:
                update(now.read, now.new)

            stream = store(
                session,
                name,
                source,
                form=form,
                allow_empty=allow_empty,
                warn=workspace.console.warn,
                progress=progress,
            )
            left = "see `dedup list` whether it was listed"
            snapshot = session.finish()
            left = "but the backup is complete and listed"
    except BaseException as error:
        if (stop := interruption(error)) is not None:
            stop.meaning = left
        raise
    seconds = time.monotonic() - began
    if as_json:
        from pipelines.reports.listing import stream_row, to_json

        workspace.console.answer(to_json({**stream_row(snapshot, stream), "seconds": round(seconds, 3)}))
    workspace.console.say(
        f"{name} {dates.local(snapshot):%Y.%m.%dT%H:%M} {text.size(stream.size)}, "
        f"{text.size(stream.new)} new, {text.size(stream.stored)} stored "
        f"({text.saved(stream.size, stream.new)} deduplicated) in {seconds:.1f} s"
    )


def _check_standard_input() -> None:
    if sys.stdin is None:
        raise closed("standard input")
    if sys.stdin.isatty():
        raise click.UsageError(f"standard input is a terminal; use {HOW}")
