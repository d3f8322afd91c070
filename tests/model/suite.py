"""What is explored: small configurations for every run of the tests, large ones for `make test-long`, and the rules.

`RULES` has, for each clause of a rule that can be switched off, the property that then breaks and the small
configurations in which it does. `TOGETHER` has the clauses that matter only when another one is off, too, and
`SPARE` those that no configuration was found to need.
"""

from collections.abc import Callable
from functools import partial

from tests.model.builders import (
    DROP,
    EXPIRE,
    OLD,
    abandon,
    checkpoint,
    closing,
    increments,
    one_chunk,
    two_chunks,
)
from tests.model.world import Model, Plan

Build = Callable[[frozenset[str]], Model]
NONE: frozenset[str] = frozenset()
SLOW = ("run", "pack", "index", "snapshot", "done", "ended", "condemned", "fence", "tombstone")
A, B, N1 = ("pack A", "index A"), ("pack B", "index B"), ("pack N1", "index N1")
TWO_PLACES = (*OLD, *B)
EITHER = (EXPIRE, abandon("1"))
ANY = (*EITHER, Plan(N1), abandon("1", *N1))
COPY_A = Plan(A, copies=("pack MX", "index MX"))
THIEF = (("ended R1", "run R1"),)
CLOSE = Plan(("index N8",), publishes="roster 1")
CLOSE_MORE = Plan(("index N8", "index N9"), unlists=("S9",), publishes="roster 1")
JUNK = (Plan(A), Plan(("pack N9", "index N9")))
MOVE = Plan(("pack A", "index I"), ("S0",), copies=("index J",))

SMALL: dict[str, Build] = {
    "a writer and a pruner": partial(one_chunk, plans={"X": EITHER}, clean=True),
    "two passes of a pruner that crashes": partial(one_chunk, plans={"X": ANY}, cycles=2, clean=True),
    "a writer and two pruners": partial(one_chunk, plans={"X": EITHER, "Y": (DROP,)}, clean=True),
    "a writer that crashes or goes on under a new run": partial(
        one_chunk, plans={"X": (EXPIRE, abandon("1a"))}, attempts=2, crashes=True, clean=True
    ),
    "a checkpoint completed as a new run": partial(checkpoint, plans={"X": (EXPIRE,)}),
    "a reader beside them": partial(one_chunk, plans={"X": EITHER}, clean=True, reader=True),
    "two places and two pruners": partial(
        one_chunk,
        writers=0,
        plans={"X": (Plan(A), Plan(B)), "Y": (Plan(A), Plan(B))},
        old=TWO_PLACES,
        clean=True,
    ),
    "a pruner that copies": partial(one_chunk, plans={"X": (COPY_A,), "Y": (DROP,)}, clean=True),
    "a copy without its index": partial(
        one_chunk, writers=0, plans={"X": (Plan(A, copies=("pack MX",)), COPY_A)}, clean=True
    ),
    "creates that take time": partial(one_chunk, plans={"X": EITHER}, clean=True, slow=SLOW),
    "slow fences and condemned records": partial(
        one_chunk, plans={"X": (EXPIRE,), "Y": (DROP,)}, slow=("fence", "condemned")
    ),
    "another's condemned record": lambda without: one_chunk(
        without,
        plans={"X": (EXPIRE,), "Y": (Plan(A, ("S0",), trusts="18.condemned" in without),)},
        slow=("condemned",),
    ),
    "listings that take time": partial(one_chunk, plans={"X": EITHER}, clean=True, windows=True),
    "a thief who ends the run": partial(one_chunk, plans={"X": EITHER}, clean=True, thief=THIEF),
    "a thief who forges a done record": partial(
        one_chunk, plans={"X": EITHER}, clean=True, thief=(("forged S1", "snapshot S1"),)
    ),
    "two chunks": partial(two_chunks, plans={"X": (Plan(A, ("S0",)),), "Y": (Plan(B),)}),
    "an index file of two packs, one condemned": partial(
        two_chunks, one_index=True, plans={"X": (Plan(("pack A",), ("S0",)),)}, clean=True
    ),
    "an index file of two packs, replaced": partial(
        two_chunks, one_index=True, plans={"X": (MOVE, Plan(("pack A",)))}, cycles=2, clean=True
    ),
    "increments": partial(increments, plans={"X": (EXPIRE, Plan(A, abandon=("C1",)))}, cycles=2, clean=True),
    "old increments and two pruners": partial(
        increments,
        writers=0,
        old_child=True,
        reader=True,
        clean=True,
        plans={
            "X": (EXPIRE,),
            "Y": (Plan(("pack C", "index C"), ("C0",)), Plan(("pack C", "index C", *A), ("C0", "S0"))),
        },
    ),
    "a closing list": partial(closing, plans={"admin": (CLOSE,), "Y": JUNK}, clean=True),
    "a closing list that is replaced": partial(
        closing, plans={"admin": (CLOSE_MORE,), "Y": JUNK}, again=True, clean=True
    ),
}

