"""Which volumes a [[source]] of kind afs names, and how `vos` is to ask for them."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class AfsSource:
    """[[source]] of kind afs: the volumes of these servers and partitions, all if none is named.

    `include` and `exclude` are patterns of volume names, as a shell's; what matches both is left out.  With
    `encrypt`, dumps of other servers than this host come encrypted.
    """

    kind: ClassVar[str] = "afs"

    name: str
    servers: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    backupsys: bool = True
    localauth: bool = True
    noauth: bool = False
    encrypt: bool = True
    cell: str = ""
    vos: str = "vos"
