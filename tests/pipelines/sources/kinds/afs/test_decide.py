"""What is decided of one volume: full or incremental, and whether a dump may be stored.

The dumps are real ones of one volume, `samp`: a full, then an incremental.  README.md beside them says how they came
to be.
"""

import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dedupstore.format import layout
from pipelines.formats.splitters import AfsSplitter
from pipelines.sources.kinds.afs import decide, volume_state
from pipelines.sources.kinds.afs.decide import Parent, Plan, Verdict
from pipelines.streams.facts import VolumeFacts
from pipelines.vos.listing import Volume, VosError

SAMPLES = Path(__file__).parents[4] / "data" / "afs"
FULL, INCREMENTAL, UNCHANGED = (
    (SAMPLES / name).read_bytes() for name in ("2-full.dump", "3-incr.dump", "4-incr-nothing-changed.dump")
)
CREATED, UPDATED, UNTIL = 1795191390, 1795191397, 1795191399  # the last two as the full has them
SINCE = UNTIL - decide.OVERLAP

RW = Volume("samp", 536870945, 536870945, "RW", "fs1", "/vicepa", "OK", 218, CREATED, CREATED, UNTIL, UPDATED)
RW = RW._replace(backup_id=536870949)
BK = RW._replace(name="samp.backup", id=536870949, type="BK", creation=UNTIL, backup=UNTIL, backup_id=0)
# as they are when the incremental is made
RW_LATER = RW._replace(update=1795191401, backup=1795191403)
BK_LATER = BK._replace(update=1795191401, backup=1795191403)

PARENT, OTHER_PARENT = b"\xab" * 32, b"\xcd" * 32  # names of snapshots

FIRST = Plan(True, 0, "new", b"", False)
NEXT = Plan(False, SINCE, "", PARENT, True)
SCHEDULED = Plan(True, 0, "Sunday", b"", True)


def since(dump: bytes, seconds: int) -> bytes:
    """Return the dump as if everything since that second had been asked for."""
    at = dump.index(b"t\0\2") + 3
    return dump[:at] + struct.pack(">I", seconds) + dump[at + 4 :]


def change(dump: bytes, old: bytes, new: bytes) -> bytes:
    assert old in dump
    return dump.replace(old, new, 1)


def judge(plan: Plan, dump: bytes, volume: Volume | None = None, **others: Any) -> Verdict:
    splitter = AfsSplitter()
    splitter.split(dump, True)
    backup = BK if plan.full else BK_LATER
    volume = volume or (RW if plan.full else RW_LATER)

    def size_now() -> int:
        raise AssertionError("nobody should have asked")

    return decide.judge(
        plan, volume, backup, splitter, **{"length": len(dump), "size_now": size_now, **others}
    )


def stored() -> tuple[Parent, bytes]:
    """Return what is stored after the full."""
    verdict = judge(FIRST, FULL)
    assert verdict.state is not None
    assert verdict.facts is not None
    return Parent(PARENT, verdict.facts), verdict.state


def plan(volume: Volume = RW_LATER, backup: Volume = BK_LATER, /, *, due: str = "", **changed: Any) -> Plan:
    """Plan after the full; what is `changed` are its facts."""
    parent, state = stored()
    return decide.plan(
        volume, backup, parent._replace(facts=msgspec.structs.replace(parent.facts, **changed)), state, due
    )


# -- before the dump


def test_a_new_volume_is_dumped_in_full() -> None:
    assert FIRST == decide.plan(RW, BK, None, None, "")


def test_a_known_one_is_dumped_from_the_parents_own_end_less_an_overlap() -> None:
    assert NEXT == plan()


def test_the_schedule_can_want_a_full_that_is_still_compared() -> None:
    assert SCHEDULED == plan(due="Sunday")


@pytest.mark.parametrize(
    ("volume", "backup", "reason"),
    [
        ({"copy": CREATED + 5}, {}, "restored, moved or re-created on 2026"),
        ({"copy": CREATED - 5}, {}, "restored, moved or re-created on 2026"),
        ({"creation": CREATED + 5}, {}, "re-created on 2026"),
        ({"id": 77}, {}, "re-created: it was volume 536870945"),
        ({"copy": 0, "creation": 0, "status": "busy"}, {}, "its read-write volume is busy, so it is unknown"),
        ({}, {"update": UPDATED - 1}, "its last change moved back from 2026"),
        ({}, {"backup": UNTIL - 1}, "its clock moved back: its clone is of 2026"),
    ],
)
def test_what_breaks_the_history_means_a_full_now(
    volume: dict[str, Any], backup: dict[str, Any], reason: str
) -> None:
    made = plan(RW_LATER._replace(**volume), BK_LATER._replace(**backup), due="Sunday")
    assert made._replace(reason="") == Plan(True, 0, "", b"", False)
    assert made.reason.startswith(reason)


