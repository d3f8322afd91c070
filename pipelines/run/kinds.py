"""The sources of a run, as the config file has them."""

from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from pipelines.config.run_settings import AfsSource, AnySource, CommandSource, RunConfig
from pipelines.sources.protocol import Source

if TYPE_CHECKING:
    from dedupstore.repository import Repository
    from pipelines.run.privileges import VosOf
    from pipelines.sources.afs.volumes import Memory


def make_sources(
    config: RunConfig, repository: "Repository", today: date, vos_of: "VosOf", *, all_full: bool
) -> list[Source]:
    """Return the sources in the order of the file; `all_full` dumps every volume in full."""

    @cache
    def memory() -> "Memory":  # one for all of them
        from pipelines.sources.afs.volumes import Memory

        return Memory(repository, config.schedule, today, all_full=all_full)

    def make(source: AnySource) -> Source:
        if isinstance(source, AfsSource):
            from pipelines.sources.afs.volumes import Volumes

            return Volumes(source, vos_of(source), memory())
        if isinstance(source, CommandSource):
            from pipelines.sources.commands import Commands

            return Commands(source, config.run)
        from pipelines.sources.files import Files

        return Files(source)

    return [make(source) for source in config.sources]
