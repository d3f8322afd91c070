"""Nobody is stuck: every actor ends alone from wherever it is, and a pruner removes what a dead run left."""

import pytest

from tests.model.explorer import Explorer, run_alone
from tests.model.pruner import Pruner
from tests.model.suite import NONE, ONE, SMALL
from tests.model.world import Plan, Store
from tests.model.writer import Writer

NEVER = frozenset({"wait", "crash", "begin again"})  # a pruner alone fences what it would wait for


@pytest.mark.parametrize(
    "name",
    [ONE, "a writer and two pruners", "a reader beside them", "increments", "two chunks", "a closing list"],
)
def test_each_actor_ends_alone_from_every_state(name: str) -> None:
    """A writer reports success or failure, a pruner ends its pass, a reader has an answer, in bounded time."""
    explorer = Explorer(SMALL[name](NONE))
    explorer.explore()
    for n, actor in enumerate(explorer.system.actors):
        left = run_alone(actor, explorer.pairs(n), NEVER)
        assert max(left.values()) <= 30
        if isinstance(actor, Writer):
            ends = {local.state for (_, local), steps in left.items() if not steps}
            assert ends <= {"success", "failure"}


def test_one_pruner_alone_removes_whatever_no_finished_snapshot_needs() -> None:
    """Whoever died wherever, and whatever other pruners condemned or fenced and left."""
    model = SMALL[ONE](NONE)
    explorer = Explorer(model)
    explorer.explore()
    world = model.world
    new: dict[Plan, Pruner] = {}
    for store in list(explorer.stores.values):
        there = world.names(store.present)
        counts = world.surely_count(store) & world.bit("snapshot S1")
        expired = ["S0", *(["S1"] if "tombstone S1" in there else [])]
        plan = Plan(
            drop=tuple(name for name in there.split(", ") if name.startswith(("pack", "index"))),
            expire=tuple(s for s in expired if f"snapshot {s}" in there),
            abandon=tuple(s for s in ("S1",) if f"snapshot {s}" in there and not counts and s not in expired),
        )
        if plan == Plan():
            continue
        if plan not in new:
            new[plan] = Pruner(world, 0, f"Z{len(new)}", (plan,))
        left = run_alone(new[plan], [(store, new[plan].start)], NEVER)
        for after in (pair[0] for pair, steps in left.items() if not steps):
            assert isinstance(after, Store)
            assert bool(counts) == bool(after.present & world.kind("pack", "index", "snapshot"))
