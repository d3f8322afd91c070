"""`dedup run` with programs as sources: every database of a real PostgreSQL server, and /etc as a tar."""

import io
import json
import os
import signal
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Shell
from tests.servers.postgres import Postgres
from tests.servers.sshd import wait_for

EXAMPLE = resources.files("pipelines").joinpath("data", "dedup.toml").read_text()
ODD = 'odd =name, "quoted" & $HOME'  # a name that no shell and no connection string may touch
BASICS = "[run]\nretries = 0\nretry_wait = 0\n"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql("CREATE DATABASE accounts")
        server.psql('CREATE DATABASE "{}"'.format(ODD.replace('"', '""')))
        server.psql(
            "CREATE TABLE mail AS SELECT n, md5(n::text) AS hash FROM generate_series(1, 20000) n", "accounts"
        )
        yield server


@pytest.fixture
def configured(shell: Shell, tmp_path: Path) -> Shell:
    shell.environ["DEDUP_CONFIG"] = str(tmp_path / "dedup.toml")
    return shell


def configure(shell: Shell, *parts: str) -> None:
    Path(shell.environ["DEDUP_CONFIG"]).write_text("".join(parts))


def source(name: str, command: list[str], **more: Any) -> str:
    lines = [
        f"{key} = {json.dumps(value)}\n" for key, value in {"name": name, "command": command, **more}.items()
    ]
    return f'[[source]]\nkind = "command"\n{"".join(lines)}'


def example(*names: str) -> str:
    """Return these sources out of the example that is installed with the package."""
    shown = EXAMPLE[EXAMPLE.index("# A program's output") :]
    lines = [
        line.removeprefix("# ")
        for line in shown.splitlines()
        if line.startswith(("# [[", "# kind", "# name", "# list", "# command", "# format"))
    ]
    found = {each["name"]: each for each in tomllib.loads("\n".join(lines))["source"]}
    return "".join(
        source(
            name,
            found[name].pop("command"),
            **{key: value for key, value in found[name].items() if key not in ("kind", "name")},
        )
        for name in names
    )


def run(shell: Shell, line: str = "", status: int = 0) -> dict[str, Any]:
    """Run, and return the summary."""
    answer: dict[str, Any] = json.loads(shell(f"dedup run --json {line}", status=status).stdout)
    return answer


def listed(shell: Shell) -> list[str]:
    return sorted(row["name"] for row in json.loads(shell("dedup list latest --json").stdout))


def test_every_database_and_etc_come_back(configured: Shell, postgres: Postgres) -> None:
    configured.environ |= postgres.environ | {
        "PATH": f"{configured.environ['PATH'].split(':')[0]}:{postgres.environ['PATH']}"
    }
    etc = source("etc", ["tar", "-C", "/", "-cf", "-", "etc/hostname", "etc/debian_version"], format="tar")
    configure(configured, BASICS, etc, example("postgresql", "postgresql-globals"))

    summary = run(configured)
    assert {"stored"} == {line["state"] for line in summary["lines"]}
    expected = [
        "etc",
        "postgresql-globals",
        "postgresql.accounts",
        f"postgresql.{ODD}",
        "postgresql.postgres",
    ]
    assert sorted(expected) == listed(configured)

    postgres.psql("CREATE DATABASE restored")
    try:
        restore = subprocess.Popen(
            ["pg_restore", "-d", "restored"], stdin=subprocess.PIPE, env=postgres.environ
        )
        restore.communicate(configured("dedup get latest postgresql.accounts").stdout)
        assert 0 == restore.returncode
        query = "SELECT count(*), md5(string_agg(hash, '' ORDER BY n)) FROM mail"
        assert postgres.psql(query, "accounts") == postgres.psql(query, "restored")
    finally:
        postgres.psql("DROP DATABASE restored")
    with tarfile.open(fileobj=io.BytesIO(configured("dedup get latest etc").stdout)) as tar:
        version = tar.extractfile("etc/debian_version")
        assert version is not None
        assert Path("/etc/debian_version").read_bytes() == version.read()
    assert b"CREATE ROLE postgres" in configured("dedup get latest postgresql-globals").stdout


