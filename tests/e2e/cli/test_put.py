"""`dedup put`, as it is typed."""

import io
import json
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from threading import Thread

import pytest

from tests.afsdump import make_dump
from tests.e2e.cli.conftest import World

DUMP = make_dump("user.alice", 536870915, {"file": b"content" * 1000})
SUMMARY = r"{name} \d{{4}}\.\d\d\.\d\dT\d\d:\d\d {size}, .* new, .* stored \(\d+\.\d % deduplicated\) in \d+\.\d s\n"


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("etc/passwd")
        info.size = 5000
        archive.addfile(info, io.BytesIO(b"x" * 5000))
    return out.getvalue()


def kind(world: World, name: str) -> str:
    """Return what the stream is listed as."""
    (row,) = [row for row in json.loads(world.alice.does("list latest --json")) if row["name"] == name]
    return str(row["kind"])


def listed(world: World) -> list[str]:
    """Return the names that are stored."""
    if not json.loads(world.alice.does("list --json")):
        return []
    return [row["name"] for row in json.loads(world.alice.does("list latest --json"))]


@pytest.mark.parametrize(
    "data", [b"x", bytes(3_000_000), os.urandom(3_000_000)], ids=["1", "zeros", "random"]
)
def test_what_goes_in_comes_out(world: World, data: bytes) -> None:
    said = world.wendy.dedup("put some.thing", data)
    assert (0, b"") == (said.status, said.out)
    assert re.fullmatch(SUMMARY.format(name="some.thing", size=r"[\d.]+ [kM]?B"), said.err)
    assert data == world.alice.does("get today some.thing")


def test_the_writer_cannot_read_what_it_wrote(world: World) -> None:
    world.wendy.does("put x", b"data")
    said = world.wendy.dedup("get today x")
    assert (1, b"") == (said.status, said.out)
    assert "dedup: " in said.err
    assert "key" in said.err


def test_quiet_says_nothing(world: World) -> None:
    assert "" == world.wendy.dedup("-q put x", b"data").err


def test_json_says_what_was_stored(world: World) -> None:
    answer = json.loads(world.wendy.does("put x --json --date 2026.11.01T03:15:20", b"data"))
    assert ("x", 4, 4, "raw", "2026-11-01T03:15:20+00:00") == tuple(
        answer[key] for key in ("name", "size", "new", "kind", "time")
    )
    assert answer == json.loads(world.alice.does("list latest --json"))[0] | {"seconds": answer["seconds"]}


def test_storing_the_same_again_stores_next_to_nothing(world: World) -> None:
    data = os.urandom(2_000_000)
    world.wendy.does("put one", data)
    again = json.loads(world.wendy.does("put two --json", data))
    assert 0 == again["new"]
    assert again["stored"] < 0.005 * len(data)


def test_the_newest_of_a_day_wins_and_times_tell_them_apart(world: World) -> None:
    for at, data in (("03:15", b"first"), ("12:00", b"second"), ("08:00", b"between")):
        world.wendy.does(f"put x --date 2026.11.01T{at}", data)
    assert b"second" == world.alice.does("get 2026.11.01 x")
    assert b"first" == world.alice.does("get 2026-11-01T03:15 x")


def test_tomorrow_is_taken_with_a_warning(world: World) -> None:
    tomorrow = time.strftime("%Y.%m.%d", time.gmtime(time.time() + 86_400))
    said = world.wendy.dedup(f"put x --date {tomorrow}", b"data")
    assert 0 == said.status
    assert said.err.startswith(f"dedup: warning: {tomorrow} lies in the future\n")


def test_a_date_of_the_far_future_is_wrong_usage(world: World) -> None:
    said = world.wendy.fails("put x --date 2999.01.01", b"data", status=2)
    assert "2999.01.01 lies more than a day in the future" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a//b"], "the name 'a//b' is no relative path; use plain names with one slash between them"),
        ([".."], "the name '..' is no relative path; "),
        (["a\nb"], r"the name 'a\nb' has control characters; "),
        (["a\x1b[2J"], r"the name 'a\x1b[2J' has control characters; "),
        ([""], "the name '' has 0 bytes; use 1 to 255 bytes"),
        (["x" * 10_000], f"the name '{'x' * 56}... has 10000 bytes; use 1 to 255 bytes"),
        ([os.fsdecode(b"caf\xe9")], r"the name 'caf\udce9' is not valid UTF-8; choose a name in UTF-8"),
    ],
    ids=["slash", "dots", "newline", "escape", "empty", "long", "latin1"],
)
def test_refuses_bad_names(world: World, arguments: list[str], why: str) -> None:
    assert world.wendy.fails(["put", *arguments], b"data").startswith(f"dedup: {why}")
    assert [] == listed(world)


def test_refuses_an_empty_stream_unless_told(world: World) -> None:
    assert "dedup: the stream x is empty, so nothing was stored" in world.wendy.fails("put x")
    assert [] == listed(world)
    world.wendy.does("put x --allow-empty")
    assert b"" == world.alice.does("get latest x")


def test_refuses_a_terminal_and_says_how_it_is_used(world: World) -> None:
    said = world.wendy.on_terminal("put x", "stdin")
    assert 2 == said.status
    assert (
        "dedup: standard input is a terminal; use dedup put NAME < FILE, COMMAND | dedup put NAME, "
        "or dedup put NAME -- COMMAND; see: dedup put --help\n" == said.err
    )


def test_refuses_a_closed_standard_input(world: World) -> None:
    line = " ".join(world.wendy.command("put x")) + " <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=world.wendy.environ, check=False)
    assert 1 == done.returncode
    assert b"dedup: standard input is closed; give it a file, a pipe or /dev/null\n" == done.stderr


