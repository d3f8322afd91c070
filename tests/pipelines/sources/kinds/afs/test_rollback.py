"""A volume that is put back into an older state behind every date: an incremental must not continue what was stored.

The dates that would tell are those of a later write: what is left are the folders, of which every dump has all.
"""

import copy
import random

from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.splitters import AfsSplitter
from pipelines.sources.kinds.afs import decide
from pipelines.sources.kinds.afs.decide import Parent, Plan, Verdict
from pipelines.vos.listing import Volume as Listed
from tests.pipelines.formats.afs.model import ROOT, Volume

STEP = 1000  # seconds between two dumps


def store(volume: Volume, parent: Verdict | None) -> tuple[Plan, Verdict]:
    """Plan and judge a dump of the volume as it is, as if it were its clone's."""
    volume.now += STEP
    read_write = Listed("model", volume.number, volume.number, "RW", "fs1", "/vicepa", "OK")
    read_write = read_write._replace(creation=volume.created, copy=volume.created)
    backup = read_write._replace(type="BK", backup=volume.now, update=volume.updated)
    known = Parent(b"\xab" * 32, parent.facts) if parent and parent.facts else None
    state = parent.state if parent else None
    plan = decide.plan(read_write, backup, known, state, "")
    dump, splitter = volume.dump(plan.since), AfsSplitter()
    splitter.split(dump, True)
    verdict = decide.judge(
        plan, read_write, backup, splitter, length=len(dump), size_now=lambda: 0, parent=known, state=state
    )
    return plan, verdict


def edit(volume: Volume, chance: random.Random, times: int) -> None:
    for _ in range(times):
        volume.now += 1
        volume.edit(chance)


@given(st.integers(0, 2**32), st.integers(0, 30))
def test_a_volume_that_is_only_written_to_goes_on_incrementally(seed: int, edits: int) -> None:
    volume, chance = Volume(), random.Random(seed)
    edit(volume, chance, 30)
    _, verdict = store(volume, None)
    for _ in range(3):
        edit(volume, chance, edits)
        plan, verdict = store(volume, verdict)
        assert (False, "accept", "") == (plan.full, verdict.outcome, verdict.reason)


def test_a_volume_that_went_back_and_was_written_to_again_is_dumped_in_full() -> None:
    volume = Volume()
    volume.write(ROOT, b"file", b"old")
    _, first = store(volume, None)
    older = copy.deepcopy(volume)
    volume.write(ROOT, b"file", b"new")  # with its old date, it will be only named
    volume.write(ROOT, b"one", b"1")
    volume.write(ROOT, b"two", b"2")
    _, second = store(volume, first)
    assert "accept" == second.outcome

    older.now = volume.now + STEP
    older.unique = volume.unique  # as many were made since as were lost
    older.write(ROOT, b"another", b"3")
    plan, verdict = store(older, second)
    assert not plan.full
    assert Verdict("full", "its folders are older than before: vnode 1.1 from data version 4 to 3") == verdict