def test_a_database_that_fails_is_named_and_the_others_are_stored(configured: Shell) -> None:
    script = (
        'case "$1" in bad) echo partial; echo "no such table: x" >&2; exit 4;; *) echo "data of $1";; esac'
    )
    command = ["sh", "-c", script, "sh", "{name}"]
    configure(configured, BASICS, source("db", command, list=["printf", "one\\nbad\\ntwo\\n"]))

    done = configured("dedup run", status=3)
    page = done.stdout.decode()
    assert ": 2 streams stored, 1 FAILED\n" in page.splitlines(keepends=True)[0]
    assert "FAILED\n  db.bad: the command sh failed with exit status 4: no such table: x\n" in page
    assert ["db.one", "db.two"] == listed(configured)
    assert b"data of two\n" == configured("dedup get latest db.two").stdout

    assert 3 == run(configured, status=3)["status"]
    assert page.splitlines()[0] == configured("dedup -q run", status=3).stdout.decode().splitlines()[0]


def test_a_run_that_stores_nothing_fails(configured: Shell) -> None:
    configure(
        configured,
        BASICS,
        source("x", ["false"]),
        source("y", ["cat"], list=["true", "{name}"][:1]).replace('["cat"]', '["cat", "{name}"]'),
    )
    done = configured("dedup run", status=1)
    assert b"x: the command false failed with exit status 1\n" in done.stdout
    assert b"y: the list of y is empty: true printed nothing; run it by hand\n" in done.stdout
    assert b"no backups yet" in configured("dedup list").stderr


def test_a_quiet_run_says_nothing_if_all_is_well_and_any_other_a_short_page(configured: Shell) -> None:
    configure(configured, BASICS, source("x", ["echo", "hello"]))
    assert (b"", b"") == (configured("dedup -q run").stdout, configured("dedup -q run").stderr)
    done = configured("dedup run")
    assert b"" == done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0].endswith(": 1 stream stored, all is well")
    assert 5 == len(lines)


def test_a_dry_run_stores_nothing(configured: Shell) -> None:
    configure(configured, BASICS, source("x", ["echo", "hello"]))
    said = configured("dedup run --dry-run").stdout.decode()
    assert "SOURCE  KIND  SIZE  NAME\nx       auto        x\n\nnothing was stored\n" == said
    assert [] == json.loads(configured("dedup list --json").stdout)


def test_a_date_tells_under_which_day_it_is_stored(configured: Shell) -> None:
    configure(configured, BASICS, source("x", ["echo", "hello"]))
    assert "2026-11-01" == run(configured, "--date 2026.11.01T03:00")["date"]
    assert ["2026.11.01"] == [row["date"] for row in json.loads(configured("dedup list --json").stdout)]
    assert b"lies more than a day in the future" in configured("dedup run --date 2999.01.01", status=2).stderr


def test_only_the_sources_that_are_asked_for_run(configured: Shell) -> None:
    configure(configured, BASICS, source("x", ["echo", "x"]), source("y", ["echo", "y"]))
    run(configured, "--source y")
    assert ["y"] == listed(configured)
    failed = configured("dedup run --source z", status=1)
    assert b"no source is called 'z'; " in failed.stderr
    assert b"dedup.toml has: x, y\n" in failed.stderr


