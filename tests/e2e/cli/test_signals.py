"""SIGINT, SIGTERM and SIGHUP: a clean stop, and nothing half-visible."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import DEADLINE, World

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def wait_until(what: str, path: Path, size: int = 0) -> None:
    """Wait until the file is there, with more than `size` bytes."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.02)
    raise AssertionError(what)


def wait_for_run(world: World) -> None:
    """Wait until a run has begun, and reads its stream."""
    end = time.monotonic() + DEADLINE
    while not world.files("runs"):
        assert time.monotonic() < end
        time.sleep(0.02)


def finish(process: "subprocess.Popen[bytes]") -> tuple[int, bytes]:
    _, err = process.communicate(timeout=DEADLINE)
    return process.returncode, err


@pytest.mark.parametrize("stop", STOPS)
def test_a_put_that_is_stopped_lists_nothing(world: World, stop: signal.Signals) -> None:
    with world.wendy.start("put x") as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(os.urandom(6_000_000))
        process.stdin.flush()
        wait_for_run(world)
        process.send_signal(stop)
        # The stream stays open: it is the signal that ends the command.
        assert stop + 128 == process.wait(DEADLINE)
        assert b"dedup: interrupted; no backup was recorded\n" == process.stderr.read()
    assert b"[]\n" == world.wendy.does("list --json")
    assert 0 == world.alice.dedup("check").status
    world.wendy.does("put x", b"data")


def test_a_put_that_is_stopped_stops_its_command(world: World, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec cat /dev/zero"
    process = world.wendy.start(["put", "x", "--", "sh", "-c", script])
    wait_until("the command has begun", tmp_path / "pid")
    wait_for_run(world)
    process.send_signal(signal.SIGTERM)
    assert (143, b"dedup: interrupted; no backup was recorded\n") == finish(process)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_two_signals_at_once_are_one(world: World) -> None:
    """As from `timeout`, or from a terminal and a supervisor."""
    process = world.wendy.start("put x")
    wait_for_run(world)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    status, err = finish(process)
    assert status in (130, 143)
    assert b"dedup: interrupted; no backup was recorded\n" == err


def test_a_get_that_is_stopped_leaves_no_half_file(world: World) -> None:
    world.wendy.does("put big", os.urandom(30_000_000))
    process = world.alice.start("get latest big -o out")
    end = time.monotonic() + DEADLINE
    while not list(world.alice.folder.glob(".dedup-*.part")) and process.poll() is None:
        assert time.monotonic() < end
    process.send_signal(signal.SIGTERM)
    status, err = finish(process)
    left = {path.name for path in world.alice.folder.iterdir()} - {"state"}
    # It may have been ready just before the signal came.
    assert (status, left) in ((143, set()), (0, {"out"}), (143, {"out"}))
    assert b"Traceback" not in err


def test_a_signal_that_is_ignored_stays_ignored(world: World) -> None:
    """As under nohup."""
    line = "trap '' HUP; exec " + " ".join(world.wendy.command("-q put x"))
    process = subprocess.Popen(
        ["sh", "-c", line], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=world.wendy.environ
    )
    wait_for_run(world)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(b"data", timeout=DEADLINE)
    assert (0, b"") == (process.returncode, err)