def test_no_local_list_a_broken_chain_and_a_parent_not_understood_mean_a_full() -> None:
    parent, state = stored()
    reasons = [
        decide.plan(RW_LATER, BK_LATER, parent, None, "").reason,
        decide.plan(RW_LATER, BK_LATER, parent._replace(broken="1 May is missing"), state, "").reason,
        plan(unparsed=7).reason,
    ]
    assert [
        "no list of its files on this host",
        "broken chain: 1 May is missing",
        "the stored dump was not understood",
    ] == reasons


def test_a_clone_from_before_the_run_is_stale() -> None:
    assert [True, False, False] == [
        decide.is_stale(BK, UNTIL + decide.CLOCKS_DIFFER + 1),
        decide.is_stale(BK, UNTIL + decide.CLOCKS_DIFFER),
        decide.is_stale(BK, UNTIL - 1),
    ]


def test_a_stored_dump_of_an_uncertain_life_is_not_built_on() -> None:
    assert Plan(True, 0, "unknown whether it was restored since the stored dump", b"", False) == plan(copy=0)


# -- after the dump


def test_a_full_is_accepted_with_all_its_facts() -> None:
    verdict = judge(FIRST, FULL)
    assert verdict.state is not None
    assert verdict == Verdict(
        "accept",
        facts=VolumeFacts(
            volume=536870945,
            dumped=536870949,
            name="samp",
            server="fs1",
            partition="/vicepa",
            since=0,
            until=UNTIL,
            creation=CREATED,
            copy=CREATED,
            update=UPDATED,
            backup=UNTIL,
            uniquifier=349,
            state=bytes.fromhex(volume_state.digest(verdict.state)),
        ),
        state=verdict.state,
    )


def test_an_incremental_is_accepted_and_takes_over_what_it_leaves_out() -> None:
    parent, state = stored()
    verdict = judge(NEXT, since(INCREMENTAL, SINCE), parent=parent, state=state)
    assert ("accept", "", (), ()) == verdict[:4]
    assert verdict.facts is not None
    assert (PARENT, False, SINCE) == (verdict.facts.parent, verdict.facts.full, verdict.facts.since)
    assert verdict.state is not None
    assert 87 * 32 == len(verdict.state)
    fulls = {state[at : at + 8]: state[at : at + 32] for at in range(0, len(state), 32)}
    old = [at for at in range(0, len(verdict.state), 32) if verdict.state[at : at + 32] in fulls.values()]
    assert 73 <= len(old) < 87


def test_a_vnode_that_was_never_stored_means_a_full_now() -> None:
    parent, state = stored()
    at = next(at for at in range(0, len(state), 32) if state[at : at + 8] == struct.pack("<II", 2, 3))
    verdict = judge(NEXT, since(INCREMENTAL, SINCE), parent=parent, state=state[:at] + state[at + 32 :])
    assert (
        Verdict("full", "its incremental dump leaves out 1 vnode that was never stored, first vnode 2.3")
        == verdict
    )


def test_an_incremental_restored_over_another_base_means_a_full_now() -> None:
    parent, _ = stored()
    verdict = judge(NEXT, since(INCREMENTAL, SINCE), parent=parent, state=b"")
    assert (
        Verdict("full", "its incremental dump leaves out 73 vnodes that were never stored, first vnode 2.3")
        == verdict
    )


@pytest.mark.parametrize(
    ("fact", "value", "reason"),
    [
        ("until", 1795191404, "its clock moved back from 2026"),
        ("uniquifier", 353, "its vnode counter moved back from 353 to 352"),
        ("update", 1795191402, "its last change moved back from 2026"),
    ],
)
def test_what_goes_backwards_in_the_dump_means_a_full_now(fact: str, value: int, reason: str) -> None:
    parent, state = stored()
    changed = parent._replace(facts=msgspec.structs.replace(parent.facts, **{fact: value}))
    verdict = judge(NEXT, since(INCREMENTAL, SINCE), parent=changed, state=state)
    assert ("full", reason) == (verdict.outcome, verdict.reason[: len(reason)])


