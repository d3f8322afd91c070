"""Commands as sources: their failure, their end."""

import os
import signal
import time
from pathlib import Path

import pytest

from dedupstore.errors import StreamError
from pipelines.sources.program import Command

DEADLINE = 20.0


def drain(source: Command) -> bytes:
    out = bytearray()
    buffer = memoryview(bytearray(100_000))
    while count := source.readinto(buffer):
        out += buffer[:count]
    return bytes(out)


def run(*arguments: str) -> bytes:
    with Command(arguments) as source:
        return drain(source)


def shell(script: str, *, grace: tuple[float, float] = (DEADLINE, DEADLINE)) -> Command:
    return Command(["sh", "-c", script], grace)


def wait_for(path: Path) -> str:
    """Return the file's first line when it is written."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def gone(pid: int) -> bool:
    """Tell whether that process ends, and soon."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_gives_what_the_command_writes() -> None:
    assert b"a\n" * 200_000 == run("sh", "-c", "yes a | head -200000")


def test_a_command_that_fails_after_its_output_fails_the_stream() -> None:
    with pytest.raises(
        StreamError,
        match="the command sh failed with exit status 3; no backup was recorded; see its messages above",
    ):
        run("sh", "-c", "echo almost everything; exit 3")


def test_a_command_that_is_killed_fails_the_stream() -> None:
    with pytest.raises(StreamError, match="the command sh was killed by SIGKILL; no backup was recorded"):
        run("sh", "-c", "echo something; kill -9 $$")


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StreamError, match="the command no-such-thing was not found; give its full path"):
        run("no-such-thing", "--password=secret")


def test_a_command_that_may_not_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    with pytest.raises(StreamError, match=r"the command .*/plain cannot be started: Permission denied"):
        run(str(tmp_path / "plain"))


def test_only_the_name_of_a_command_is_shown() -> None:
    with pytest.raises(StreamError) as caught:
        run("false", "--password=secret")
    assert "secret" not in str(caught.value)


def test_the_end_is_not_reported_before_the_command_has_ended(tmp_path: Path) -> None:
    with shell(f"echo data; exec >&-; sleep 0.3; echo > {tmp_path}/done") as source:
        assert b"data\n" == drain(source)
        assert (tmp_path / "done").exists()


def test_a_command_that_writes_ends_by_its_closed_pipe(tmp_path: Path) -> None:
    # Only its last words tell how it ended; SIGTERM would come after the deadline.
    script = f"trap 'echo by SIGTERM > {tmp_path}/how; exit' TERM; yes; echo by $? > {tmp_path}/how"
    began = time.monotonic()
    with shell(script) as source:
        assert 100 == source.readinto(memoryview(bytearray(100)))
    assert f"by {128 + signal.SIGPIPE}" == wait_for(tmp_path / "how")
    assert time.monotonic() - began < DEADLINE


def test_a_command_that_writes_nothing_ends_by_sigterm(tmp_path: Path) -> None:
    script = f"trap 'echo by SIGTERM > {tmp_path}/how; exit' TERM; echo x; while :; do sleep 0.05; done"
    with shell(script, grace=(0.2, DEADLINE)) as source:
        assert 2 == source.readinto(memoryview(bytearray(100)))
    assert "by SIGTERM" == wait_for(tmp_path / "how")


def test_a_command_that_ignores_everything_is_killed(tmp_path: Path) -> None:
    script = f"trap '' TERM PIPE; echo $$ > {tmp_path}/pid; echo x; while :; do sleep 0.05; done"
    with shell(script, grace=(0.1, 0.1)):
        pid = int(wait_for(tmp_path / "pid"))
    assert gone(pid)


def test_a_command_has_no_copy_of_the_read_end(tmp_path: Path) -> None:
    """Two at once: neither may hold the other's pipe open."""
    with shell("yes") as first, shell("sleep 30", grace=(0.0, DEADLINE)):
        first.readinto(memoryview(bytearray(10)))
        began = time.monotonic()
        first.close()
        assert time.monotonic() - began < DEADLINE
