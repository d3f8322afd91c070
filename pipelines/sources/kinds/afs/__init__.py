"""Kind afs: AFS volumes as full and incremental dumps.

Each module calls only those below it:

| module         | what for |
|---|---|
| `volumes`      | AFS volumes: listed, cloned, and dumped straight into the store |
| `decide`       | one volume: full or incremental, and whether what came may be stored |
| `gone`         | volumes that a source had and has no more, and whether it includes any at all |
| `settings`     | what the config file says of such a source |
| `history`      | what this writer has stored of each AFS volume |
| `schedule`     | when a volume is dumped in full |
| `vnodes`       | what the vnodes of a dump and those that are stored of the volume say about each other |
| `volume_state` | what this host remembers of each volume: its vnodes as they were dumped last |
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dedupstore.errors import DedupError
from pipelines.config.sections import Section
from pipelines.sources.kind import RunContext, SourceKind
from pipelines.sources.kinds.afs import settings as afs_settings
from pipelines.sources.kinds.afs.settings import AfsSettings
from pipelines.sources.kinds.afs.volumes import Memory, Volumes


class _Afs(SourceKind):
    """Kind afs: volumes as full and incremental dumps."""

    def read(self, section: Section, name: str) -> AfsSettings:
        """Read its keys."""
        return afs_settings.read(section, name)

    def make(self, settings: AfsSettings, context: RunContext) -> Volumes:
        """Return the source; with the root helper's `vos`, where there is one."""
        vos = context.root_parts.get(settings.name)
        if vos is None:
            from pipelines.vos.program import Vos

            vos = Vos(settings.vos)
        return Volumes(settings, vos, context.shared(_memory))

    def check(self, settings: AfsSettings, file: Path) -> None:
        """Raise `DedupError` if there is no such `vos`."""
        program = settings.vos.program
        if "/" in program and not Path(program).is_file():
            raise DedupError(
                f"{file}: source {settings.name}: no such program: vos = {program!a}",
                "install openafs-client, or correct vos",
            )

    def keep_root(self, settings: AfsSettings) -> AbstractContextManager[Any]:
        """Start the helper that runs `vos -localauth`."""
        from pipelines.vos import helper

        return helper.start(settings.vos)


def _memory(context: RunContext) -> Memory:
    return Memory(context.repository, context.schedule, context.today, all_full=context.all_full)


KIND = _Afs()