@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        (FULL[:-1], "cut short: "),
        (FULL[:-5], "cut short: "),
        (FULL[: len(FULL) // 2], "cut short: "),
        (FULL[:30], "not a volume dump: "),
        (b"", "not a volume dump: "),
        (b"something else", "not a volume dump: "),
        (since(FULL, 1), "it begins at 1, not 0"),
        (since(FULL, UNTIL + 1), "it begins at "),
        (
            change(FULL, struct.pack(">cI", b"v", BK.id), b"v\0\0\0\7"),
            "it is of volume 7 (of 536870945), not 536870949",
        ),
        (change(FULL, struct.pack(">cI", b"p", RW.id), b"p\0\0\0\7"), "it is of volume 536870949 (of 7)"),
    ],
)
def test_a_dump_that_is_not_what_was_asked_for_is_refused(dump: bytes, reason: str) -> None:
    verdict = judge(FIRST, dump)
    assert ("reject", reason) == (verdict.outcome, verdict.reason[: len(reason)])


def test_an_incremental_instead_of_a_full_is_refused() -> None:
    assert "reject" == judge(FIRST, INCREMENTAL).outcome
    unasked = Verdict("reject", "a full dump that names vnode 2.3 without its contents")
    assert unasked == judge(FIRST, since(INCREMENTAL, 0))
    parent, state = stored()  # what is stored does not make a full of it
    assert unasked == judge(SCHEDULED, since(INCREMENTAL, 0), parent=parent, state=state)


MIDDLE, MIDDLE_ODD = (bytes([tag]) + struct.pack(">II", 2, 3) for tag in (3, 2))
ODD = change(FULL, MIDDLE, MIDDLE_ODD)  # there is no such section in the middle


def test_what_is_not_understood_is_a_warning_if_it_is_whole() -> None:
    verdict = judge(FIRST, ODD, size_now=lambda: len(ODD))
    (warning,) = verdict.warnings
    assert ("accept", None) == (verdict.outcome, verdict.state)
    assert warning.startswith("not understood from byte ")
    assert warning.endswith(", stored as it is; all of its 90.5 kB came")
    assert verdict.facts is not None
    assert b"" == verdict.facts.state
    assert ODD.index(MIDDLE_ODD) == verdict.facts.unparsed


def test_an_incremental_that_is_not_understood_means_a_full_as_it_could_not_be_merged() -> None:
    parent, state = stored()
    odd = since(change(INCREMENTAL, b"\3" + MIDDLE[1:], MIDDLE_ODD), SINCE)
    verdict = judge(NEXT, odd, parent=parent, state=state)
    assert ("full", "not understood from byte ") == (verdict.outcome, verdict.reason[:25])


def test_what_is_not_understood_and_not_whole_is_refused() -> None:
    verdict = judge(FIRST, ODD[:-100], size_now=lambda: len(FULL))
    assert "reject" == verdict.outcome
    assert verdict.reason.endswith("and 90.4 kB came instead of 90.5 kB")


def test_what_is_not_understood_and_cannot_be_sized_is_a_warning_that_says_so() -> None:
    def size_now() -> int:
        raise VosError("vos size 536870949 failed")

    (warning,) = judge(FIRST, ODD, size_now=size_now).warnings

    assert warning.endswith("whether it is complete is unknown: vos size 536870949 failed")


def test_bytes_after_the_end_are_a_warning() -> None:
    verdict = judge(FIRST, FULL + b"xyz")
    assert ("accept", ("3 bytes after the end of the dump",)) == (verdict.outcome, verdict.warnings)


def altered_full() -> tuple[bytes, str]:
    """Return the full with one byte of a file's contents changed, and the file's vnode."""
    splitter = AfsSplitter()
    splitter.split(FULL, True)
    column = splitter.vnodes()
    records = [struct.unpack_from("<IIIBxxxQQ", column, at) for at in range(0, len(column), 32)]
    vnode, unique, _, _, length, _ = max(records, key=lambda record: record[4] if record[0] % 2 == 0 else 0)
    at = FULL.index(struct.pack(">BII", 3, vnode, unique))
    at = FULL.index(struct.pack(">cI", b"f", length), at) + 5 + length // 2
    return FULL[:at] + bytes([FULL[at] ^ 1]) + FULL[at + 1 :], f"vnode {vnode}.{unique}"


def test_other_contents_of_the_same_data_version_are_an_alarm() -> None:
    parent, state = stored()
    dump, vnode = altered_full()
    verdict = judge(SCHEDULED, dump, parent=parent, state=state)
    assert "accept" == verdict.outcome
    assert (
        f"other contents than before, but the same data version: {vnode}; check the log of the volume server, and the"
        " file server's disk",
    ) == verdict.alarms


