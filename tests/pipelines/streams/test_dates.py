"""Dates as people type them."""

import time as clocks
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from dedupstore.errors import NotStoredError
from pipelines.streams import dates

NOW = datetime(2026, 11, 20, 17, 30, 5)
HOUR = 3600


@dataclass(frozen=True)
class Shot:
    time: int
    utc_offset: int = 0
    finished: int = 0
    sequence: int = 1
    names: tuple[str, ...] = ("user.alice",)
    domain: str = "ours"
    host: str = "fs1"


@dataclass(frozen=True)
class Item:
    name: str


def at(text: str, offset: int = 0, **more: object) -> Shot:
    """A snapshot of the date that a calendar `offset` seconds east of UTC showed as `text`."""
    stamp = int(datetime.fromisoformat(text + "+00:00").timestamp()) - offset
    return Shot(stamp, offset, **more)  # type: ignore[arg-type]


def select(text: str, *snapshots: Shot) -> list[Shot]:
    return dates.select(dates.parse(text, NOW), snapshots)


def find(text: str, name: str, *snapshots: Shot) -> Shot:
    found, item = dates.find(
        dates.parse(text, NOW), name, snapshots, lambda shot: [Item(each) for each in shot.names]
    )
    assert name == item.name
    return found


def why(text: str, name: str, *snapshots: Shot) -> str:
    with pytest.raises(NotStoredError) as caught:
        find(text, name, *snapshots)
    return str(caught.value)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    clocks.tzset()
    yield
    monkeypatch.undo()
    clocks.tzset()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2026.11.01", "2026.11.01"),
        ("2026-11-01", "2026.11.01"),
        ("2026.11.01T03:15", "2026.11.01T03:15"),
        ("2026-11-01 03:15", "2026.11.01T03:15"),
        ("2026.11.01T03:15:20", "2026.11.01T03:15:20"),
        ("2026.11.01T00:00", "2026.11.01T00:00"),
        ("today", "2026.11.20"),
        ("yesterday", "2026.11.19"),
        ("latest", "latest"),
    ],
)
def test_reads_every_form(text: str, meaning: str) -> None:
    assert meaning == str(dates.parse(text, NOW))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026.11",
        "2026.11-01",
        "26.11.01",
        "2026.11.01T3:15",
        "2026.11.01T03",
        "2026.11.01 ",
        "\uff12026.11.01",
    ],
)
def test_refuses_what_is_no_date_and_says_the_forms(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"cannot read the date .*; write 2026\.11\.01, .*, today, yesterday or latest"
    ):
        dates.parse(text, NOW)


@pytest.mark.parametrize(
    "text", ["2026.02.30", "2026.13.01", "2026.11.01T24:00", "2026.11.01T03:15:60", "0000.01.01"]
)
def test_refuses_days_and_times_that_never_were(text: str) -> None:
    with pytest.raises(ValueError, match="there is no such day or time"):
        dates.parse(text, NOW)


def test_a_day_means_all_its_snapshots_the_newest_first() -> None:
    morning, noon = at("2026-11-01T03:15"), at("2026-11-01T12:00")
    others = at("2026-10-31T23:59"), at("2026-11-02T00:00")
    assert [noon, morning] == select("2026.11.01", morning, noon, *others)


def test_a_minute_means_the_snapshots_of_that_minute() -> None:
    first, second = at("2026-11-01T03:15:01"), at("2026-11-01T03:15:59")
    later = at("2026-11-01T03:16")
    assert [second, first] == select("2026.11.01T03:15", first, second, later)
    assert [first] == select("2026.11.01T03:15:01", first, second, later)


def test_of_the_same_second_the_one_that_finished_last_comes_first() -> None:
    early, late = at("2026-11-01T03:15", finished=10), at("2026-11-01T03:15", finished=20)
    again = at("2026-11-01T03:15", finished=20, sequence=2)
    assert [again, late, early] == select("2026.11.01", early, again, late)


def test_the_day_is_the_one_of_the_calendar_where_it_was_made() -> None:
    honolulu = at("2026-11-01T20:00", -10 * HOUR)  # 2 November in UTC
    auckland = at("2026-11-02T01:00", 13 * HOUR)  # 1 November in UTC
    assert [honolulu] == select("2026.11.01", honolulu, auckland)
    assert [auckland] == select("2026.11.02", honolulu, auckland)


def test_latest_means_all_the_newest_first() -> None:
    old, new = at("2026-10-01T00:00"), at("2026-11-01T00:00")
    assert [new, old] == select("latest", old, new)


def test_an_empty_repository_says_so() -> None:
    assert "the repository holds no backups yet" == why("latest", "user.alice")


def test_an_unknown_day_names_the_nearest_before_and_after() -> None:
    stored = [at(f"2026-11-{day:02d}T03:00") for day in (1, 3, 7, 9)]
    assert "no backup is stored for 2026.11.05; the nearest: 2026.11.03 and 2026.11.07" == why(
        "2026.11.05", "user.alice", *stored
    )
    assert "no backup is stored for 2026.10.01; the nearest: 2026.11.01" == why(
        "2026.10.01", "user.alice", *stored
    )
    assert "no backup is stored for 2027.01.01; the nearest: 2026.11.09" == why(
        "2027.01.01", "user.alice", *stored
    )


def test_an_unknown_time_names_the_nearest_times() -> None:
    stored = [at("2026-11-01T03:10"), at("2026-11-01T03:20:30"), at("2026-11-02T03:15")]
    assert (
        "no backup is stored for 2026.11.01T03:15; the nearest: 2026.11.01T03:10 and 2026.11.01T03:20"
        == why("2026.11.01T03:15", "user.alice", *stored)
    )


