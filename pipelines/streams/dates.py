"""Dates as people type them, and the snapshots that they mean.

Invariant: a date never means a backup of another day; where there is none, the error names the nearest that
there are.  A backup's day is the one that the calendar showed where it was made.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, Protocol, TypeVar

from dedupstore.errors import NotStoredError

FORMS = "2026.11.01, 2026.11.01T03:15, 2026.11.01T03:15:20, today, yesterday or latest"

_PATTERN = re.compile(r"(\d{4})([.-])(\d\d)\2(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?", re.ASCII)


_EPOCH = datetime(1970, 1, 1)
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59: what lies beyond is shown as this


class Dated(Protocol):
    """What is needed of a snapshot: whose it is, its date, and what orders those of one date (Unix seconds)."""

    @property
    def domain(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102

    @property
    def time(self) -> int: ...  # noqa: D102
    @property
    def utc_offset(self) -> int: ...  # noqa: D102
    @property
    def finished(self) -> int: ...  # noqa: D102
    @property
    def sequence(self) -> int: ...  # noqa: D102


class Named(Protocol):
    """What is needed of a stream: its name."""

    @property
    def name(self) -> str: ...  # noqa: D102


S = TypeVar("S", bound=Dated)
N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class When:
    """A date as it was asked for: a day, perhaps with a time; or `latest`, which has no day."""

    day: date | None
    clock: time | None = None
    seconds: bool = False

    def __str__(self) -> str:
        if self.day is None:
            return "latest"
        return datetime.combine(self.day, self.clock or time.min).strftime(self.form)

    @property
    def form(self) -> str:
        """How precise it is, as a format of `strftime`."""
        if self.clock is None:
            return "%Y.%m.%d"
        return "%Y.%m.%dT%H:%M:%S" if self.seconds else "%Y.%m.%dT%H:%M"


class Moment(NamedTuple):
    """An instant in Unix seconds, and how many seconds east of UTC the calendar was that named it."""

    time: int
    utc_offset: int


def parse(text: str, now: datetime) -> When:
    """Read a date.

    `now` says what `today` and `yesterday` are.  Raises `ValueError` with a text for the user.
    """
    if text == "latest":
        return When(None)
    if text in ("today", "yesterday"):
        return When(now.date() - timedelta(days=text == "yesterday"))
    found = _PATTERN.fullmatch(text)
    if not found:
        raise ValueError(f"cannot read the date {text!a}; write {FORMS}")
    year, _, month, day, hour, minute, second = found.groups()
    try:
        return When(
            date(int(year), int(month), int(day)),
            time(int(hour), int(minute), int(second or 0)) if hour else None,
            second is not None,
        )
    except ValueError:
        raise ValueError(f"{text!a}: there is no such day or time") from None


def moment(when: When | None, now: datetime) -> Moment:
    """Return the date to store a backup under; `now` for None.

    A day without a time gets the present time of day, so that several backups of one day keep their order.
    Raises `ValueError` for `latest` and for what lies before 1970.
    """
    if when is None:
        local = now.astimezone()
    elif when.day is None:
        raise ValueError("latest is not a date to store under")
    else:
        local = datetime.combine(when.day, when.clock or now.time()).astimezone()
    offset = local.utcoffset() or timedelta()
    stamp = int(local.timestamp())
    if stamp < 0:
        raise ValueError(f"{when} is before 1970")
    return Moment(stamp, int(offset.total_seconds()))


def local(snapshot: Dated) -> datetime:
    """Return the date and time that the calendar showed where the snapshot was made, without a zone."""
    return _EPOCH + timedelta(seconds=min(max(0, snapshot.time + snapshot.utc_offset), _LAST_SECOND))


def age(snapshot: Dated) -> tuple[int, int, int]:
    """Return the key that sorts snapshots from the oldest to the newest."""
    return snapshot.time, snapshot.finished, snapshot.sequence


def select(when: When, snapshots: Iterable[S]) -> list[S]:
    """Return the snapshots that a date means, the newest first; for `latest`, all.

    Raises `NotStoredError`, which names the nearest dates, if there are none.
    """
    everything = sorted(snapshots, key=age, reverse=True)
    if not everything:
        raise NotStoredError("the repository holds no backups yet")
    found = [snapshot for snapshot in everything if _means(when, snapshot)]
    if not found:
        nearest = _around(when, everything, lambda _: True)
        raise NotStoredError(f"no backup is stored for {when}", f"the nearest: {' and '.join(nearest)}")
    return found


def find(
    when: When, name: str, snapshots: Iterable[S], streams: Callable[[S], Iterable[N]], domain: str = ""
) -> tuple[S, N]:
    """Return the newest stream of that name among the snapshots that a date means, and its snapshot.

    `streams` returns a snapshot's streams; `domain` is how the name of the domain begins.  Raises
    `NotStoredError`, which names what comes close, or the domains if there are several: one writer must not
    be able to put its own stream in the place of another's.
    """
    everything = _of_domain(snapshots, domain)
    names: set[str] = set()
    found: dict[str, tuple[S, N]] = {}
    for snapshot in select(when, everything):
        if snapshot.domain in found:
            continue
        for stream in streams(snapshot):
            if stream.name == name:
                found[snapshot.domain] = snapshot, stream
                break
            names.add(stream.name)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise _several(when, name, [snapshot for snapshot, _ in found.values()])
    import difflib  # only for the error: it costs as much as all the rest here

    hints = []
    if close := difflib.get_close_matches(name, names):
        hints.append(f"did you mean {' or '.join(ascii(other) for other in close)}?")

    def holds(snapshot: S) -> bool:
        return any(stream.name == name for stream in streams(snapshot))

    if when.day is not None and (dates := _around(when, everything, holds)):
        hints.append(f"it is stored on {' and '.join(dates)}")
    shown = "any date" if when.day is None else str(when)
    raise NotStoredError(f"nothing called {name!a} is stored for {shown}", "; ".join(hints))


def find_all(
    when: When, snapshots: Iterable[S], streams: Callable[[S], Iterable[N]], domain: str = ""
) -> tuple[list[tuple[S, N]], dict[str, NotStoredError]]:
    """Return what `find` returns for each name that there is, and what it raises for those of several writers.

    The streams of one snapshot follow one another, as they were stored.
    """
    found: dict[str, dict[str, tuple[S, N]]] = {}
    for snapshot in select(when, _of_domain(snapshots, domain)):
        for stream in streams(snapshot):
            found.setdefault(stream.name, {}).setdefault(snapshot.domain, (snapshot, stream))
    one: list[tuple[S, N]] = []
    several = {}
    for name, holders in found.items():
        if len(holders) == 1:
            one += holders.values()
        else:
            several[name] = _several(when, name, [snapshot for snapshot, _ in holders.values()])
    return one, several


def _of_domain(snapshots: Iterable[S], domain: str) -> list[S]:
    stored = list(snapshots)
    everything = [snapshot for snapshot in stored if snapshot.domain.startswith(domain)]
    if stored and not everything:
        domains = ", ".join(sorted({ascii(snapshot.domain)[1:-1] for snapshot in stored}))
        raise NotStoredError(f"no writer's domain begins with {domain!a}", f"there are: {domains}")
    return everything


def _several(when: When, name: str, snapshots: Iterable[Dated]) -> NotStoredError:
    holders = sorted(f"{ascii(each.domain)[1:-1]} (host {each.host!a})" for each in snapshots)
    return NotStoredError(
        f"{name!a} is stored by several writers for {when}: {', '.join(holders)}", "say whose: --domain NAME"
    )


def _means(when: When, snapshot: Dated) -> bool:
    there = local(snapshot)
    if when.day is None:
        return True
    if there.date() != when.day:
        return False
    if when.clock is None:
        return True
    return there.time() == when.clock if when.seconds else there.time().replace(second=0) == when.clock


def _around(when: When, snapshots: Sequence[S], wanted: Callable[[S], bool]) -> list[str]:
    """Return the last date before and the first after `when` of a snapshot that is wanted.

    Only as many snapshots are looked at as it takes.
    """
    target = datetime.combine(when.day or date.max, when.clock or time.min)
    others = [snapshot for snapshot in snapshots if not _means(when, snapshot)]
    before = sorted((s for s in others if local(s) < target), key=local, reverse=True)
    after = sorted((s for s in others if local(s) > target), key=local)
    nearest = (next(filter(wanted, side), None) for side in (before, after))
    return [local(snapshot).strftime(when.form) for snapshot in nearest if snapshot is not None]
