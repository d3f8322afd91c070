"""`dedup get`, as it is typed."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import DEADLINE, World


def parts(folder: Path) -> list[str]:
    """Return what is in the folder beside the state."""
    return sorted(path.name for path in folder.iterdir() if path.name != "state")


def test_gives_exact_bytes_and_says_how_much(stored: World) -> None:
    said = stored.alice.dedup("get 2026.11.01 user.alice")
    assert (0, b"first") == (said.status, said.out)
    assert re.fullmatch(r"user\.alice 2026\.11\.01T03:00 5 B in \d+\.\d s\n", said.err)
    assert "" == stored.alice.dedup("-q get 2026.11.01 user.alice").err


def test_every_admin_can_read(stored: World) -> None:
    assert b"second" == stored.bob.does("get latest user.alice")


def test_latest_is_the_newest_that_holds_the_name(stored: World) -> None:
    assert b"of bob" == stored.alice.does("get latest user.bob")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "2026.11.03 user.alice",
            "no backup is stored for 2026.11.03; the nearest: 2026.11.01 and 2026.11.05",
        ),
        (
            "2026.11.01T04:00 user.alice",
            "no backup is stored for 2026.11.01T04:00; the nearest: 2026.11.01T03:01 and 2026.11.05T03:00",
        ),
        (
            "2026.11.05 user.bob",
            "nothing called 'user.bob' is stored for 2026.11.05; it is stored on 2026.11.01",
        ),
        (
            "2026.11.05 user.alcie",
            "nothing called 'user.alcie' is stored for 2026.11.05; did you mean 'user.alice'?",
        ),
        ("latest ../etc", "nothing called '../etc' is stored for any date"),
    ],
)
def test_an_unknown_date_or_name_says_what_there_is(stored: World, line: str, why: str) -> None:
    assert f"dedup: {why}" == stored.alice.fails(f"get {line}")


def test_a_name_that_is_no_utf8_is_just_unknown(stored: World) -> None:
    said = stored.alice.fails(["get", "latest", os.fsdecode(b"caf\xe9")])
    assert r"dedup: nothing called 'caf\udce9' is stored for any date" == said


def test_writes_a_file_for_its_owner_only(stored: World) -> None:
    said = stored.alice.dedup("get latest user.alice -o out")
    assert (0, b"") == (said.status, said.out)
    assert b"second" == (stored.alice.folder / "out").read_bytes()
    assert 0o600 == (stored.alice.folder / "out").stat().st_mode & 0o777
    assert ["out"] == parts(stored.alice.folder)


def test_refuses_to_overwrite_without_force(stored: World) -> None:
    out = stored.alice.folder / "out"
    out.write_bytes(b"precious")
    said = stored.alice.fails("get latest user.alice -o out")
    assert "dedup: out exists already; choose another name, or replace it with --force" == said
    assert b"precious" == out.read_bytes()
    stored.alice.does("get latest user.alice -o out --force")
    assert b"second" == out.read_bytes()


def test_a_dash_as_the_file_is_standard_output(stored: World) -> None:
    assert b"second" == stored.alice.does("get latest user.alice -o -")
    assert [] == parts(stored.alice.folder)
    assert "--force is for -o FILE" in stored.alice.fails("get latest user.alice -o - --force", status=2)


@pytest.mark.parametrize("force", ["", " --force"])
def test_a_failed_get_leaves_no_half_file(stored: World, force: str) -> None:
    stored.wendy.does("put big", os.urandom(40_000_000))
    last = max(stored.files("data"), key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.chmod(0o600)
    last.write_bytes(data)
    if force:
        (stored.alice.folder / "out").write_bytes(b"precious")
    stored.alice.fails(f"get latest big -o out{force}")
    assert (["out"] if force else []) == parts(stored.alice.folder)
    if force:
        assert b"precious" == (stored.alice.folder / "out").read_bytes()


def test_refuses_a_folder_that_is_not_there(stored: World) -> None:
    said = stored.alice.fails("get latest user.alice -o no/out")
    assert "dedup: cannot write no/out: No such file or directory" == said


def test_refuses_a_terminal(stored: World) -> None:
    said = stored.alice.on_terminal("get latest user.alice", "stdout")
    assert (2, b"") == (said.status, said.out)
    assert (
        "dedup: standard output is a terminal; use a pipe, a redirection or -o FILE; see: dedup get --help\n"
        == said.err
    )


def test_force_without_a_file_is_wrong_usage(stored: World) -> None:
    assert "--force is for -o FILE" in stored.alice.fails("get latest user.alice --force", status=2)


def test_a_reader_that_goes_away_ends_it_quietly(stored: World) -> None:
    stored.wendy.does("put big", os.urandom(10_000_000))
    with stored.alice.start("get latest big") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert 1 == len(process.stdout.read(1))
        process.stdout.close()
        assert b"" == process.stderr.read()
        assert 128 + signal.SIGPIPE == process.wait(DEADLINE)


def test_a_full_disk_is_an_error(stored: World) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    process = stored.alice.start("get latest user.alice", stdout=full)
    os.close(full)
    _, err = process.communicate()
    assert 1 == process.returncode
    assert (
        b"dedup: cannot write standard output: No space left on device; "
        b"make room there, or write to another place\n" == err
    )


def test_a_closed_standard_output_is_an_error(stored: World) -> None:
    line = " ".join(stored.alice.command("get latest user.alice")) + " >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=stored.alice.environ, check=False)
    assert 1 == done.returncode
    assert b"dedup: standard output is closed; give it a file, a pipe or /dev/null\n" == done.stderr


def test_the_writer_has_no_key_to_read_with(stored: World) -> None:
    said = stored.wendy.fails("get latest user.alice -o out")
    assert "key" in said
    assert [] == parts(stored.wendy.folder)
