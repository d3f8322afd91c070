"""How `vos` is run, and for which volumes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VosSettings:
    """The volumes of these servers and partitions, all if none is named, and how `vos` is run for them.

    `include` and `exclude` are shell patterns of volume names; `exclude` wins.  With `encrypt`, dumps from servers
    other than this host are encrypted on the network.  `program` is the name or path of `vos`.
    """

    servers: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    localauth: bool = True
    noauth: bool = False
    encrypt: bool = True
    cell: str = ""
    program: str = "vos"
