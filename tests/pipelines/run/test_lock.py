"""One run at a time on a host."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.run.lock import NAME, RunningError, only_run

HOLD = """
import sys, pathlib
from pipelines.run.lock import only_run
with only_run(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"held\n" == process.stdout.readline()
    return process


def test_a_second_run_reports_which_process_runs_and_since_when(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        with pytest.raises(RunningError) as caught, only_run(tmp_path):
            pass
        assert re.fullmatch(
            rf"another run is active: process {process.pid}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d",
            caught.value.message,
        )
        process.communicate()
    with only_run(tmp_path):
        pass


def test_the_lock_of_a_killed_run_blocks_nobody(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with only_run(tmp_path):
        assert (tmp_path / NAME).read_text().startswith(f"{os.getpid()} ")


def test_a_program_that_the_run_left_behind_blocks_nobody(tmp_path: Path) -> None:
    with only_run(tmp_path):
        left = subprocess.Popen(["sleep", "60"])
    try:
        with only_run(tmp_path):
            pass
    finally:
        left.kill()
        left.wait()


@pytest.mark.parametrize("content", [b"", b"x", b"1 2 3", b"\xff\0", b"a b"])
def test_what_is_in_the_file_never_matters(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with only_run(tmp_path):
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(RunningError, match="it has just started"), only_run(tmp_path):
            pass
