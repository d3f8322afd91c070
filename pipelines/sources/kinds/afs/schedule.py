"""When a volume is dumped in full.

Invariant: a full that was missed (the host was down on that day, the dump failed) stays due until it is made.
"""

from datetime import date, timedelta
from fnmatch import fnmatchcase

from pipelines.config.rules import DAYS
from pipelines.config.run_settings import Schedule


def full_reason(schedule: Schedule, name: str, size_kib: int, last_full: date, today: date) -> str:
    """Return why this volume is due for a full today, "" if it is not.

    `last_full` is the day of the full that an incremental of today would build on.
    """
    if any(fnmatchcase(name, pattern) for pattern in schedule.always_full):
        return "always full"
    if size_kib <= schedule.small_kib:
        return "small"
    if last_full > today:
        return f"the last full is of {last_full:%Y.%m.%d}, which is in the future"
    if schedule.every:
        return f"every {schedule.every} days" if (today - last_full).days >= schedule.every else ""
    return DAYS[schedule.weekday].capitalize() if last_full < _first_day(schedule.weekday, today) else ""


def next_full(schedule: Schedule, oldest_full: date, today: date) -> date:
    """Return the next day after today on which volumes are due; `oldest_full` is the oldest in use today."""
    if schedule.every:
        return max(oldest_full + timedelta(days=schedule.every), today + timedelta(days=1))
    return _first_day(schedule.weekday, today) + timedelta(days=7)


def period(schedule: Schedule) -> int:
    """Return the age in days of the oldest full that an incremental can build on."""
    return schedule.every or 7


def _first_day(weekday: int, today: date) -> date:
    """Return the first day of the current week."""
    return today - timedelta(days=(today.weekday() - weekday) % 7)
