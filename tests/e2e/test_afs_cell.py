"""Volumes of a real AFS cell into a repository and back, as users type it.

Also tested here, because everything else leans on it: that the comparison of dumps sees what it must.
"""

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.afsdump import make_dump, parse, same_volume
from tests.e2e.conftest import Shell
from tests.servers.afs_cell import AfsCell
from tests.servers.sshd import wait_for

SAMPLES = Path(__file__).parents[1] / "data" / "afs"
FULL_UNTIL = 1795191399  # the end of 2-full.dump, and where 3-incr.dump begins
HALF = 20_000_000

# `vos dump VOLUME` that passes on HALF bytes, says so, and goes on when it is told to.  The process itself
# is vos: it writes its pid first.
HALTING_DUMP = f"""#!/bin/bash
cd "${{0%/*}}"
echo $$ > pid
exec vos dump "$1" -localauth > >(head -c {HALF}; touch half; until [ -e go ]; do sleep 0.05; done; cat)
"""


def made_dump() -> bytes:
    """A volume of 500 files in three folders; some empty, some of a few chunks, one of a megabyte."""
    chance = random.Random(7)
    files = {f"folder{i % 3}/file {i} {'x' * (i % 90)}": chance.randbytes(i * i % 40_000) for i in range(499)}
    return make_dump("made", 1, {"big": chance.randbytes(1 << 20), **files})


def fill(cell: AfsCell, volume: str, dump: bytes) -> None:
    cell.vos("create", cell.server, cell.partition, volume)
    cell.vos("restore", cell.server, cell.partition, volume, "-overwrite", "full", stdin=dump)
    cell.vos("backup", volume)


@pytest.fixture
def in_cell(shell: Shell, afs_cell: AfsCell) -> Shell:
    """A shell in which `vos` talks to the cell, and a repository that already holds one stream, `control`."""
    shell.environ["PATH"] = f"{afs_cell.bin}:{shell.environ['PATH']}"
    shell("dedup put control", stdin=b"control")
    return shell


@pytest.fixture(scope="module")
def filled_big(afs_cell: AfsCell) -> None:
    fill(afs_cell, "big", make_dump("big", 1, {"noise": random.Random(1).randbytes(64 << 20)}))


@pytest.fixture
def big_volume(afs_cell: AfsCell, filled_big: None) -> Iterator[str]:
    """The .backup of a volume that takes a while to dump; it is not left busy for the next test."""
    yield "big.backup"
    if not is_idle(afs_cell):
        afs_cell.restart_volume_server()


@pytest.fixture
def halting_dump(tmp_path: Path) -> Path:
    script = tmp_path / "halting-dump"
    script.write_text(HALTING_DUMP)
    script.chmod(0o755)
    return script


def listed(shell: Shell) -> list[str]:
    return [row["name"] for row in json.loads(shell("dedup list latest --json").stdout)]


def is_idle(cell: AfsCell) -> bool:
    return b"No active transactions" in cell.vos("status", cell.server).stdout


@pytest.mark.parametrize("content", ["made", "2-full.dump", "1-empty.dump"])
def test_a_volume_comes_back_vnode_for_vnode(afs_cell: AfsCell, in_cell: Shell, content: str) -> None:
    volume = f"user.{content[:2]}"
    fill(afs_cell, volume, made_dump() if content == "made" else (SAMPLES / content).read_bytes())
    where = f"{afs_cell.server} {afs_cell.partition}"

    in_cell(f"dedup put {volume} -- vos dump -id {volume}.backup -localauth")
    in_cell(f"dedup get latest {volume} | vos restore {where} {volume}.r -localauth")

    original, restored = (afs_cell.vos("dump", name).stdout for name in (f"{volume}.backup", f"{volume}.r"))
    assert same_volume(original, restored) == []
    assert afs_cell.salvager_complaints(f"{volume}.r") == []


