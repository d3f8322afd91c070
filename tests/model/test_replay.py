"""The program takes the steps of the model, one by one, and leaves in a real repository what the model foretells."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from dedupstore.writing import writer_run
from tests.model.explorer import Event
from tests.model.replay import Stage
from tests.model.scenarios import SCENARIOS
from tests.model.traces import edge_traces, step_traces
from tests.model.variants import ORDER_ONLY, VARIANTS, as_it_is

NONE: frozenset[str] = frozenset()
SAMPLES = {  # of the traces that take each step, one in so many; the others are `long`
    "an increment": 2,
    "an increment that begins again": 4,
    "a full": 1,
    "a full that begins again": 2,
    "a full whose pruner crashes": 6,
    "a full whose run a thief ends": 2,
    "a checkpoint": 8,
    "a checkpoint that begins again": 8,
    "two writers": 8,
}
EDGES = (  # one writer and one pruner: each step in each state
    "an increment",
    "an increment that begins again",
    "a full",
    "a full that begins again",
    "a full whose run a thief ends",
)


def stage(name: str, folder: Path, patch: pytest.MonkeyPatch, without: frozenset[str] = NONE) -> Stage:
    """Explore a scenario, and let the program's runs have as many ids as the model's."""
    scenario = SCENARIOS[name](without)
    patch.setattr(writer_run, "_BEGINNINGS", scenario.attempts)
    return Stage(scenario, folder)


def replay(at: Stage, traces: Iterator[list[Event]] | list[list[Event]], *, early: bool = False) -> None:
    replayed = events = 0
    for trace in traces:
        at.replay(trace, early=early)
        replayed, events = replayed + 1, events + len(trace)
    print(f"{replayed} traces, {events} events, {at.found.states} states")
    assert replayed


@pytest.mark.parametrize("name", SAMPLES)
def test_the_program_follows_the_model_step_by_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of the traces in which each actor takes each of its steps."""
    at = stage(name, tmp_path, monkeypatch)
    assert "" == at.found.fault
    replay(at, step_traces(at.explorer)[:: SAMPLES[name]])


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_program_follows_the_model_in_all_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step with each of its args, and from all that its actor may know."""
    at = stage(name, tmp_path, monkeypatch)
    replay(at, step_traces(at.explorer))


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", EDGES)
def test_the_program_follows_the_model_over_every_edge(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step in each state."""
    at = stage(name, tmp_path, monkeypatch)
    replay(at, edge_traces(at.explorer))


@pytest.mark.parametrize("name", ["an increment", "a checkpoint"])
def test_listings_of_one_step_may_come_apart(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others take their steps between the first listing of a step and its last."""
    at = stage(name, tmp_path, monkeypatch)
    replay(at, step_traces(at.explorer)[1 :: 4 * SAMPLES[name]], early=True)


@pytest.mark.parametrize("rule", VARIANTS)
def test_a_program_that_breaks_a_rule_breaks_the_promise_that_the_model_foretells(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows the model without the rule to the end of the shortest trace, and then it is too late."""
    variant, name = VARIANTS[rule]
    at = stage(name, tmp_path, monkeypatch, frozenset({rule}))
    promise = at.found.fault.partition(":")[0]
    assert promise in ("S1", "S2", "U")
    variant(monkeypatch)
    with pytest.raises(AssertionError, match=f"^{promise}: "):
        at.replay(at.found.trace)


@pytest.mark.parametrize("rule", VARIANTS | ORDER_ONLY)
def test_a_program_that_breaks_a_rule_does_not_follow_the_model(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the traces that the program follows tells them apart."""
    variant, name = (VARIANTS | ORDER_ONLY)[rule]
    at = stage(name, tmp_path, monkeypatch)
    variant(monkeypatch)
    assert any(_is_noticed(at, trace) for trace in step_traces(at.explorer))


def _is_noticed(at: Stage, trace: list[Event]) -> bool:
    try:
        at.replay(trace)
    except AssertionError:
        return True
    return False


def test_the_pieces_of_the_variants_make_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the variants are caught for is the rule that they break."""
    at = stage("a full", tmp_path, monkeypatch)
    as_it_is(monkeypatch)
    replay(at, islice(step_traces(at.explorer), 9))


def test_a_run_that_is_passed_over_too_often_begins_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says of its last id that it has ended, and leaves no run record that a pruner would wait for."""
    at = stage("a full", tmp_path, monkeypatch)
    ends = [t for t in step_traces(at.explorer) if ("W1", "report_failure", "ended R1") in t]
    at.replay(min(ends, key=len))
