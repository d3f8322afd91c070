"""The sources of a run, as the config file has them."""

from datetime import date
from typing import TYPE_CHECKING

from pipelines.config_run import AfsSource, CommandSource, RunConfig
from pipelines.run.commands import Commands
from pipelines.run.jobs import Source

if TYPE_CHECKING:
    from dedupstore.repository import Repository
    from pipelines.run.privileges import VosOf


def make_sources(
    config: RunConfig, repository: "Repository", today: date, vos_of: "VosOf", *, all_full: bool
) -> list[Source]:
    """Return the sources in the order of the file; `all_full` dumps every volume in full."""
    if all(isinstance(source, CommandSource) for source in config.sources):
        return [
            Commands(source, config.run) for source in config.sources if isinstance(source, CommandSource)
        ]
    from pipelines.run.volumes import Memory, Volumes

    memory = Memory(repository, config.schedule, today, all_full=all_full)
    return [
        Volumes(source, vos_of(source), memory)
        if isinstance(source, AfsSource)
        else Commands(source, config.run)
        for source in config.sources
    ]
