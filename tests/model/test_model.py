"""The deletion protocol holds in every state of the small configurations, and each rule is needed."""

import pytest

from tests.model.builders import DROP, one_chunk
from tests.model.explorer import explore
from tests.model.suite import EITHER, LARGE, NONE, RULES, SMALL, SPARE, TOGETHER


@pytest.mark.parametrize("name", SMALL)
def test_no_property_breaks_in_any_reachable_state(name: str) -> None:
    """Every rule is in force."""
    result = explore(SMALL[name](NONE))
    assert "" == result.fault, "\n".join(map(str, result.trace))
    assert result.exhausted


@pytest.mark.long
@pytest.mark.parametrize("name", LARGE)
def test_no_property_breaks_in_any_reachable_state_of_the_large(name: str) -> None:
    """Every rule is in force; the number of states goes into the report of the test run."""
    result = explore(LARGE[name](NONE))
    print(f"{name}: {result.states:,} states, {result.steps:,} steps")
    assert "" == result.fault, "\n".join(map(str, result.trace))
    assert result.exhausted


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_removed_is_missed(rule: str) -> None:
    """A property breaks, and the trace says how."""
    broken, name, _ = RULES[rule]
    result = explore(SMALL[name](frozenset({rule})))
    assert broken == result.fault.partition(":")[0]
    assert result.trace


@pytest.mark.parametrize("pair", TOGETHER)
def test_some_rules_are_missed_only_together(pair: str) -> None:
    """Neither alone breaks anything in this configuration, both do."""
    rules, broken, name = TOGETHER[pair]
    for rule in rules:
        assert "" == explore(SMALL[name](frozenset({rule}))).fault
    assert broken == explore(SMALL[name](rules)).fault.partition(":")[0]


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_the_spare_rules_are_not_needed_even_together(name: str) -> None:
    """What the documentation calls spare is."""
    assert "" == explore(SMALL[name](frozenset(SPARE))).fault


def test_packs_and_index_files_that_are_shown_and_then_not_break_the_protocol() -> None:
    """An assumption on storage that no rule makes up for."""
    model = one_chunk(NONE, plans={"X": EITHER, "Y": (DROP,)}, clean=True, slow=("pack", "index"))
    assert "S1" == explore(model).fault.partition(":")[0]
