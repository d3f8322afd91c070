"""What pruners publish, for those who do not delete: what is condemned, and which runs are fenced (docs/format.md 12).

Invariant: a record is believed only after it was verified; what is damaged has no effect but to be reported.
"""

from typing import NamedTuple

from dedupstore import layout, records, verified
from dedupstore.errors import NotFoundError
from dedupstore.layout import Kind
from dedupstore.opened import Opened


class Condemned(NamedTuple):
    """Names of what will be deleted, or is, and must not be relied on; `snapshots` are expired or abandoned."""

    packs: frozenset[bytes] = frozenset()
    index_files: frozenset[bytes] = frozenset()
    snapshots: frozenset[bytes] = frozenset()


def condemned(opened: Opened) -> Condemned:
    """List what is condemned."""
    found = [record for _, record in verified.listed(opened, Kind.CONDEMNED, records.Condemned).values()]
    return Condemned(
        frozenset(name for record in found for name in records.names(record.packs)),
        frozenset(name for record in found for name in records.names(record.index)),
        frozenset(name for record in found for name in records.names(record.snapshots + record.abandoned)),
    )


def entombed(opened: Opened) -> set[bytes]:
    """List the snapshots that were deleted lawfully."""
    found = verified.listed(opened, Kind.TOMBSTONES, records.Tombstones)
    return {tombstone.snapshot for _, record in found.values() for tombstone in record.entries()}


def is_open(opened: Opened, run: bytes, *, ended: bool) -> bool:
    """Tell whether a run may go on: its record is there, and no fence names it; nor, if asked for, an ended record.

    Fences are listed before run records.
    """
    fences = [file for file in opened.backend.names("fences") if layout.run_of(file, Kind.FENCE) == run]
    runs = set(opened.backend.names("runs"))
    if layout.run_file(run) not in runs or _pass_over(opened, Kind.FENCE, fences, records.Fence):
        return False
    ends = [file for file in runs if ended and layout.run_of(file, Kind.ENDED) == run]
    return not _pass_over(opened, Kind.ENDED, ends, records.Ended)


def _pass_over(
    opened: Opened,
    kind: Kind,
    files: list[str],
    record: type[records.Fence] | type[records.Ended],
) -> bool:
    """Tell whether one of these files, by what it says, lets a pruner pass the run over."""
    for file in files:
        try:
            found = verified.read(opened, kind, file, record)
        except NotFoundError:  # deleted after it was listed: then it was right
            return True
        if found is None:
            continue
        # whoever could end another's run could stop it
        if opened.counts(file, found[0]) if kind is Kind.FENCE else found[0] == opened.signer:
            return True
    return False