def test_a_restored_volume_is_not_compared_with_what_it_was() -> None:
    parent, state = stored()
    dump, _ = altered_full()
    restored = Plan(True, 0, "restored", b"", False)
    assert () == judge(restored, dump, parent=parent, state=state).alarms


def test_a_stale_clone_is_stored_under_its_own_time_and_says_so() -> None:
    verdict = judge(FIRST, FULL, stale=True)
    assert verdict.facts is not None
    assert (True, UNTIL) == (verdict.facts.stale, verdict.facts.until)
    assert len(verdict.warnings) == 1
    assert verdict.warnings[0].startswith("as of 2026.11.20T")
    assert verdict.warnings[0].endswith(": its backup volume could not be refreshed")


@pytest.mark.parametrize("copy", [UNTIL, UNTIL + 1, UNTIL + 86400])
def test_a_clone_from_before_a_restore_is_not_taken_for_one_after_it(copy: int) -> None:
    """The volume was restored after it was cloned, and before it was listed: nothing may continue this dump."""
    restored = RW._replace(copy=copy)
    facts = judge(FIRST, FULL, restored).facts
    assert facts is not None
    assert 0 == facts.copy
    later = RW_LATER._replace(copy=copy, backup=copy + 1)
    clone = BK_LATER._replace(backup=copy + 1, update=copy + 1)
    assert decide.plan(later, clone, Parent(PARENT, facts), b"", "").full


def test_a_clone_that_somebody_made_after_the_listing_may_be_of_a_restored_volume() -> None:
    parent, state = stored()
    incremental = since(INCREMENTAL, SINCE)
    at = incremental.index(struct.pack(">I", BK_LATER.backup))
    made_anew = incremental[:at] + struct.pack(">I", BK_LATER.backup + 3600) + incremental[at + 4 :]
    verdict = judge(NEXT, made_anew, parent=parent, state=state)
    assert ("full", "it was cloned again at 2026.11.20T") == (verdict.outcome, verdict.reason[:34])
    at = FULL.index(struct.pack(">I", UNTIL))
    facts = judge(FIRST, FULL[:at] + struct.pack(">I", UNTIL + 3600) + FULL[at + 4 :]).facts
    assert facts is not None
    assert (UNTIL + 3600, 0) == (facts.until, facts.copy)


def test_after_an_incremental_of_nothing_the_list_of_vnodes_is_the_same() -> None:
    parent, state = stored()
    first = judge(NEXT, since(INCREMENTAL, SINCE), parent=parent, state=state)
    assert first.state is not None
    assert first.facts is not None
    until = first.facts.until
    backup = BK_LATER._replace(backup=until + 86400)
    planned = decide.plan(RW_LATER, backup, Parent(OTHER_PARENT, first.facts), first.state, "")
    second = judge(
        planned, since(UNCHANGED, planned.since), parent=Parent(OTHER_PARENT, first.facts), state=first.state
    )
    assert ("accept", "") == (second.outcome, second.reason)
    assert first.state == second.state


END = bytes.fromhex("043a214b6e")
KNOWN_TO_NOBODY = b"\x05\x03new"


def test_a_dump_with_sections_that_nobody_knows_is_built_on_by_none() -> None:
    full = judge(FIRST, FULL.removesuffix(END) + KNOWN_TO_NOBODY + END)
    assert full.facts is not None
    assert ("accept", True, None) == (full.outcome, full.facts.others, full.facts.unparsed)
    planned = decide.plan(RW_LATER, BK_LATER, Parent(PARENT, full.facts), full.state, "")
    why = "it has unknown sections, so it cannot be merged with other dumps"
    assert (True, f"the stored dump: {why}") == (planned.full, planned.reason)
    parent, state = stored()
    odd = since(INCREMENTAL, SINCE).removesuffix(END) + KNOWN_TO_NOBODY + END
    assert Verdict("full", why) == judge(NEXT, odd, parent=parent, state=state)


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Niue"])
@pytest.mark.parametrize("fact", ["until", "update", "copy", "creation"])
def test_stored_dates_at_the_end_of_time_mean_a_full_everywhere(
    monkeypatch: pytest.MonkeyPatch, zone: str, fact: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        changed: dict[str, Any] = {fact: layout.MAX_TIME}
        made = plan(**changed)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (True, 0) == (made.full, made.since)
