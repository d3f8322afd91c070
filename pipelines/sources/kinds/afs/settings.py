"""What the config file says of a source of kind afs."""

from dataclasses import dataclass, field
from typing import ClassVar

from pipelines.config import rules
from pipelines.config.sections import Section
from pipelines.vos.settings import VosSettings


@dataclass(frozen=True)
class AfsSettings:
    """[[source]] of kind afs: volumes, and how `vos` reads them; `backupsys` clones all of them at once."""

    kind: ClassVar[str] = "afs"

    name: str
    vos: VosSettings = field(default_factory=VosSettings)
    backupsys: bool = True


def read(section: Section, name: str) -> AfsSettings:
    """Read the keys of such a source."""
    noauth = section.take("noauth", rules.FLAG, False)
    vos = VosSettings(
        servers=section.take("servers", rules.WORDS, ()),
        partitions=section.take("partitions", rules.WORDS, ()),
        include=section.take("include", rules.TEXTS, ("*",)),
        exclude=section.take("exclude", rules.TEXTS, ()),
        noauth=noauth,
        localauth=section.take("localauth", rules.FLAG, not section.has("noauth")),
        encrypt=section.take("encrypt", rules.FLAG, not noauth),
        cell=section.take("cell", rules.WORD, ""),
        program=section.take("vos", rules.TEXT, "vos"),
    )
    if vos.noauth and vos.localauth:
        raise section.error("noauth", "localauth and noauth exclude each other", "remove one of them")
    if vos.noauth and vos.encrypt:
        raise section.error("encrypt", "noauth has no key to encrypt with", "remove encrypt or noauth")
    return AfsSettings(name, vos, section.take("backupsys", rules.FLAG, True))