def test_finds_the_newest_of_the_day_that_holds_the_name() -> None:
    first = at("2026-11-01T03:00", names=("user.alice", "user.bob"))
    second = at("2026-11-01T04:00", names=("user.bob",))
    assert first == find("2026.11.01", "user.alice", first, second)
    assert second == find("2026.11.01", "user.bob", first, second)


def test_latest_finds_the_newest_that_holds_the_name() -> None:
    old = at("2026-10-01T03:00", names=("user.alice",))
    new = at("2026-11-01T04:00", names=("user.bob",))
    assert old == find("latest", "user.alice", old, new)


def test_an_unknown_name_names_close_ones_and_the_dates_that_hold_it() -> None:
    stored = [
        at("2026-11-01T03:00", names=("user.alcie",)),
        at("2026-11-02T03:00", names=("user.alcie",)),
        at("2026-11-03T03:00", names=("user.alice", "db.alice")),
        at("2026-11-04T03:00", names=("user.bob",)),
        at("2026-11-05T03:00", names=("user.alcie",)),
    ]
    message = why("2026.11.03", "user.alcie", *stored)
    assert message.startswith(
        "nothing called 'user.alcie' is stored for 2026.11.03; did you mean 'user.alice'"
    )
    assert message.endswith("it is stored on 2026.11.02 and 2026.11.05")


def test_a_name_that_is_nowhere_gets_no_dates() -> None:
    stored = at("2026-11-03T03:00", names=("zzz",))
    assert "nothing called 'user.alice' is stored for any date" == why("latest", "user.alice", stored)


def test_a_date_without_a_time_is_stored_at_the_present_time_of_day(berlin: None) -> None:
    summer = dates.moment(dates.parse("2026.07.01", NOW), NOW)
    winter = dates.moment(dates.parse("2026.12.01", NOW), NOW)
    assert (2 * HOUR, 1 * HOUR) == (summer.utc_offset, winter.utc_offset)
    shown = dates.local(Shot(summer.time, summer.utc_offset))
    assert datetime(2026, 7, 1, 17, 30, 5) == shown


def test_no_date_is_stored_as_now(berlin: None) -> None:
    moment = dates.moment(None, NOW)
    assert NOW == dates.local(Shot(moment.time, moment.utc_offset))


@pytest.mark.parametrize("day", ["2026.03.29", "2026.10.25"])
def test_the_nights_when_clocks_jump_keep_their_day(berlin: None, day: str) -> None:
    moment = dates.moment(dates.parse(f"{day}T02:30", NOW), NOW)
    assert day == dates.local(Shot(moment.time, moment.utc_offset)).strftime("%Y.%m.%d")


@pytest.mark.parametrize("text", ["latest", "1969.12.30"])
def test_refuses_to_store_under_what_is_no_usable_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"latest is not a date|is before 1970"):
        dates.moment(dates.parse(text, NOW), NOW)


def test_a_date_beyond_the_calendar_is_shown_as_its_last_second() -> None:
    assert datetime(9999, 12, 31, 23, 59, 59) == dates.local(Shot(2**62))


def test_a_name_that_several_writers_have_is_not_chosen_by_age() -> None:
    ours, theirs = at("2026-11-01T03:00:00"), at("2026-11-01T04:00:00", domain="theirs", host="evil\x1b")
    assert why("2026.11.01", "user.alice", ours, theirs) == (
        "'user.alice' is stored by several writers for 2026.11.01: ours (host 'fs1'), theirs (host 'evil\\x1b'); "
        "say whose: --domain NAME"
    )
    given = dates.parse("latest", NOW)
    found, _ = dates.find(given, "user.alice", [ours, theirs], lambda shot: [Item("user.alice")], "our")
    assert ours == found


def test_a_domain_that_nobody_has_is_told_with_those_that_there_are() -> None:
    with pytest.raises(NotStoredError, match="no writer's domain begins with 'x'; there are: ours"):
        dates.find(dates.parse("latest", NOW), "n", [at("2026-11-01T03:00:00")], lambda shot: [], "x")


def find_all(text: str, *snapshots: Shot) -> tuple[dict[str, Shot], dict[str, str]]:
    when = dates.parse(text, NOW)
    found, several = dates.find_all(when, snapshots, lambda shot: map(Item, shot.names))
    return {item.name: shot for shot, item in found}, {name: str(error) for name, error in several.items()}


def test_everything_of_a_date_is_the_newest_of_each_name_as_one_by_one() -> None:
    shots = [
        at("2026-11-01T03:00", names=("a", "b")),
        at("2026-11-01T09:00", names=("b", "c")),
        at("2026-11-02T03:00", names=("c",)),
    ]
    assert {"a": shots[0], "b": shots[1], "c": shots[1]} == find_all("2026.11.01", *shots)[0]
    assert {"a": shots[0], "b": shots[1], "c": shots[2]} == find_all("latest", *shots)[0]
    for text in ("2026.11.01", "2026.11.01T03:00", "latest"):
        found, several = find_all(text, *shots)
        assert {name: find(text, name, *shots) for name in found} == found
        assert {} == several


def test_everything_of_a_date_tells_the_names_that_several_writers_have() -> None:
    shots = [
        at("2026-11-01T03:00", names=("etc", "ours")),
        at("2026-11-01T03:01", names=("etc", "theirs"), domain="theirs", host="fs2"),
    ]
    found, several = find_all("latest", *shots)
    assert {"ours": shots[0], "theirs": shots[1]} == found
    assert {"etc": why("latest", "etc", *shots)} == several


def test_nothing_of_a_date_is_an_error() -> None:
    with pytest.raises(
        NotStoredError, match=r"no backup is stored for 2026\.11\.03; the nearest: 2026\.11\.01"
    ):
        find_all("2026.11.03", at("2026-11-01T03:00"))