OLD_CHILD = ("pack C", "index C")
MAYBE_SHOWN = tuple(kind for kind in SLOW if kind not in ("pack", "index"))

LARGE: dict[str, Build] = {
    "two writers and two pruners": partial(one_chunk, writers=2, plans={"X": EITHER, "Y": (DROP,)}),
    "a writer and two pruners of two passes that crash": partial(
        one_chunk, plans={"X": EITHER, "Y": (DROP, Plan(N1))}, cycles=2, clean=True
    ),
    "three passes of a pruner that crashes": partial(one_chunk, plans={"X": ANY}, cycles=3, clean=True),
    "a writer with three attempts that crashes": partial(
        one_chunk, attempts=3, crashes=True, plans={"X": (EXPIRE, abandon("1a"))}, clean=True
    ),
    "two chunks, two writers and two pruners": partial(
        two_chunks, writers=2, plans={"X": (Plan(A, ("S0",)),), "Y": (Plan(B),)}
    ),
    "two chunks, a writer of two attempts, two pruners and clean-up": partial(
        two_chunks, attempts=2, plans={"X": (Plan(A, ("S0",)),), "Y": (Plan(B), abandon("1a"))}, clean=True
    ),
    "an index file of two packs, two pruners": partial(
        two_chunks,
        one_index=True,
        plans={"X": (MOVE, Plan(("pack A",))), "Y": (Plan(("pack B",)), Plan(("pack B", "index J")))},
        clean=True,
    ),
    "increments, two attempts, two pruners": partial(
        increments,
        attempts=2,
        plans={"X": (EXPIRE, DROP), "Y": (Plan(A, abandon=("C1a",)), DROP)},
        clean=True,
    ),
    "increments to a parent that has others": partial(
        increments,
        old_child=True,
        plans={
            "X": (EXPIRE, Plan((*A, *OLD_CHILD), ("S0", "C0"))),
            "Y": (Plan(OLD_CHILD, ("C0",)), DROP),
        },
        clean=True,
    ),
    "a closing list that is replaced, a writer beside it": partial(
        closing,
        writers=1,
        again=True,
        plans={"admin": (CLOSE_MORE,), "Y": (Plan(A, ("S0",)), *JUNK)},
        clean=True,
    ),
    "two pruners that copy": partial(
        one_chunk,
        plans={
            "X": (Plan(A, copies=("pack MX", "index MX")), Plan(B)),
            "Y": (Plan(B, copies=("pack MY", "index MY")), Plan(A)),
        },
        old=TWO_PLACES,
    ),
    "slow creates, two pruners": partial(
        one_chunk, plans={"X": EITHER, "Y": (DROP,)}, clean=True, slow=MAYBE_SHOWN
    ),
    "slow listings, two pruners": partial(one_chunk, plans={"X": EITHER, "Y": (DROP,)}, windows=True),
    "a reader, a writer and two pruners": partial(
        one_chunk, plans={"X": EITHER, "Y": (DROP,)}, clean=True, reader=True
    ),
    "a thief, a writer and two pruners": partial(
        one_chunk, plans={"X": EITHER, "Y": (DROP,)}, clean=True, thief=THIEF
    ),
}

