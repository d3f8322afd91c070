"""`dedup list`, as it is typed."""

import json
import os
import signal
import subprocess

import pytest

from tests.e2e.cli.conftest import World


def test_an_empty_repository_has_no_dates(world: World) -> None:
    said = world.alice.dedup("list")
    assert (0, b"", "the repository holds no backups yet\n") == (said.status, said.out, said.err)
    assert [] == json.loads(world.alice.does("list --json"))
    assert "dedup: the repository holds no backups yet" == world.alice.fails("list today")


def test_dates_have_one_line_each(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01T03:00", bytes(1000))
    world.wendy.does("put b --date 2026.11.01T04:00", bytes(234))
    world.wendy.does("put a --date 2026.11.02T03:00", bytes(1000))
    lines = world.wendy.does("list").decode().splitlines()
    assert ["DATE", "STREAMS", "SIZE", "STORED"] == lines[0].split()
    assert ["2026.11.01", "2", "1.2", "kB"] == lines[1].split()[:4]
    assert ["2026.11.02", "1", "1.0", "kB", "0", "B"] == lines[2].split()
    assert 3 == len(lines)
    assert [("2026.11.01", 2, 2, 1234), ("2026.11.02", 1, 1, 1000)] == [
        (row["date"], row["snapshots"], row["streams"], row["size"])
        for row in json.loads(world.wendy.does("list --json"))
    ]


def test_a_date_has_one_line_a_stream(world: World) -> None:
    world.wendy.does("put b --date 2026.11.01T04:00:10", b"of b")
    world.wendy.does("put a --date 2026.11.01T03:00", b"first")
    world.wendy.does("put a --date 2026.11.01T05:00", b"second")
    world.wendy.does("put c --date 2026.10.31T05:00", b"elsewhere")
    lines = world.wendy.does("list 2026.11.01").decode().splitlines()
    assert ["TIME", "SIZE", "STORED", "KIND", "NAME"] == lines[0].split()
    assert [
        ["2026.11.01T03:00:00", "5", "B", "raw", "a"],
        ["2026.11.01T05:00:00", "6", "B", "raw", "a"],
        ["2026.11.01T04:00:10", "4", "B", "raw", "b"],
    ] == [[cells[0], *cells[1:3], *cells[-2:]] for line in lines[1:] if (cells := line.split())]
    assert lines == world.wendy.does("list latest").decode().splitlines()
    rows = json.loads(world.wendy.does("list 2026.11.01T05:00 --json"))
    assert [("a", 6, "2026-11-01T05:00:00+00:00")] == [
        (row["name"], row["size"], row["time"]) for row in rows
    ]


def test_sizes_stand_below_each_other(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01", os.urandom(300_000))
    world.wendy.does("put b --date 2026.11.02", b"data")
    lines = world.wendy.does("list").decode().splitlines()
    assert 1 == len({len(line) for line in lines})
    assert all(line.endswith(("STORED", " B", " kB")) for line in lines)


def test_hosts_are_shown_where_several_wrote(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01T03:00", b"of wendy")
    world.alice.does("put b --date 2026.11.02T03:00", b"of alice")
    host = os.uname().nodename
    assert " HOST " not in world.bob.does("list 2026.11.01").decode()
    world.alice.does("put a --date 2026.11.01T04:00", b"of alice")
    head, *lines = (line.split() for line in world.bob.does("list 2026.11.01").decode().splitlines())
    assert ["TIME", "SIZE", "STORED", "KIND", "HOST", "NAME"] == head
    assert [
        [host, f"({world.keys['wendy'][:8]})", "a"],
        [host, f"({world.keys['alice'][:8]})", "a"],
    ] == [cells[-3:] for cells in lines]


def test_an_unknown_date_names_the_nearest(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01T03:00", b"data")
    said = world.wendy.fails("list 2026.11.02")
    assert "dedup: no backup is stored for 2026.11.02; the nearest: 2026.11.01" == said


def test_a_word_that_is_no_date_is_wrong_usage(world: World) -> None:
    said = world.wendy.fails("list tomorrow", status=2)
    assert said.startswith(
        "dedup: Invalid value for '[DATE]': cannot read the date 'tomorrow'; write 2026.11.01, "
    )


def test_another_time_zone_shows_the_same_dates(world: World) -> None:
    world.wendy.environ["TZ"] = "HST10"
    world.wendy.does("put a --date 2026.11.01T23:30", b"data")
    world.alice.environ["TZ"] = "NZST-12"
    assert b"\n2026.11.01 " in world.alice.does("list")
    (row,) = json.loads(world.alice.does("list 2026.11.01 --json"))
    assert "2026-11-01T23:30:00-10:00" == row["time"]


def test_what_is_known_already_needs_no_gpg(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01T03:00", b"data")
    before = world.wendy.does("list")
    world.wendy.environ["GNUPGHOME"] = "/nowhere"
    assert before == world.wendy.does("list")


@pytest.mark.budget
def test_what_is_known_already_loads_nothing_heavy(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01T03:00", b"data")
    python, *rest = world.wendy.command("list")
    line = [python, "-X", "importtime", *rest]
    done = subprocess.run(line, capture_output=True, text=True, env=world.wendy.environ, check=True)
    loaded = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert {"click", "msgspec", "lmdb"} <= loaded
    heavy = {
        "concurrent.futures",
        "cryptography",
        "gnupg",
        "json",
        "paramiko",
        "rich",
        "subprocess",
        "zstandard",
    }
    assert set() == heavy & loaded


def test_a_snapshot_that_vanished_is_told(world: World) -> None:
    world.wendy.does("put a --date 2026.11.01T03:00", b"data")
    world.wendy.does("put a --date 2026.11.02T03:00", b"data")
    for path in world.files("snapshots"):
        path.unlink()
    said = world.wendy.dedup("list")
    assert "dedup: ALARM: rollback detected: backups seen before are gone" in said.err
    said = world.wendy.dedup("put a", b"data")
    assert (1, b"") == (said.status, said.out)
    assert "dedup: rollback detected: backups seen before are gone" in said.err


def test_a_full_disk_is_an_error(world: World) -> None:
    world.wendy.does("put a", b"data")
    line = " ".join(world.wendy.command("list")) + " >/dev/full"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=world.wendy.environ, check=False)
    assert 1 == done.returncode
    assert b"dedup: cannot write standard output: No space left on device" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(world: World) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for line in ("list --json", "--help"):
        process = world.wendy.start(line, stdout=writer)
        _, err = process.communicate()
        assert (128 + signal.SIGPIPE, b"") == (process.returncode, err)
    os.close(writer)