def test_a_full_and_an_incremental_come_back_byte_for_byte(
    afs_cell: AfsCell, in_cell: Shell, tmp_path: Path
) -> None:
    fill(afs_cell, "user.inc", (SAMPLES / "2-full.dump").read_bytes())
    for kind, time in (("full", 0), ("incremental", FULL_UNTIL)):
        dump = f"vos dump -id user.inc.backup -time {time} -localauth"
        in_cell(f"{dump} -file {tmp_path}/{kind}")
        in_cell(f"{dump} | dedup put user.inc")
        in_cell(f"dedup get latest user.inc --raw | cmp - {tmp_path}/{kind}")

        increment = (SAMPLES / "3-incr.dump").read_bytes()
        into = (afs_cell.server, afs_cell.partition, "user.inc")
        afs_cell.vos("restore", *into, "-overwrite", "incremental", stdin=increment)
        afs_cell.vos("backup", "user.inc")

    vnodes = parse((tmp_path / "incremental").read_bytes()).vnodes
    assert (sum(map(bool, vnodes.values())), sum(not fields for fields in vnodes.values())) == (14, 73)


def test_a_dump_of_no_volume_fails_and_lists_nothing(in_cell: Shell) -> None:
    failed = in_cell("dedup put user.none -- vos dump -id no.such.volume -localauth", status=1)
    assert b"command vos failed" in failed.stderr
    assert listed(in_cell) == ["control"]


def test_a_dump_killed_half_way_fails_and_lists_nothing(
    in_cell: Shell, big_volume: str, halting_dump: Path
) -> None:
    with in_cell.start(f"dedup put user.big -- {halting_dump} {big_volume}") as put:
        wait_for((halting_dump.parent / "half").exists, 60)
        os.kill(int((halting_dump.parent / "pid").read_text()), signal.SIGKILL)
        (halting_dump.parent / "go").touch()
        said = put.communicate(timeout=60)[1]

    assert put.returncode == 1
    assert f"{halting_dump} was killed".encode() in said
    assert listed(in_cell) == ["control"]


def test_a_piped_dump_cut_off_half_way_fails_and_lists_nothing(in_cell: Shell, big_volume: str) -> None:
    failed = in_cell(f"vos dump {big_volume} -localauth | head -c {HALF} | dedup put user.big", status=1)
    assert b"user.big" in failed.stderr
    assert listed(in_cell) == ["control"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_backup_stopped_half_way_lists_nothing_and_frees_the_volume_within_seconds(
    afs_cell: AfsCell, in_cell: Shell, big_volume: str, halting_dump: Path, number: signal.Signals
) -> None:
    with in_cell.start(f"dedup put user.big -- {halting_dump} {big_volume}") as put:
        wait_for((halting_dump.parent / "half").exists, 60)
        assert not is_idle(afs_cell)
        put.send_signal(number)
        (halting_dump.parent / "go").touch()
        put.communicate(timeout=60)

    assert put.returncode != 0
    assert listed(in_cell) == ["control"]
    wait_for(lambda: is_idle(afs_cell), 20)


def test_same_volume_ignores_what_a_restore_renames() -> None:
    files = {"file": b"content"}
    assert same_volume(make_dump("one", 1, files), make_dump("other", 2, files)) == []


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        pytest.param(b"content", b"contenT", id="content"),
        pytest.param(b"file\0", b"filE\0", id="directory"),
        pytest.param(b"b\x01\xa4", b"b\x01\xa5", id="mode"),
        pytest.param(b"\xff\xff\xff\x9b\0\0\0\x09", b"\xff\xff\xff\x9b\0\0\0\x0b", id="access list"),
        pytest.param(b"o\0\0\0\0b", b"o\0\0\0\1b", id="owner"),
        pytest.param(b"t\1l\0\1", b"t\1l\0\2", id="link count"),
        pytest.param(b"t\1l\0\1v\0\0\0\1", b"t\1l\0\1v\0\0\0\2", id="data version"),
        pytest.param(b"p\0\0\0\1s", b"p\0\0\0\3s", id="parent"),
    ],
)
def test_same_volume_sees_every_change(part: bytes, changed: bytes) -> None:
    dump = make_dump("one", 1, {"file": b"content"})
    assert part in dump
    assert len(same_volume(dump, dump.replace(part, changed, 1))) == 1


def test_same_volume_sees_a_file_that_is_missing() -> None:
    one, two = (make_dump("one", 1, dict.fromkeys(names, b"")) for names in (["a"], ["a", "b"]))
    assert "vnode 4.4: only in the second" in same_volume(one, two)


def test_parse_refuses_a_dump_that_is_cut_off_anywhere() -> None:
    dump = make_dump("one", 1, {"file": b"content"})
    for size in range(len(dump)):
        with pytest.raises(ValueError):
            parse(dump[:size])
