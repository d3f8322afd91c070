"""`dedup get --all`, as it is typed on the day when all is lost."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import DEADLINE, World
from tests.servers.sshd import wait_for


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def damage(world: World) -> None:
    """Flip a bit in the pack that was written last."""
    last = max(world.files("data"), key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.chmod(0o600)
    last.write_bytes(data)


def test_gives_every_stream_of_a_date_into_a_new_private_folder(stored: World) -> None:
    said = stored.alice.dedup("get 2026.11.01 --all -o out")
    assert (0, b"") == (said.status, said.out)
    assert re.fullmatch(r"2 of 2 streams of 2026\.11\.01, 11 B, in out in \d+\.\d s\n", said.err)
    out = stored.alice.folder / "out"
    assert {"user.alice": b"first", "user.bob": b"of bob"} == contents(out)
    assert [0o700, 0o600, 0o600] == [path.stat().st_mode & 0o777 for path in (out, *out.iterdir())]
    assert "" == stored.alice.dedup("-q get 2026.11.01 --all -o quiet").err


def test_latest_gives_the_newest_of_every_name_and_tells_the_older_ones(stored: World) -> None:
    said = stored.alice.dedup("get latest --all -o out")
    out = contents(stored.alice.folder / "out")
    assert ["noise", "user.alice", "user.bob"] == sorted(out)
    assert (b"second", b"of bob") == (out["user.alice"], out["user.bob"])
    first, last = said.err.splitlines()
    assert "of days before 2026.11.05 are: user.bob" == first
    assert last.startswith("3 of 3 streams up to 2026.11.05, 300.0 kB, in out in ")


def test_a_file_that_exists_is_left_and_the_others_come(stored: World) -> None:
    out = stored.alice.folder / "out"
    out.mkdir()
    (out / "user.alice").write_bytes(b"precious")
    (out / "other").write_bytes(b"precious")
    said = stored.alice.dedup("get 2026.11.01 --all -o out")
    assert 0 == said.status
    left, summary = said.err.splitlines()
    assert "1 there already, and left untouched: user.alice" == left
    assert summary.startswith("1 of 2 streams of 2026.11.01, 6 B, ")
    assert {"user.alice": b"precious", "user.bob": b"of bob", "other": b"precious"} == contents(out)

    again = stored.alice.dedup("get 2026.11.01 --all -o out")
    assert (0, "2 streams of 2026.11.01: all are there already, in out, and left untouched\n") == (
        again.status,
        again.err,
    )
    assert 0 == stored.alice.dedup("get 2026.11.01 --all -o out --force").status
    assert {"user.alice": b"first", "user.bob": b"of bob", "other": b"precious"} == contents(out)


def test_a_link_in_the_way_is_never_followed(stored: World) -> None:
    out = stored.alice.folder / "out"
    out.mkdir()
    (out / "user.alice").symlink_to("../target")
    for force in ("", " --force"):
        said = stored.alice.dedup(f"get 2026.11.01 --all -o out{force}")
        assert 3 == said.status
        first = said.err.splitlines()[0]
        assert (
            "dedup: user.alice: out/user.alice exists and is not a plain file; move it away, or choose another folder"
            == first
        )
    assert not (stored.alice.folder / "target").exists()


def test_a_stream_that_fails_is_told_and_the_others_come(stored: World) -> None:
    stored.wendy.does("put big --date 2026.11.01T05:00", os.urandom(9_000_000))
    damage(stored)
    said = stored.alice.dedup("get 2026.11.01 --all -o out")
    assert 3 == said.status
    failed, summary = said.err.splitlines()
    assert re.fullmatch(r"dedup: big: the chunk [0-9a-f]{64} cannot be read: .*", failed)
    assert summary.startswith("2 of 3 streams of 2026.11.01, 11 B, ")
    assert ["user.alice", "user.bob"] == sorted(contents(stored.alice.folder / "out"))

    stored.alice.does("get 2026.11.05 --all -o out5")
    said = stored.alice.dedup("get 2026.11.01T05:00 --all -o alone")
    assert 1 == said.status
    assert "0 of 1 stream of 2026.11.01T05:00, 0 B, " in said.err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("get 2026.11.01 --all", "--all needs a folder: -o FOLDER"),
        ("get 2026.11.01 --all -o -", "--all needs a folder: -o FOLDER"),
        ("get 2026.11.01 user.alice --all -o out", "it is either NAME or --all"),
        ("get 2026.11.01 --all -o ''", "Invalid value for '-o' / '--output': a name is needed"),
        ("get 2026.11.01 user.alice -o ''", "Invalid value for '-o' / '--output': a name is needed"),
        ("get 2026.11.01 -o out", "Missing argument 'NAME'; for every one: --all -o FOLDER"),
    ],
)
def test_wrong_usage_is_told(stored: World, line: str, why: str) -> None:
    assert f"dedup: {why}; see: dedup get --help" == stored.alice.fails(line, status=2)
    assert not (stored.alice.folder / "out").exists()


def test_a_date_without_backups_makes_no_folder(stored: World) -> None:
    said = stored.alice.fails("get 2026.11.03 --all -o out")
    assert "dedup: no backup is stored for 2026.11.03; the nearest: 2026.11.01 and 2026.11.05" == said
    assert not (stored.alice.folder / "out").exists()


def test_what_is_no_folder_is_refused(stored: World) -> None:
    (stored.alice.folder / "file").touch()
    said = stored.alice.fails("get latest --all -o file")
    assert "dedup: file is no folder; -o names a folder with --all" == said
    said = stored.alice.fails("get latest --all -o file/out")
    assert "dedup: cannot write file/out: Not a directory" == said


def test_a_folder_is_made_with_what_it_lies_in(stored: World) -> None:
    stored.alice.does("get 2026.11.01 --all -o new/er/out")
    assert {"user.alice", "user.bob"} == set(contents(stored.alice.folder / "new/er/out"))


def test_what_a_killed_run_has_left_is_removed_by_the_next_and_what_is_being_written_is_not(
    stored: World,
) -> None:
    stored.wendy.does("put big -- head -c 1000000000 /dev/zero")
    out = stored.alice.folder / "out"
    with stored.alice.start("get today --all -o out") as process:
        wait_for(lambda: out.is_dir() and any(out.iterdir()), DEADLINE)
        process.send_signal(signal.SIGSTOP)  # it is not to end while others run
        (part,) = out.iterdir()
        alive = stored.alice.dedup("get 2026.11.01 --all -o out")
        assert part.exists()
        process.kill()
    assert "removed" not in alive.err
    assert {part.name, "user.alice", "user.bob"} == {path.name for path in out.iterdir()}
    said = stored.alice.dedup("get 2026.11.01 --all -o out")
    assert (0, "removed 1 half file of a run that was killed") == (said.status, said.err.splitlines()[0])
    assert {"user.alice", "user.bob"} == {path.name for path in out.iterdir()}


def test_a_key_that_cannot_read_is_told_once(stored: World) -> None:
    said = stored.wendy.fails("get latest --all -o out")
    assert "key" in said
    assert {} == contents(stored.wendy.folder / "out")


def test_a_file_that_cannot_be_written_is_told_and_leaves_no_half_file(stored: World) -> None:
    stored.wendy.does("put big --date 2026.11.05T05:00", os.urandom(9_000_000))
    line = " ".join(stored.alice.command("get 2026.11.05 --all -o out"))
    done = subprocess.run(
        ["sh", "-c", f"trap '' XFSZ; ulimit -f 8000; exec {line}"],  # more than the cache needs
        capture_output=True,
        env=stored.alice.environ,
        cwd=stored.alice.folder,
        check=False,
    )
    assert 3 == done.returncode
    assert done.stderr.startswith(b"dedup: big: cannot write out/big: File too large")
    assert ["noise", "user.alice"] == sorted(contents(stored.alice.folder / "out"))


def test_a_signal_leaves_no_half_file(stored: World) -> None:
    stored.wendy.does("put big -- head -c 1000000000 /dev/zero")
    out = stored.alice.folder / "out"
    with stored.alice.start("get today --all -o out") as process:
        wait_for(lambda: out.is_dir() and any(out.iterdir()), DEADLINE)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=DEADLINE)[1]
    assert 128 + signal.SIGTERM == process.returncode
    assert b"interrupted" in said
    assert [] == [path.name for path in out.iterdir()]


def test_names_with_slashes_become_files_in_folders_and_none_replaces_another(world: World) -> None:
    for name in ("web", "web/x", "web/deep/y", "mail/z", "a", "web.d"):
        world.wendy.does(["put", name, "--date", "2026.11.01T03:00"], name.encode())
    out = world.alice.folder / "out"
    world.alice.does("get 2026.11.01 --all -o out")
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {
        "web": b"web",
        "web.d.d/x": b"web/x",
        "web.d.d/deep/y": b"web/deep/y",
        "mail/z": b"mail/z",
        "a": b"a",
        "web.d": b"web.d",
    } == found
    assert {0o700} == {path.stat().st_mode & 0o777 for path in out.rglob("*") if path.is_dir()}
    assert "all are there already" in world.alice.dedup("get 2026.11.01 --all -o out").err
    listed = [line.split()[-1] for line in world.alice.does("list latest").decode().splitlines()[1:]]
    assert ["mail/z", "web/deep/y", "web/x", "a", "web", "web.d"] == listed
    assert b"web/x" == world.alice.does("get latest web/x")


def test_a_folder_that_leads_elsewhere_or_is_a_file_costs_only_what_is_in_it(world: World) -> None:
    for name in ("web/x", "mail/z", "a"):
        world.wendy.does(["put", name, "--date", "2026.11.01T03:00"], name.encode())
    out, elsewhere = world.alice.folder / "out", world.alice.folder / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "web").symlink_to(elsewhere)
    (out / "mail").write_bytes(b"mine")
    said = world.alice.dedup("get 2026.11.01 --all -o out")
    assert 3 == said.status
    assert "dedup: web/x: out/web is no folder; move it away, or choose another folder\n" in said.err
    assert "dedup: mail/z: out/mail is no folder; move it away, or choose another folder\n" in said.err
    assert [] == list(elsewhere.iterdir())
    assert (b"a", b"mine") == ((out / "a").read_bytes(), (out / "mail").read_bytes())
