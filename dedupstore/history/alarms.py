"""Alarms: what is wrong with the history of snapshots (docs/format.md 10).

Invariant: an alarm says what is gone or contradicts itself, and who knows otherwise.  What a member claims is
shown to the others and stops none of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from dedupstore.history.closings import CountingContext
from dedupstore.history.done_records import DoneRecords
from dedupstore.state.heads import Head


class SnapshotInfo(msgspec.Struct, frozen=True):
    """A snapshot without its streams; sizes in bytes, times in Unix seconds, `streams` is their number."""

    name: bytes
    signer: bytes
    run: bytes
    domain: str
    sequence: int
    time: int
    utc_offset: int
    started: int
    finished: int
    host: str
    program: str
    streams: int
    size: int
    stored: int
    new: int
    heads: dict[bytes, tuple[int, bytes]]
    roster: tuple[int, bytes]


def highest(numbers: Iterable[int], top: int = 0) -> int:
    """Return the highest sequence number that is evidence: no more than a step above `top` or the one below it."""
    for number in sorted(numbers):
        if number > top + layout.MAX_SEQUENCE_STEP:
            break
        top = max(top, number)
    return top


def lost(
    kept: Mapping[bytes, Head],
    counting: Sequence[SnapshotInfo],
    done: DoneRecords,
    may_count: Callable[[bytes, bytes], bool],
) -> dict[bytes, str]:
    """Return an alarm for each signer whose newest snapshot that this host has seen is gone."""
    present = {info.name for info in counting} | done.entombed.keys()
    return {
        signer: _rollback(name, "this host")
        for signer, (_, name) in kept.items()
        if name not in present and may_count(name, signer)
    }


def history(
    context: CountingContext,
    counting: Sequence[SnapshotInfo],
    done: DoneRecords,
    numbers: Mapping[bytes, int],
) -> list[str]:
    """Return what the snapshots that count say of others, and cannot be."""
    members = context.members
    present = {info.name for info in counting} | done.entombed.keys()
    found = []
    taken: dict[tuple[bytes, int], SnapshotInfo] = {}
    for info in counting:
        witness = f"the backup of {info.host} numbered {info.sequence}"
        for signer, (_, name) in info.heads.items():
            member = members.signers.get(signer)
            if name not in present and member is not None and member.closing is None:
                found.append(_rollback(name, witness))
        if info.roster[0] >= members.serial and info.roster != members.roster:
            found.append(
                f"{witness} was made under roster {info.roster[0]} ({info.roster[1].hex()[:16]}…), "
                f"but the newest available is {members.serial} ({members.digest.hex()[:16]}…)"
            )
        if info.sequence > numbers[info.signer]:
            found.append(
                f"{witness} has a number far above {numbers[info.signer]}, the one before it: "
                f"someone else may have the key of {members.signers[info.signer].name}"
            )
        if taken.setdefault((info.signer, info.sequence), info) is not info:
            found.append(f"the repository forked: {info.host} published two backups numbered {info.sequence}")
    return found + _torn(context, counting, done, present) + _closed(context, present)


def _torn(
    context: CountingContext, counting: Sequence[SnapshotInfo], done: DoneRecords, present: Iterable[bytes]
) -> list[str]:
    """Return an alarm for each snapshot that is gone and whose run has another that counts."""
    runs = {info.signer + info.run: info for info in counting}
    there = set(present)
    return [
        _rollback(row[:32], f"the done record of the backup numbered {runs[row[32:]].sequence}")
        for row in sorted(done.named)
        if row[32:] in runs and row[:32] not in there and context.members.signers[row[32:64]].closing is None
    ]


def _closed(context: CountingContext, present: Iterable[bytes]) -> list[str]:
    """Return an alarm for each snapshot of a removed member that is gone and should count."""
    there = set(present)
    return [
        _rollback(name, f"the closing list of {member.name}")
        for signer, member in context.members.signers.items()
        if member.closing and (closing := context.closed(signer)) is not None
        for name in records.names(closing.snapshots)
        if name not in there
    ]


def missing_index(
    counting: Sequence[SnapshotInfo],
    done: DoneRecords,
    present: set[bytes],
    stands_for: Callable[[bytes], bytes | None],
) -> list[str]:
    """Return an alarm for each index file that a run relied on and that is gone, neither deleted nor replaced.

    `stands_for` gives the one that stands for another.
    """
    runs = {info.signer + info.run: info for info in counting}
    found = []
    for signer, record in done.records:
        if (info := runs.get(signer + record.run)) is None:
            continue
        for name in records.names(record.index):
            if name in present or name in done.dropped:
                continue
            if stands_for(name) not in present:
                file = layout.content_file(Kind.INDEX, name)
                found.append(
                    f"{file} is gone, but the backup of {info.host} numbered {info.sequence} relied on it"
                )
    return found


def _rollback(name: bytes, witness: str) -> str:
    return f"rollback detected: backups seen before are gone: snapshots/{name.hex()}, seen by {witness}"
