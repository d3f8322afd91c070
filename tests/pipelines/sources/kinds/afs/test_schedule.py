"""When a volume is dumped in full."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.run_settings import Schedule
from pipelines.sources.kinds.afs.schedule import full_reason, next_full

SUNDAY = date(2026, 11, 1)
BIG = 1 << 20


def days(count: int) -> timedelta:
    return timedelta(days=count)


def due(schedule: Schedule, last_full: date, today: date) -> str:
    return full_reason(schedule, "user.alice", BIG, last_full, today)


def test_a_full_is_due_on_the_first_day_of_the_week_and_once_only() -> None:
    fulls, last = [], SUNDAY - days(3)
    for number in range(15):
        today = SUNDAY + days(number)
        if due(Schedule(), last, today):
            fulls.append(number)
            last = today
    assert [0, 7, 14] == fulls
    assert "Sunday" == due(Schedule(), SUNDAY - days(3), SUNDAY)


def test_a_full_that_was_missed_is_due_until_it_was_made() -> None:
    assert "Sunday" == due(Schedule(), SUNDAY - days(7), SUNDAY + days(3))
    assert "" == due(Schedule(), SUNDAY + days(3), SUNDAY + days(4))


def test_a_second_run_of_the_first_day_is_incremental() -> None:
    assert "" == due(Schedule(), SUNDAY, SUNDAY)


def test_every_so_many_days_counts_from_the_last_full() -> None:
    schedule = Schedule(every=3)
    assert ["", "", "every 3 days", "every 3 days"] == [
        due(schedule, SUNDAY, SUNDAY + days(n)) for n in (1, 2, 3, 9)
    ]


def test_a_full_of_tomorrow_is_no_base_for_today() -> None:
    assert "the last full is of 2026.11.02, which is in the future" == due(
        Schedule(), SUNDAY + days(1), SUNDAY
    )


def test_small_volumes_and_those_of_the_list_always_are_full() -> None:
    schedule = Schedule(small_kib=64, always_full=("db.*",))
    monday = SUNDAY + days(1)
    reasons = [
        full_reason(schedule, name, size, SUNDAY, monday)
        for name, size in (("a", 64), ("a", 65), ("db.x", 65), ("a.db.x", 65))
    ]
    assert ["small", "", "always full", ""] == reasons


@pytest.mark.parametrize("weekday", range(7))
def test_the_next_full_is_on_the_day_of_the_week_after_today(weekday: int) -> None:
    for number in range(7):
        today = SUNDAY + days(number)
        found = next_full(Schedule(weekday=weekday), today, today)
        assert weekday == found.weekday()
        assert today < found <= today + days(7)


@given(st.integers(1, 30), st.integers(0, 40))
def test_the_next_full_is_when_one_is_due_again(every: int, age: int) -> None:
    schedule = Schedule(every=every)
    found = next_full(schedule, SUNDAY - days(age), SUNDAY)
    assert found == max(SUNDAY + days(1), SUNDAY + days(every - age))
    assert due(schedule, SUNDAY - days(age), found)
