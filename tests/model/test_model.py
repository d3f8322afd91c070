"""The deletion protocol holds in every state of the small configurations, and each rule is needed."""

import pytest

from tests.model.explorer import explore
from tests.model.suite import NONE, RULES, SMALL


@pytest.mark.parametrize("name", SMALL)
def test_no_property_breaks_in_any_reachable_state(name: str) -> None:
    """Every rule is in force."""
    result = explore(SMALL[name](NONE))
    assert "" == result.fault, "\n".join(map(str, result.trace))
    assert result.exhausted


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_removed_is_missed(rule: str) -> None:
    """A property breaks, and the trace says how."""
    broken, name, _ = RULES[rule]
    result = explore(SMALL[name](frozenset({rule})))
    assert broken == result.fault.partition(":")[0]
    assert result.trace