ONE = "a writer and a pruner"
RULES: dict[
    str, tuple[str, str, str]
] = {  # clause: property that breaks, configuration, what is switched off
    "1.signer": ("S1", "a thief who forges a done record", "a done record of another signer counts"),
    "1.withdrawal": ("S3", "a thief who ends the run", "an ended record withdraws the run's snapshot"),
    "2": ("R", "a reader beside them", "a reader lists tombstones first"),
    "3": ("S1", ONE, "the run record is created after the listings"),
    "4.condemned-first": ("S1", ONE, "condemned records are listed after index and packs"),
    "4.fresh": ("S1", ONE, "index and packs are listed before the run record is created"),
    "4.packs": ("S1", "an index file of two packs, one condemned", "packs are not listed"),
    "4.parents": ("S1", "increments", "the parent is looked up before the run record is created"),
    "5.condemned": ("S1", ONE, "the writer ignores condemned records"),
    "5.parent": ("S1", "increments", "the writer builds on a condemned parent"),
    "6.order": ("U", ONE, "the snapshot is uploaded before packs and index"),
    "6.after-snapshot": ("S1", ONE, "fences and runs are listed before the snapshot is uploaded"),
    "6.fences": ("S1", ONE, "fences are not listed before the done record"),
    "6.runs": ("S1", ONE, "the own run record is not checked before the done record"),
    "6.runs-last": ("S1", ONE, "the own run record is checked before the fences"),
    "6.ended": ("S1", "a thief who ends the run", "an ended record does not stop the writer"),
    "7": ("S1", ONE, "a fenced run verifies that its packs exist, and goes on"),
    "8.fences": ("S2", ONE, "fences are not listed after the done record"),
    "8.runs": ("S2", ONE, "the own run record is not checked after the done record"),
    "8.runs-last": ("S2", ONE, "after the done record, the run record is checked before the fences"),
    "8.condemned": ("S2", ONE, "a fenced run does not look for its snapshot among the condemned"),
    "8.tombstones": (
        "S2",
        "two passes of a pruner that crashes",
        "a fenced run does not look for a tombstone",
    ),
    "8.tombstones-last": (
        "S2",
        "two passes of a pruner that crashes",
        "tombstones are listed before condemned records",
    ),
    "9": ("S1", "a checkpoint completed as a new run", "a checkpoint is completed under the old run id"),
    "10": ("S1", "a thief who ends the run", "the snapshot of an ended run is not marked"),
    "11.condemn-first": ("S1", ONE, "runs are listed before the condemned record is created"),
    "12.list": ("S1", "two places and two pruners", "condemned records of others are not listed"),
    "12.after-own": ("S1", "two places and two pruners", "they are listed before the own one is created"),
    "13.fence": ("S1", ONE, "the pruner neither waits nor fences"),
    "13.relist": ("S2", ONE, "runs are not listed again after fencing"),
    "13.abandoned": (
        "S2",
        "listings that take time",
        "the run of an abandoned snapshot is not fenced if not seen",
    ),
    "14.after-runs": ("S1", ONE, "snapshots are listed before runs"),
    "14.all-present": ("S1", ONE, "only finished snapshots are marked"),
    "14.not-done": ("S2", ONE, "a finished snapshot is abandoned"),
    "14.parents": ("S1", "increments", "the parent of a marked snapshot expires"),
    "14.unlisted": (
        "S1",
        "a closing list that is replaced",
        "snapshots that a closing list leaves out are not marked",
    ),
    "15.listed-last": (
        "S1",
        "two places and two pruners",
        "index and packs are listed before condemned records",
    ),
    "15.other-place": ("S1", ONE, "a condemned pack goes though a marked chunk has no other place"),
    "15.index-present": ("S1", "a copy without its index", "a pack counts as a place without an index file"),
    "15.pack-present": ("S1", "two chunks", "an index file counts as a place without its pack"),
    "15.uncondemned": ("S1", "two places and two pruners", "a place that another pruner condemned counts"),
    "16.tombstones-first": ("S3", ONE, "tombstones are created last"),
    "16.condemned-last": ("S1", ONE, "the condemned record is deleted before index and packs"),
    "17.others": ("S1", ONE, "another pruner removes a condemned record of which something is left"),
    "18.fence": ("S1", "slow fences and condemned records", "the pruner relies on another's fence"),
    "18.condemned": (
        "S1",
        "another's condemned record",
        "the pruner goes on with another's condemned record",
    ),
    "19.run": ("F", ONE, "a run record is deleted without a fence, done or ended record"),
    "19.fence": ("S1", ONE, "a fence is deleted before its run record"),
    "20.tombstones": ("S3", ONE, "a tombstone is deleted while its snapshot is there"),
    "21.condemn": ("S1", "a closing list", "a closing list leaves out index files that no record condemns"),
    "21.check": ("S1", "a closing list", "it is published although rule 15 spares one of them"),
    "21.places": (
        "S1",
        "a closing list",
        "it is published although a chunk has no listed, uncondemned place",
    ),
    "21.stays": ("S1", "a closing list", "its condemned record is removed while the list is in force"),
}
TOGETHER: dict[str, tuple[frozenset[str], str, str]] = {  # clauses that only matter when both are off
    "8.ended with 13.abandoned": (frozenset({"8.ended", "13.abandoned"}), "S2", "a thief who ends the run"),
}
SPARE: dict[str, str] = {  # clauses that no small configuration needs, even with all four off
    "16.index-before-packs": "packs are deleted before index files",
    "16.snapshots-before-index": "index files and packs are deleted before snapshots",
    "17.stays": "the author removes its condemned record although something was spared",
    "8.ended": "an ended record that appears after the done record goes unnoticed",
}
