"""What a source of volumes had and has no more, and whether it takes anything at all.

Invariant: a volume is called gone only if the configuration still asks for it by the name that it had.
"""

from datetime import date, timedelta

from pipelines.config import patterns
from pipelines.sources.kinds.afs.history import History
from pipelines.sources.protocol import Line
from pipelines.text import count
from pipelines.vos.listing import Volume
from pipelines.vos.program import AnyVos
from pipelines.vos.settings import AfsSource

_GONE_DAYS = 7  # how long a volume that is gone is reported


def chooses(source: AfsSource) -> bool:
    """Tell whether the source takes less than everything."""
    return bool(source.include != ("*",) or source.exclude)


def gone(source: AfsSource, present: list[Volume], history: History, today: date) -> list[Line]:
    """Return a line for each volume that was stored in the last days, and is not among `present`."""
    ids, names = {volume.id for volume in present}, {volume.name for volume in present}
    renamed = ", or its name no longer matches include" if chooses(source) else ""
    return [
        Line(
            source.name,
            stored.name,
            "gone",
            reason=f"volume {stored.facts.volume} is not there any more{renamed}",
        )
        for stored in history.gone(source.name, ids, names, today - timedelta(days=_GONE_DAYS))
        if patterns.wants(stored.name, source.include, source.exclude)  # else it was given up on purpose
    ]


def none_taken(vos: AnyVos, servers: list[str]) -> str:
    """Say how many volumes the servers have, of which none was taken; "" if they have none.  Raises `VosError`."""
    there = sum(map(vos.count, servers))
    if not there:
        return ""
    return (
        f"include and exclude match none of the {count(there, 'volume')} of {', '.join(servers)}; correct them in "
        "the config file"
    )
