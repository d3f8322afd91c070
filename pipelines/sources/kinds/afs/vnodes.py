"""The vnodes of a dump compared with those stored of the volume, in words.

The columns are those of `AfsSplitter.vnodes` and `Succession.state`: 32 bytes a vnode, folders (odd numbers) first.
Invariant: a volume that was only written to causes no message.
"""

import struct
from collections.abc import Iterator

from pipelines.formats.splitters import Succession

_SHOWN = 5
_RECORD = struct.Struct("<IIIBxxxQQ")  # vnode, unique, data version, flags, length, hash
_ADVICE = "check the log of the volume server, and the file server's disk"


def shown(vnode: int, unique: int) -> str:
    """Return the name of a vnode, for messages."""
    return f"vnode {vnode}.{unique}"


def gone_back(before: bytes, now: bytes) -> str:
    """Return a folder whose data version is lower than it was; "" if there is none.

    The file server only counts up, and a dump has all folders whole: so the volume is in an older state, in which some
    files may be older as well, even if their dates do not show it.
    """
    versions = {(vnode, unique): version for vnode, unique, version in _folders(before)}
    for vnode, unique, version in _folders(now):
        if version < versions.get((vnode, unique), 0):
            return f"{shown(vnode, unique)} from data version {versions[vnode, unique]} to {version}"
    return ""


def alarms(compared: Succession) -> tuple[str, ...]:
    """Return alarms about contents that changed without a write."""
    if not compared.altered_count:
        return ()
    wanted = set(compared.altered[:_SHOWN])
    found = [
        shown(vnode, unique) for vnode, unique, *_ in _RECORD.iter_unpack(compared.state) if vnode in wanted
    ]
    more = compared.altered_count - len(found)
    names = ", ".join(found) + (f" and {more} more" if more > 0 else "")
    return (f"other contents than before, but the same data version: {names}; {_ADVICE}",)


def _folders(column: bytes) -> Iterator[tuple[int, int, int]]:
    for vnode, unique, version, *_ in _RECORD.iter_unpack(column):
        if vnode % 2 == 0:
            return
        yield vnode, unique, version
