"""What wrong usage most likely meant: click says only what is wrong.

Invariant: a hint is given where one is known; for all others it says where the help is.
"""

import re

import click

# The words that a fingerprint falls apart into when it is typed as gpg shows it.
_GROUPS = re.compile(r"\((?:[0-9A-F]{4} *)+\)\.?", re.IGNORECASE)


def advice(error: click.UsageError) -> str:
    """Return what to do instead."""
    context = error.ctx
    if context is None:
        return "see: dedup --help"
    if isinstance(error, click.NoSuchOption) and context.parent is not None:
        known = context.find_root().command.params
        if any(error.option_name in parameter.opts for parameter in known):
            words = context.command_path.split(maxsplit=1)
            return f"it goes before the command: {words[0]} {error.option_name} ... {words[1]}"
    if _GROUPS.search(error.format_message()):
        return "write a fingerprint without spaces, or in quotes"
    return f"see: {context.command_path} --help"


class FullHelpGroup(click.Group):
    """A group whose help gives the whole first sentence of each command, on several lines if need be."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; for click."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command]
            )
