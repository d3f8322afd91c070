"""What pruners publish, as others see it: what is condemned, and which runs are fenced (docs/format.md 12).

Invariant: a record counts only after it was verified; a damaged one is reported and has no other effect.
"""

from typing import NamedTuple

from dedupstore.errors import NotFoundError
from dedupstore.format import layout, records, run_records
from dedupstore.format.layout import Kind
from dedupstore.history import verified
from dedupstore.history.closings import CountingContext


class CondemnedNames(NamedTuple):
    """Names of what will be deleted, or is, and must not be relied on; `snapshots` are expired or abandoned."""

    packs: frozenset[bytes] = frozenset()
    index_files: frozenset[bytes] = frozenset()
    snapshots: frozenset[bytes] = frozenset()


def condemned(context: CountingContext) -> CondemnedNames:
    """List what is condemned."""
    listed = context.counting(verified.listed(context, Kind.CONDEMNED, run_records.Condemned))
    found = [record for _, record in listed.values()]
    return CondemnedNames(
        frozenset(name for record in found for name in records.names(record.packs)),
        frozenset(name for record in found for name in records.names(record.index)),
        frozenset(name for record in found for name in records.names(record.snapshots + record.abandoned)),
    )


def entombed(context: CountingContext) -> set[bytes]:
    """List the snapshots that were deleted lawfully."""
    found = context.counting(verified.listed(context, Kind.TOMBSTONES, run_records.Tombstones))
    return {tombstone.snapshot for _, record in found.values() for tombstone in record.entries()}


def is_open(context: CountingContext, run: bytes, *, ended: bool) -> bool:
    """Return whether a run may go on: its record is there, and no fence names it; nor, if asked for, an ended record.

    Fences are listed before run records.
    """
    fences = [file for file in context.backend.names("fences") if layout.run_of(file, Kind.FENCE) == run]
    runs = set(context.backend.names("runs"))
    if layout.run_file(run) not in runs or _pass_over(context, Kind.FENCE, fences, run_records.Fence):
        return False
    ends = [file for file in runs if ended and layout.run_of(file, Kind.ENDED) == run]
    return not _pass_over(context, Kind.ENDED, ends, run_records.Ended)


def _pass_over(
    context: CountingContext,
    kind: Kind,
    files: list[str],
    record: type[run_records.Fence] | type[run_records.Ended],
) -> bool:
    """Return whether one of these files, by what it says, lets a pruner pass the run over."""
    for file in files:
        try:
            found = verified.read(context, kind, file, record)
        except NotFoundError:  # deleted after it was listed: then it was right
            return True
        if found is None:
            continue
        # a member must not be able to stop another's run
        if context.counts(file, found[0]) if kind is Kind.FENCE else found[0] == context.signer:
            return True
    return False