def test_takes_a_file_as_standard_input(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        process = world.wendy.start("-q put x", stdin=file.fileno())
        assert (b"", b"") == process.communicate()
    assert b"0123456789" == world.alice.does("get latest x")


def test_knows_a_volume_dump_and_a_tar(world: World) -> None:
    world.wendy.does("put user.alice", DUMP)
    world.wendy.does("put etc", tar())
    assert ("afs", "tar") == (kind(world, "user.alice"), kind(world, "etc"))
    assert DUMP == world.alice.does("get latest user.alice")


def test_a_volume_dump_that_is_cut_short_is_refused(world: World) -> None:
    for line in ("put user.alice", "put user.alice --format afs"):
        assert (
            f"dedup: the volume dump for user.alice is cut short: it has no end mark after {len(DUMP) - 1} bytes; "
            "no backup was recorded; dump it again, or keep it as it is with --format raw"
        ) == world.wendy.fails(line, DUMP[:-1])
    assert [] == listed(world)
    world.wendy.does("put user.alice --format raw", DUMP[:-1])
    assert DUMP[:-1] == world.alice.does("get latest user.alice")


def test_a_tar_that_is_cut_short_is_refused_if_asked_for_and_warned_of_otherwise(world: World) -> None:
    cut = tar()[:3000]
    assert "dedup: the tar for etc does not end as a tar does" in world.wendy.fails(
        "put etc --format tar", cut
    )
    assert [] == listed(world)
    said = world.wendy.dedup("put etc", cut)
    assert 0 == said.status
    assert said.err.startswith("dedup: warning: the tar for etc does not end as a tar does")


@pytest.mark.parametrize("form", ["afs", "tar"])
def test_what_is_no_dump_or_tar_is_refused_as_one(world: World, form: str) -> None:
    said = world.wendy.fails(f"put x --format {form}", b"something else")
    assert (
        "it begins with 73 6f 6d 65 74 68 69 6e; no backup was recorded; to keep it as it is: --format raw"
        in said
    )
    assert [] == listed(world)


def test_an_empty_tar_is_a_tar(world: World) -> None:
    world.wendy.does("put x --format tar", bytes(10240))
    assert "tar" == kind(world, "x")


def test_stores_what_a_command_writes(world: World) -> None:
    said = world.wendy.dedup(["put", "x", "--", "sh", "-c", "echo to stderr >&2; echo data"])
    assert 0 == said.status
    assert said.err.startswith("to stderr\n")
    assert b"data\n" == world.alice.does("get latest x")


def test_options_after_the_dashes_are_the_commands(world: World) -> None:
    world.wendy.does(["put", "x", "--", "printf", "%s", "--format", "-r", "--help"])
    assert b"--format-r--help" == world.alice.does("get latest x")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("head -c 5000000 /dev/urandom; exit 3", "the command sh failed with exit status 3"),
        ("exit 1", "the command sh failed with exit status 1"),
        ("head -c 5000000 /dev/urandom; kill -9 $$", "the command sh was killed by SIGKILL"),
    ],
)
def test_a_command_that_fails_half_way_lists_nothing(world: World, script: str, why: str) -> None:
    said = world.wendy.fails(["put", "x", "--", "sh", "-c", script])
    assert f"dedup: {why}; no backup was recorded; see its messages above" == said
    assert [] == listed(world)


def test_a_command_that_is_not_there_is_named(world: World) -> None:
    said = world.wendy.fails(["put", "x", "--", "/no/such/vos", "--password", "secret"])
    assert "dedup: the command /no/such/vos was not found; give its full path" == said


def test_a_command_without_dashes_is_wrong_usage(world: World) -> None:
    said = world.wendy.fails("put x vos", status=2)
    assert said.startswith("dedup: the command that writes the stream goes after --: ")


def test_a_command_that_is_not_read_to_its_end_is_stopped(world: World, tmp_path: Path) -> None:
    """It must not be left behind, neither by us nor by what we started (gpg, gpg-agent)."""
    began = time.monotonic()
    script = f"echo $$ > {tmp_path}/pid; printf 'not a dump'; exec yes"
    said = world.wendy.fails(["put", "x", "--format", "afs", "--", "sh", "-c", script])
    assert "is not a volume dump" in said
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_progress_is_shown_on_a_terminal_only(world: World) -> None:
    slow = ["put", "x", "--", "sh", "-c", "head -c 9000000 /dev/zero; sleep 0.5; head -c 9000000 /dev/zero"]
    said = world.wendy.on_terminal(slow, "stderr")
    assert 0 == said.status
    assert "\x1b[" in said.err
    assert " deduplicated" in said.err.split("\n", 1)[0]
    assert "18.0 MB, " in said.err.rsplit("\x1b", 1)[1]
    assert "\x1b" not in world.wendy.dedup(slow).err
    assert "" == world.wendy.on_terminal(["-q", *slow], "stderr").err


def test_two_at_once_are_both_stored(world: World) -> None:
    same, other = os.urandom(5_000_000), os.urandom(5_000_000)
    streams = {"one": same, "two": same, "three": other}
    running = {name: world.wendy.start(["-q", "put", name]) for name in streams}
    feeding = [Thread(target=running[name].communicate, args=(streams[name],)) for name in streams]
    for thread in feeding:
        thread.start()
    for thread in feeding:
        thread.join()
    assert [0, 0, 0] == [process.returncode for process in running.values()]
    for name, data in streams.items():
        assert data == world.alice.does(f"get latest {name}")
    assert 0 == world.alice.dedup("check --read-data").status
