"""`dedup config`: is the config file understood, and what can be in it."""

import os
from importlib import resources
from typing import TYPE_CHECKING

import click

from dedupstore.errors import DedupError
from pipelines.cli.workspace import Workspace
from pipelines.text import count

if TYPE_CHECKING:
    from pipelines.config.run_settings import RunConfig


@click.group
def command() -> None:
    """Check the config file, or print an example."""


@command.command()
@click.pass_obj
def check(workspace: Workspace) -> None:
    """Check the config file; report mistakes with their lines."""
    from pipelines.config import config_file
    from pipelines.sources.kinds import parse

    file = workspace.settings.file
    found = parse(file, config_file.read(file) or "")
    _check_surroundings(workspace, found)
    names = ", ".join(source.name for source in found.sources)
    workspace.console.answer(f"{file} is valid: {count(len(found.sources), 'source')}: {names}\n")


def _check_surroundings(workspace: Workspace, found: "RunConfig") -> None:
    """Check what a run needs of this host; what needs the network stays out.  Raises `DedupError`."""
    from pipelines.sources.kinds import kind_of
    from pipelines.vos import privileges

    if os.geteuid() == 0:
        privileges.trusted(found.file)
    if workspace.settings.repository is None:
        raise DedupError(
            f"{found.file}: no repository is named",
            'add a line such as repository = "sftp://backup@host/~/cell" at its top',
        )
    workspace.backend  # noqa: B018 - refuses a URL that is not understood, and connects to nothing
    if found.run.user:
        privileges.user_of(found.run.user)
    for source in found.sources:
        kind_of(source).check(source, found.file)


@command.command()
@click.pass_obj
def example(workspace: Workspace) -> None:
    """Print a commented config file to begin with."""
    text = resources.files("pipelines").joinpath("data", "dedup.toml").read_text("utf-8")
    workspace.console.answer(text)
