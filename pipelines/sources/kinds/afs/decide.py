"""One volume: full or incremental, and whether what came may be stored.

`plan` decides before the dump, from the listing and the facts of what is stored; `judge` afterwards, from what the
splitter saw.  Invariant: an incremental is stored only if it continues what is stored of the same volume, as far as
dates, numbers and the volume's own list of vnodes show; if in doubt, the volume is dumped in full at once.

docs/afs.md explains the same to admins, and lists the facts.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

from pipelines.formats.splitters import DumpFacts, succeed
from pipelines.sources.kinds.afs import vnodes, volume_state
from pipelines.streams.facts import VolumeFacts
from pipelines.text import count, size
from pipelines.vos.listing import Volume, VosError

# A dump holds what changed in or after a second.  File server, volume server and clone read the clock at moments
# of their own, the file server one that is renewed every few seconds; `vos release` goes back 2 s for it.  Ten also
# cover a small correction of the clock.  What is sent twice is stored once.
OVERLAP = 10

# A `.backup` this much older than the run still counts as made by it: the clocks of two machines differ.
CLOCKS_DIFFER = 60


_OTHERS = "it has unknown sections, so it cannot be merged with other dumps"


class Parent(NamedTuple):
    """The newest stored stream of a volume.

    snapshot: its snapshot's name.  broken: why it cannot be restored or built on; empty if it can.
    """

    snapshot: bytes
    facts: VolumeFacts
    broken: str = ""


class Plan(NamedTuple):
    """What to do with a volume.

    since: seconds since 1970, 0 for a full.  reason: why it is dumped in full.  parent: the snapshot that an
    incremental continues.  continues: what is stored has the same history, so that both can be
    compared.
    """

    full: bool
    since: int
    reason: str
    parent: bytes
    continues: bool


class ParsedDump(Protocol):
    """What `judge` reads from an `AfsSplitter` after the end of the stream."""

    @property
    def unparsed(self) -> int | None: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102

    @property
    def complete(self) -> bool: ...  # noqa: D102

    @property
    def trailing(self) -> int: ...  # noqa: D102

    @property
    def others(self) -> int: ...  # noqa: D102

    def header(self) -> DumpFacts | None: ...  # noqa: D102

    def vnodes(self) -> bytes: ...  # noqa: D102


class Verdict(NamedTuple):
    """Whether a dump may be stored.

    outcome: "accept"; "full" if it does not continue the parent: dump in full, now; "reject" if it is unusable:
    try again.  reason: why it is not accepted.  facts: for the snapshot.  state: the column of vnodes to be kept (its
    digest is in the facts), None if the dump was not understood to its end.
    """

    outcome: Literal["accept", "full", "reject"]
    reason: str = ""
    warnings: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    facts: VolumeFacts | None = None
    state: bytes | None = None


def is_stale(backup: Volume, began: int) -> bool:
    """Tell whether a backup volume was cloned before the run began, in seconds since 1970."""
    return backup.backup < began - CLOCKS_DIFFER


def plan(volume: Volume, backup: Volume, parent: Parent | None, state: bytes | None, due: str) -> Plan:
    """Decide how to dump a volume.

    `volume` is the read-write one, `backup` the one that is dumped; `parent` the newest stored stream of the same
    volume id; `state` the column of vnodes that belongs to it; `due` why the schedule wants a full, empty if it
    does not.
    """
    broken = _broken(volume, backup, parent, state)
    reason = broken or due
    if reason or parent is None:
        return Plan(True, 0, reason, b"", not broken)
    return Plan(False, max(1, parent.facts.until - OVERLAP), "", parent.snapshot, True)


def _broken(volume: Volume, backup: Volume, parent: Parent | None, state: bytes | None) -> str:
    """Return why no incremental can continue what is stored; empty if one can."""
    if parent is None:
        return "new"
    known = parent.facts
    if known.volume != volume.id:
        return f"re-created: it was volume {known.volume}"
    if not volume.copy:
        return f"its read-write volume is {volume.status}, so it is unknown whether it was restored"
    if not known.copy:
        return "unknown whether it was restored since the stored dump"
    if volume.copy != known.copy:  # a clone keeps the copy date of the first clone, so only this date counts
        return f"restored, moved or re-created on {_day(volume.copy)}"
    if volume.creation != known.creation:
        return f"re-created on {_day(volume.creation)}"
    if backup.update < known.update:
        return f"its last change moved back from {_day(known.update)} to {_day(backup.update)}"
    if backup.backup < known.until:
        stored = f"the stored dump of {_day(known.until)}"
        return f"its clock moved back: its clone is of {_day(backup.backup)}, {stored}"
    if parent.broken:
        return f"broken chain: {parent.broken}"
    if known.others:
        return f"the stored dump: {_OTHERS}"
    if known.unparsed is not None:
        return "the stored dump was not understood"
    if state is None:
        return "no list of its files on this host"
    return ""


def judge(
    planned: Plan,
    volume: Volume,
    backup: Volume,
    splitter: ParsedDump,
    *,
    length: int,
    size_now: Callable[[], int],
    parent: Parent | None = None,
    state: bytes | None = None,
    stale: bool = False,
) -> Verdict:
    """Decide whether a complete dump of `length` bytes may be stored.

    `size_now` asks `vos size` for the length of the same dump; it is called only if the dump was not understood.
    The other arguments are as in `plan`.
    """
    header = splitter.header()
    if wrong := _wrong(planned, volume, backup, splitter, header):
        return Verdict("reject", wrong)
    assert header is not None  # noqa: S101 (that would be wrong)
    warnings = [f"{count(splitter.trailing, 'byte')} after the end of the dump"] if splitter.trailing else []
    if splitter.unparsed is not None:
        if not planned.full:  # it could not be merged with what it builds on
            return Verdict("full", _not_understood(splitter))
        wrong, warning = _raw(splitter, length, size_now)
        if wrong:
            return Verdict("reject", wrong)
        warnings.append(warning)
    if not planned.full and splitter.others:
        return Verdict("full", _OTHERS)
    if not planned.full and parent and (broken := _discontinued(backup, header, parent.facts)):
        return Verdict("full", broken)
    now = splitter.vnodes()
    if planned.full and (bare := succeed(b"", now).first_missing):
        return Verdict("reject", f"a full dump that names {vnodes.shown(*bare)} without its contents")
    before = state if state is not None and planned.continues else b""
    compared = succeed(before, now)
    if compared.first_missing:
        were = "was" if compared.missing == 1 else "were"
        left_out = f"{count(compared.missing, 'vnode')} that {were} never stored"
        first = vnodes.shown(*compared.first_missing)
        return Verdict("full", f"its incremental dump leaves out {left_out}, first {first}")
    if not planned.full and (back := vnodes.gone_back(before, now)):
        return Verdict("full", f"its folders are older than before: {back}")
    column = compared.state if splitter.unparsed is None else None
    if stale:
        warnings.append(f"as of {_day(header.until)}: its backup volume could not be refreshed")
    return Verdict(
        "accept",
        warnings=tuple(warnings),
        alarms=vnodes.alarms(compared),
        facts=_facts(planned, volume, backup, header, splitter, column, stale),
        state=column,
    )


def _wrong(
    planned: Plan, volume: Volume, backup: Volume, splitter: ParsedDump, header: DumpFacts | None
) -> str:
    if header is None:
        return f"not a volume dump: {splitter.reason or 'it has no header'}"
    if header.volume != backup.id or header.parent not in (0, volume.id):
        return f"it is of volume {header.volume} (of {header.parent}), not {backup.id}"
    if header.since != planned.since:
        return f"it begins at {header.since}, not {planned.since}"
    if header.until < header.since:
        return f"it ends at {_day(header.until)}, before it begins"
    if splitter.unparsed is None and not splitter.complete:
        return f"cut short: {splitter.reason or 'its end mark is missing'}"
    return ""


def _raw(splitter: ParsedDump, length: int, size_now: Callable[[], int]) -> tuple[str, str]:
    """Return what is wrong with a dump that was not understood to its end, else the warning for it."""
    where = _not_understood(splitter)
    try:
        expected = size_now()
    except VosError as error:
        return "", f"{where}, stored as it is; whether it is complete is unknown: {error.message}"
    if expected != length:
        return f"{where}, and {size(length)} came instead of {size(expected)}", ""
    return "", f"{where}, stored as it is; all of its {size(length)} came"


def _not_understood(splitter: ParsedDump) -> str:
    return f"not understood from byte {splitter.unparsed} on ({splitter.reason})"


def _discontinued(backup: Volume, header: DumpFacts, stored: VolumeFacts) -> str:
    if header.until != backup.backup:
        return f"it was cloned again at {_day(header.until)}, maybe after a restore"
    if header.until < stored.until:
        return f"its clock moved back from {_day(stored.until)} to {_day(header.until)}"
    if header.uniquifier < stored.uniquifier:
        return f"its vnode counter moved back from {stored.uniquifier} to {header.uniquifier}"
    if header.update < stored.update:
        return f"its last change moved back from {_day(stored.update)} to {_day(header.update)}"
    return ""


def _copy_date(volume: Volume, backup: Volume, header: DumpFacts) -> int:
    # a clone that is older than a restore, or not the one that was looked at, may be of the volume's life before
    return volume.copy if volume.copy < header.until == backup.backup else 0


def _facts(
    planned: Plan,
    volume: Volume,
    backup: Volume,
    header: DumpFacts,
    splitter: ParsedDump,
    column: bytes | None,
    stale: bool,
) -> VolumeFacts:
    return VolumeFacts(
        volume=volume.id,
        dumped=backup.id,
        name=volume.name,
        server=backup.server,
        partition=backup.partition,
        since=header.since,
        until=header.until,
        creation=volume.creation,
        copy=_copy_date(volume, backup, header),
        update=header.update,
        backup=header.backup,
        uniquifier=header.uniquifier,
        parent=planned.parent,
        state=b"" if column is None else bytes.fromhex(volume_state.digest(column)),
        unparsed=splitter.unparsed,
        others=splitter.others > 0,
        stale=stale,
    )


def _day(seconds: int) -> str:
    # not from a date without a zone: near the year 10000 Python would look a day ahead
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y.%m.%dT%H:%M:%S}"
