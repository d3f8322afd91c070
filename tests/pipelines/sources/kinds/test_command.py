"""Programs as sources: what is made of a list of names."""

import sys

import pytest

from dedupstore.errors import StreamError
from pipelines.config.run_settings import RunSettings
from pipelines.sources.kinds.command import CommandJob, Commands, CommandSettings

LIMITS = RunSettings()


def listing(script: str, command: tuple[str, ...] = ("cat", "{name}")) -> Commands:
    return Commands(CommandSettings("db", command, (sys.executable, "-c", script)), LIMITS)


def jobs(source: Commands, done: set[str] | None = None) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (job.line.name, job.arguments)
        for job in source.listing(done or set()).jobs
        if isinstance(job, CommandJob)
    ]


def test_a_name_goes_into_every_argument_as_it_is() -> None:
    source = listing("print('a b\\n$x;y')", ("dump", "--name={name}", "{name}", "{}", "{name}.{name}"))
    assert [
        ("db.a b", ("dump", "--name=a b", "a b", "{}", "a b.a b")),
        ("db.$x;y", ("dump", "--name=$x;y", "$x;y", "{}", "$x;y.$x;y")),
    ] == jobs(source)


def test_a_name_that_would_be_an_option_fails_alone() -> None:
    names = "print('a\\n--output=x\\n-x\\nb-c')"
    for command in (("cat", "{name}"), ("cat", "--", "{name}"), ("sudo", "cat", "x{name}", "{name}.sql")):
        source = listing(names, command)
        found = source.listing(set())
        assert ["db.a", "db.b-c"] == [job.line.name for job in found.jobs]
        assert ["db.--output=x", "db.-x"] == [line.name for line in found.lines]
        assert all("would be an option of" in line.error for line in found.lines)
        states = {line.name: line.state for line in source.plan()}
        assert {
            "db.a": "planned",
            "db.--output=x": "failed",
            "db.-x": "failed",
            "db.b-c": "planned",
        } == states


def test_a_name_that_begins_no_argument_may_begin_with_a_hyphen() -> None:
    source = listing("print('-x')", ("env", "PGDATABASE={name}", "pg_dump", "./{name}"))
    assert [("db.-x", ("env", "PGDATABASE=-x", "pg_dump", "./-x"))] == jobs(source)


def test_empty_lines_and_repeated_names_count_once() -> None:
    assert ["db.a", "db.b"] == [name for name, _ in jobs(listing("print('a\\n\\nb\\na\\n')"))]


def test_what_is_stored_already_is_left_out() -> None:
    assert ["db.b"] == [name for name, _ in jobs(listing("print('a\\nb')"), {"db.a"})]


def test_a_name_that_no_stream_may_have_fails_alone() -> None:
    found = listing("print('good\\nb\\x07ad')").listing(set())
    assert ["db.good"] == [job.line.name for job in found.jobs]
    assert [("db.b\x07ad", "failed")] == [(line.name, line.state) for line in found.lines]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("pass", "the list of db is empty: "),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\n')", "the list of db is not UTF-8"),
        ("while True: print('x' * 1000)", "the list of db does not end"),
        ("print('a'); raise SystemExit('it broke')", "failed with exit status 1: it broke"),
    ],
)
def test_a_list_that_is_no_good_fails_the_source(script: str, why: str) -> None:
    with pytest.raises(StreamError) as caught:
        listing(script).listing(set())
    assert why in str(caught.value)
