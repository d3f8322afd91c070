"""Volumes that a source had and has no more, and whether it includes any at all.

Invariant: a volume is called gone only if the configuration still asks for it by the name that it had.
"""

from datetime import date, timedelta

from pipelines.config import patterns
from pipelines.sources.kinds.afs.history import History
from pipelines.sources.kinds.afs.settings import AfsSettings
from pipelines.sources.protocol import Line
from pipelines.text import count
from pipelines.vos.listing import Volume
from pipelines.vos.program import AnyVos

_GONE_DAYS = 7  # how long a volume that is gone is reported


def gone_volumes(source: AfsSettings, present: list[Volume], history: History, today: date) -> list[Line]:
    """Return a line for each volume that was stored in the last days, and is not among `present`."""
    ids, names = {volume.id for volume in present}, {volume.name for volume in present}
    include, exclude = source.vos.include, source.vos.exclude
    renamed = ", or its name no longer matches include" if include != ("*",) or exclude else ""
    return [
        Line(
            source.name,
            stored.name,
            "gone",
            reason=f"volume {stored.facts.volume} no longer exists{renamed}",
        )
        for stored in history.gone(source.name, ids, names, today - timedelta(days=_GONE_DAYS))
        if patterns.wants(stored.name, include, exclude)  # else it was excluded on purpose
    ]


def none_included(vos: AnyVos, servers: list[str]) -> str:
    """Return that none of the servers' volumes is included; "" if they have none.  Raises `VosError`."""
    there = sum(map(vos.count, servers))
    if not there:
        return ""
    return (
        f"include and exclude match none of the {count(there, 'volume')} of {', '.join(servers)}; correct them in "
        "the config file"
    )