def test_a_second_run_is_refused_while_one_goes_on(configured: Shell, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    configure(configured, BASICS, source("x", ["cat", str(fifo)]))
    with configured.start("dedup run") as first:
        with open(fifo, "wb") as pipe:  # opens when the command reads: the run goes on
            failed = configured("dedup run", status=1)
            assert f"dedup: another run is active: process {first.pid}, since ".encode() in failed.stderr
            pipe.write(b"data")
        first.communicate(timeout=60)
    assert 0 == first.returncode
    assert ["x"] == listed(configured)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_keeps_what_it_has_and_the_next_resumes(
    configured: Shell, tmp_path: Path, number: signal.Signals
) -> None:
    fifo, count = tmp_path / "fifo", tmp_path / "count"
    os.mkfifo(fifo)
    slow = source("slow", ["cat", str(fifo)])
    configure(
        configured,
        "[run]\nparallel = 1\n",
        source("quick", ["sh", "-c", f"echo x >> {count}; echo quick"]),
        slow,
    )
    with configured.start("dedup run") as first, open(fifo, "wb"):
        first.send_signal(number)
        said = first.communicate(timeout=60)[1]
    assert 128 + number == first.returncode
    assert b"dedup: interrupted; no backup was recorded, but the next run resumes with 1 stream\n" == said

    configure(
        configured,
        BASICS,
        source("quick", ["sh", "-c", f"echo x >> {count}; echo quick"]),
        source("slow", ["echo", "slow"]),
    )
    summary = run(configured)
    assert {"quick": "kept", "slow": "stored"} == {line["name"]: line["state"] for line in summary["lines"]}
    assert "x\n" == count.read_text()
    rows = json.loads(configured("dedup list today --json").stdout)
    assert ["quick", "slow"] == sorted(row["name"] for row in rows)


def test_a_run_that_is_killed_has_what_it_had_checkpointed_and_the_next_does_the_rest(
    configured: Shell, tmp_path: Path
) -> None:
    # from 230 on they do not end, but notice that nobody reads any more
    script = 'echo "$1"; while [ "$1" -ge {} ]; do echo x; sleep 0.1; done'
    names = ["seq", "1", "240"]
    configure(configured, BASICS, source("s", ["sh", "-c", script.format(230), "sh", "{name}"], list=names))
    with configured.start("dedup run") as first:
        checkpoints = tmp_path / "repository" / "checkpoints"
        seen: set[bytes] = set()

        def noted_twice() -> bool:
            seen.update(note.read_bytes() for note in tmp_path.glob("state/*/checkpoints/[0-9a-f]*"))
            return len(seen) == 2 == len(list(checkpoints.iterdir()))

        wait_for(noted_twice, 60)
        first.kill()
    assert -signal.SIGKILL == first.returncode

    configure(configured, BASICS, source("s", ["sh", "-c", script.format(999), "sh", "{name}"], list=names))
    states = [line["state"] for line in run(configured)["lines"]]
    kept = states.count("kept")
    assert 200 <= kept < 230  # a stream may end while the checkpoint of 100 more is about to be made
    assert 240 - kept == states.count("stored")
    rows = json.loads(configured("dedup list today --json").stdout)
    assert sorted(f"s.{number}" for number in range(1, 241)) == sorted(row["name"] for row in rows)
    assert b"7\n" == configured("dedup get today s.7").stdout


def test_a_source_that_gives_nothing_is_given_up(configured: Shell) -> None:
    silent = source("silent", ["sleep", "600"])
    configure(configured, BASICS, "idle_timeout = 1\n", silent, source("x", ["echo", "x"]))
    summary = run(configured, status=3)
    errors = {line["name"]: line["error"] for line in summary["lines"]}
    assert errors["silent"].startswith("silent: its source sent nothing for 1 s; ")
    assert ["x"] == listed(configured)


def test_the_config_is_checked_and_an_example_is_at_hand(configured: Shell) -> None:
    configured("dedup config example > $DEDUP_CONFIG")
    assert EXAMPLE == Path(configured.environ["DEDUP_CONFIG"]).read_text()
    said = configured("dedup config check").stdout.decode()
    assert f"{configured.environ['DEDUP_CONFIG']} is valid: 1 source: cell\n" == said
    configure(configured, "[run]\nat_one = 1\n")
    failed = configured("dedup config check", status=1).stderr.decode()
    assert (
        f"dedup: {configured.environ['DEDUP_CONFIG']}, line 2: unknown key 'at_one' in run; known" in failed
    )


@pytest.mark.parametrize(
    ("top", "more", "expected"),
    [
        ("", "", "no repository is named; add a line such as repository = "),
        ('repository = "ftp://host/x"\n', "", "unknown scheme 'ftp' in a repository's URL"),
        ("{here}", '[run]\nuser = "no-such-user"\n', "no such user: 'no-such-user'; create it, or correct"),
        (
            "{here}",
            '[[source]]\nkind = "afs"\nname = "cell"\nvos = "/no/vos"\n',
            "source cell: no such program: vos = '/no/vos'; ",
        ),
    ],
)
def test_a_config_that_cannot_work_on_this_host_is_refused(
    configured: Shell, tmp_path: Path, top: str, more: str, expected: str
) -> None:
    del configured.environ["DEDUP_REPOSITORY"]
    here = f'repository = "{tmp_path}/not-made-by-a-check"\n'
    configure(configured, top.format(here=here), more, source("x", ["echo", "x"]))
    assert expected in configured("dedup config check", status=1).stderr.decode()
    assert not (tmp_path / "not-made-by-a-check").exists()


def test_a_config_that_others_may_write_is_refused_for_root(configured: Shell) -> None:
    configure(configured, source("x", ["echo", "x"]))
    Path(configured.environ["DEDUP_CONFIG"]).chmod(0o666)
    said = configured("dedup config check", status=1 if os.geteuid() == 0 else 0).stderr.decode()
    assert (os.geteuid() == 0) == ("only root may have write permission" in said)
