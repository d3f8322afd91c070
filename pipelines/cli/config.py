"""`dedup config`: is the config file understood, and what can be in it."""

from importlib import resources

import click

from pipelines.cli.workspace import Workspace
from pipelines.text import count


@click.group
def command() -> None:
    """Look at the config file."""


@command.command()
@click.pass_obj
def check(workspace: Workspace) -> None:
    """Read the whole config file; say what is wrong with it, and where."""
    from pipelines import config
    from pipelines.config_run import parse

    file = workspace.settings.file
    found = parse(file, config.read(file) or "")
    names = ", ".join(source.name for source in found.sources)
    workspace.console.answer(f"{file} is understood: {count(len(found.sources), 'source')}: {names}\n")


@command.command()
@click.pass_obj
def example(workspace: Workspace) -> None:
    """Print a commented config file to begin with."""
    text = resources.files("pipelines").joinpath("data", "dedup.toml").read_text("utf-8")
    workspace.console.answer(text)
