"""AFS volumes as sources: full and incremental dumps.

Each module calls only those below it:

| module         | what for |
|---|---|
| `volumes`      | AFS volumes: listed, cloned, and dumped straight into the store |
| `decide`       | one volume |
| `missing`      | what a source of volumes had and has no more, and whether it takes anything at all |
| `history`      | what this writer has stored of each AFS volume |
| `schedule`     | when a volume is dumped in full |
| `vnodes`       | what the vnodes of a dump and those that are stored of the volume tell of each other |
| `volume_state` | what this host remembers of each volume: its vnodes as they were dumped last |
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dedupstore.errors import DedupError
from pipelines.config import rules
from pipelines.config.sections import Section
from pipelines.sources.kind import Kind, RunContext
from pipelines.sources.kinds.afs.volumes import Memory, Volumes
from pipelines.vos.settings import AfsSource


class _Afs(Kind):
    """Kind afs: volumes as incremental and full dumps."""

    def read(self, section: Section, name: str) -> AfsSource:
        """Read its keys."""
        noauth = section.take("noauth", rules.FLAG, False)
        source = AfsSource(
            name=name,
            servers=section.take("servers", rules.WORDS, ()),
            partitions=section.take("partitions", rules.WORDS, ()),
            include=section.take("include", rules.TEXTS, ("*",)),
            exclude=section.take("exclude", rules.TEXTS, ()),
            backupsys=section.take("backupsys", rules.FLAG, True),
            noauth=noauth,
            localauth=section.take("localauth", rules.FLAG, not section.has("noauth")),
            encrypt=section.take("encrypt", rules.FLAG, not noauth),
            cell=section.take("cell", rules.WORD, ""),
            vos=section.take("vos", rules.TEXT, "vos"),
        )
        if source.noauth and source.localauth:
            raise section.error("noauth", "localauth and noauth contradict each other", "keep one of the two")
        if source.noauth and source.encrypt:
            raise section.error(
                "encrypt", "without a key, as with noauth, nothing is encrypted", "keep one of the two"
            )
        return source

    def make(self, settings: AfsSource, context: RunContext) -> Volumes:
        """Return the source; with the root helper's `vos`, where there is one."""
        vos = context.root_parts.get(settings.name)
        if vos is None:
            from pipelines.vos.program import Vos

            vos = Vos(settings)
        return Volumes(settings, vos, context.shared(_memory))

    def check(self, settings: AfsSource, file: Path) -> None:
        """Raise `DedupError` if there is no such `vos`."""
        if "/" in settings.vos and not Path(settings.vos).is_file():
            raise DedupError(
                f"{file}: there is no {settings.vos}, which is vos of the source {settings.name}",
                "install openafs-client, or correct vos",
            )

    def keep_root(self, settings: AfsSource) -> AbstractContextManager[Any]:
        """Start the helper that runs `vos -localauth`."""
        from pipelines.vos import helper

        return helper.start(settings)


def _memory(context: RunContext) -> Memory:
    return Memory(context.repository, context.schedule, context.today, all_full=context.all_full)


KIND = _Afs()
