"""The `dedup` group: the options before the command, and the commands, each loaded only when it is called.

Invariant: `dedup --help` loads no command, and a command loads nothing of another.
"""

import os
from importlib import import_module

import click

from pipelines import VERSION
from pipelines.cli.console import Console
from pipelines.cli.workspace import Workspace
from pipelines.config import config_file

# Each command's group, and what `dedup --help` says of it; it is `pipelines.cli.commands.GROUP.NAME:command`.
_COMMANDS = {
    "init": ("keys", "Make a repository (on an admin's machine)."),
    "run": ("backup", "Store everything that the config file names (for cron)."),
    "put": ("backup", "Store one stream: what comes in, or what a command writes."),
    "list": ("look", "Show the dates that are stored, or one date's streams."),
    "get": ("restore", "Give back one stream; a volume as one full dump."),
    "restore": ("restore", "Restore a volume into AFS."),
    "ls": ("look", "Show the files in a stored volume or tar."),
    "extract": ("restore", "Take files out of a stored volume or tar."),
    "find": ("look", "Tell which dates hold which versions of a file."),
    "diff": ("look", "Compare a volume of two dates."),
    "check": ("care", "Check for damage."),
    "key": ("keys", "Show and change who may write and read."),
    "trust": ("keys", "Accept a repository on this host."),
    "config": ("operate", "Check the config file, or print an example."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        group, _ = _COMMANDS[cmd_name]
        command: click.Command = import_module(f"pipelines.cli.commands.{group}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.find_object(Console).answer(f"dedup {VERSION}\n")  # type: ignore[union-attr]
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-r", "--repository", metavar="URL", help="A folder, or sftp://user@host[:port]/path.")
@click.option("--config", "file", metavar="FILE", help=f"Instead of {config_file.DEFAULT_FILE}.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
@click.pass_context
def dedup(ctx: click.Context, repository: str | None, file: str | None, quiet: bool, verbose: bool) -> None:
    """Encrypted, deduplicating backups of AFS volumes, databases and tarballs.

    The repository is that of -r, else DEDUP_REPOSITORY, else `repository` in the config file.

    \b
    Exit status: 0 all good, 1 failed, 2 wrong usage, 3 some streams of a run failed,
    4 a check found damage, or backups that were seen before are gone.
    """
    console: Console = ctx.obj
    console.quiet, console.verbose = quiet, verbose
    settings = config_file.load(repository, file, os.environ, root=os.geteuid() == 0)
    ctx.obj = ctx.with_resource(Workspace(settings, console))
