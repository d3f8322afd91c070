"""The sections that `dedup run` works by: what is understood, and how what is not is refused."""

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from dedupstore.errors import DedupError
from pipelines.config.run_settings import RunSettings, Schedule
from pipelines.sources.kinds import parse
from pipelines.sources.kinds.afs.settings import AfsSettings
from pipelines.sources.kinds.command import CommandSettings
from pipelines.sources.kinds.files import FilesSettings
from pipelines.vos.settings import VosSettings

FILE = Path("/etc/dedup/dedup.toml")
EXAMPLE = resources.files("pipelines").joinpath("data", "dedup.toml").read_text()
SHOWN = ("[[", "kind", "name", "format", "command", "list", "folder")
ETC = '[[source]]\nkind = "command"\nname = "etc"\ncommand = ["tar", "-cf", "-", "/etc"]\n'


def why(text: str) -> str:
    with pytest.raises(DedupError) as caught:
        parse(FILE, text)
    return str(caught.value)


def test_the_least_that_is_needed() -> None:
    found = parse(FILE, '[[source]]\nkind = "afs"\nname = "cell"\n')
    assert (AfsSettings("cell"),) == found.sources
    assert (RunSettings(), Schedule()) == (found.run, found.schedule)


def test_every_key_is_read() -> None:
    text = """
        [run]
        parallel = 4
        retries = 0
        retry_wait = 1
        idle_timeout = 2
        total_timeout = 0
        stall_timeout = 3
        user = "backup"
        [schedule]
        every = 14
        small_kib = 0
        always_full = ["db.*"]
        [[source]]
        kind = "afs"
        name = "cell"
        servers = ["fs1"]
        partitions = ["a"]
        include = ["user.*"]
        exclude = ["user.x"]
        backupsys = false
        noauth = true
        cell = "example.org"
        vos = "/usr/bin/vos"
        [[source]]
        kind = "command"
        name = "pg"
        list = ["psql"]
        command = ["pg_dump", "{name}"]
        format = "raw"
        allow_empty = true
        [[source]]
        kind = "files"
        name = "dumps"
        folder = "/var/backups"
        include = ["*.sql"]
        exclude = ["x.sql"]
        format = "tar"
        allow_empty = true
    """
    found = parse(FILE, text)
    assert RunSettings(4, 0, 1, 2, 0, 3, "backup") == found.run
    assert Schedule(6, 14, 0, ("db.*",)) == found.schedule
    vos = VosSettings(
        ("fs1",), ("a",), ("user.*",), ("user.x",), False, True, False, "example.org", "/usr/bin/vos"
    )
    afs = AfsSettings("cell", vos, backupsys=False)
    command = CommandSettings("pg", ("pg_dump", "{name}"), ("psql",), "raw", True)
    files = FilesSettings("dumps", "/var/backups", ("*.sql",), ("x.sql",), "tar", True)
    assert (afs, command, files) == found.sources


@pytest.mark.parametrize(("day", "number"), [("monday", 0), ("sunday", 6)])
def test_a_full_is_due_on_a_day_of_the_week(day: str, number: int) -> None:
    assert number == parse(FILE, f'[schedule]\nfull = "{day}"\n{ETC}').schedule.weekday


def test_the_example_is_understood_with_and_without_its_comments() -> None:
    assert ["cell"] == [source.name for source in parse(FILE, EXAMPLE).sources]
    shown = "\n".join(
        line.removeprefix("# ") if line.startswith(tuple(f"# {key}" for key in SHOWN)) else line
        for line in EXAMPLE.splitlines()
    )
    names = [source.name for source in parse(FILE, shown).sources]
    assert ["cell", "etc", "postgresql", "postgresql-globals", "files"] == names


def test_the_example_shows_the_defaults() -> None:
    shown = {}
    for line in EXAMPLE.splitlines():
        if line.startswith("# ") and " = " in line and "example" not in line and "hcoopbackup" not in line:
            shown.update(tomllib.loads(line.removeprefix("# ").partition("  ")[0]))
    for settings in (RunSettings(), Schedule(), AfsSettings("x"), VosSettings()):
        for key in set(shown) & set(settings.__dataclass_fields__) - {
            "always_full",
            "exclude",
            "kind",
            "partitions",
        }:
            value = getattr(settings, key)
            if key not in ("vos", "name", "command"):
                assert value == (tuple(shown[key]) if isinstance(value, tuple) else shown[key])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[run]\n\nat_once = 3\n" + ETC,
            "line 3: unknown key 'at_once' in run; known keys: parallel, retries, retry_wait, idle_timeout, "
            "total_timeout, stall_timeout, user",
        ),
        (
            '[[source]]\nkind = "files"\nname = "x"\nfolder = "/x"\ntake = ["*"]\n',
            "line 5: unknown key 'take' in source; known keys: kind, name, folder, include, exclude, format, "
            "allow_empty",
        ),
        (
            "[run]\nparallel = 0\n" + ETC,
            "line 2: invalid value parallel = 0; write parallel = a number of streams at the same time "
            "from 1 to 64",
        ),
        (
            "[run]\nretries = true\n" + ETC,
            "line 2: invalid value retries = True; write retries = a number of retries from 0 to 100",
        ),
        (
            '[schedule]\nfull = "Sonntag"\n' + ETC,
            'line 2: invalid value full = \'Sonntag\'; write full = "monday" or "tuesday" or '
            '"wednesday" or "thursday" or "friday" or "saturday" or "sunday"',
        ),
        (
            '[schedule]\nfull = "sunday"\nevery = 7\n' + ETC,
            "line 3: full and every exclude each other; remove one of them",
        ),
        (
            ETC + '[[source]]\nkind = "file"\nname = "x"\n',
            'line 6: invalid value kind = \'file\'; write kind = "afs" or "command" or "files"',
        ),
        (
            '[[source]]\nkind = "files"\nname = "x"\n',
            'line 1: missing key folder in source; add a line folder = "/path/to/folder"',
        ),
        (
            '[[source]]\nkind = "files"\nname = "x"\nfolder = "dumps"\n',
            "line 4: invalid value folder = 'dumps'; write folder = \"/path/to/folder\"",
        ),
        (
            '[[source]]\nkind = "files"\nname = "x"\nfolder = "/x"\ninclude = ["a/*.sql"]\n',
            'line 5: invalid value include = [\'a/*.sql\']; write include = ["a name without slashes", "*.sql"]',
        ),
        (
            '[[source]]\nkind = "files"\nname = "x//y"\nfolder = "/x"\n',
            "line 3: the name 'x//y' is no relative path; use plain names with one slash between them",
        ),
        (
            '[[source]]\nname = "x"\n',
            'line 1: missing key kind in source; add a line kind = "afs" or "command" or "files"',
        ),
        (
            '[[source]]\nkind = "afs"\n',
            'line 1: missing key name in source; add a line name = "text"',
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\nservers = "fs1"\n',
            "line 4: invalid value servers = 'fs1'; write servers = "
            '["text without a leading hyphen", "more"]',
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\nservers = ["fs1", "-noauth"]\n',
            "line 4: invalid value servers = ['fs1', '-noauth']; write servers = "
            '["text without a leading hyphen", "more"]',
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\npartitions = ["-localauth"]\n',
            "line 4: invalid value partitions = ['-localauth']; write partitions = "
            '["text without a leading hyphen", "more"]',
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\ncell = "-config"\n',
            "line 4: invalid value cell = '-config'; write cell = \"text without a leading hyphen\"",
        ),
        (
            '[[source]]\nkind = "command"\nname = "x"\nlist = ["y"]\ncommand = ["/opt/{name}/dump", "{name}"]\n',
            "line 5: `list` would choose the program to run; use {name} in the arguments only",
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\ncommand = ["x"]\n',
            "line 4: unknown key 'command' in source; known keys: kind, name, noauth, servers, partitions, include, "
            "exclude, localauth, encrypt, cell, vos, backupsys",
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\nnoauth = true\nlocalauth = true\n',
            "line 4: localauth and noauth exclude each other; remove one of them",
        ),
        (
            '[[source]]\nkind = "afs"\nname = "x"\nnoauth = true\nencrypt = true\n',
            "line 5: noauth has no key to encrypt with; remove encrypt or noauth",
        ),
        (
            '[[source]]\nkind = "command"\nname = "x"\n',
            'line 1: missing key command in source; add a line command = ["program", "argument", "more"]',
        ),
        (
            '[[source]]\nkind = "command"\nname = "x"\ncommand = ["x", "{name}"]\n',
            "line 4: {name} is used without `list`; add a line list = [...], a program that prints names",
        ),
        (
            '[[source]]\nkind = "command"\nname = "x"\nlist = ["y"]\ncommand = ["x"]\n',
            "line 5: the command is the same for every name that `list` prints; use {name} in one of its "
            "arguments",
        ),
        (
            ETC.replace("etc", "a/../b", 1),
            "line 3: the name 'a/../b' is no relative path; use plain names with one slash between them",
        ),
        (ETC + ETC, "line 7: two sources are named 'etc'; rename one of them"),
        (
            '[source]\nkind = "afs"\n',
            "line 1: source is not a list; begin each source with a line [[source]]",
        ),
    ],
)
def test_what_is_not_understood_is_refused_with_line_and_choices(text: str, message: str) -> None:
    assert f"{FILE}, {message}" == why(text)


def test_a_file_without_sources_says_what_to_add() -> None:
    assert why("").startswith(f"{FILE}: nothing to back up; add a [[source]]")


def test_a_section_must_be_a_table() -> None:
    assert f"{FILE}, line 1: run is not a table; begin it with a line [run]" == why("run = 3\n" + ETC)
