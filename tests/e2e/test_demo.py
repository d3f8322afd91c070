"""`make demo`: what it claims is proven, it leaves nothing behind, and what it backs up is what it says."""

import os
import random
import re
import signal
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from tests import afsdump
from tools import demo_data

ROOT = Path(__file__).parents[2]
DEADLINE = 280


def start(**environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, ROOT / "tools" / "demo.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environ},
    )


def end(demo: "subprocess.Popen[str]") -> str:
    """Return what else it prints; it gets time to clean up even if it takes too long."""
    try:
        return demo.communicate(timeout=DEADLINE)[0]
    except subprocess.TimeoutExpired:
        demo.terminate()
        demo.communicate()
        raise


def left_behind(said: str) -> list[str]:
    """Return the demo's folder if it is still there, and the processes that still work in it."""
    (folder,) = set(re.findall(r"/tmp/dedup-demo-\w+", said))
    left = [folder] if os.path.exists(folder) else []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if folder in command:
            left.append(command)
    return left


@pytest.fixture
def weeks() -> list[date]:
    return demo_data.days(date(2026, 11, 20))


@pytest.mark.timeout(DEADLINE + 20)
def test_everything_is_proven_and_nothing_is_left() -> None:
    demo = start()
    said = end(demo)
    assert 0 == demo.returncode, said
    for line in (
        r"  alice\$ dedup init --writer backup@fileserver\.example --admin alice@example\.org --admin bob@.*",
        r"  fileserver\$ dedup trust accept --yes --admin [0-9A-F]{40}",
        r"  fileserver\$ dedup put --date \d{4}\.\d\d\.\d\d user\.alice < .*",
        r"  fileserver\$ dedup list",
        r"  bob\$ dedup get \d{4}\.\d\d\.\d\d db\.hosting \| sha256sum",
        r"    dedup: your key may write backups and list them, but not read their contents; .*",
        r"    damaged: data/.*",
        r"    \(exit status 4\)",
        r"  \[ok\] 28 streams of 14 days stored and listed",
        r"  \[ok\] all of them restored: [\d,]+ bytes, every one proven by SHA-256",
        r"  \[ok\] one file came out of a volume dump",
        r"  \[ok\] [\d.]+ times smaller than gzip of the same streams: .*",
        r"  \[ok\] the writer's key alone read nothing",
        r"  \[ok\] one flipped bit found by `dedup check --read-data`",
        r"  \[ok\] no wrong byte given out for it",
    ):
        assert re.search(f"^{line}$", said, re.MULTILINE), line
    assert said.isascii()
    assert "\x1b" not in said  # no colours where there is no terminal
    assert [] == left_behind(said)


def test_nothing_is_left_when_it_is_interrupted() -> None:
    demo = start()
    assert demo.stdout is not None
    said = ""
    while "alice$ dedup init" not in said:
        said += demo.stdout.readline()
    demo.send_signal(signal.SIGINT)
    said += end(demo)
    assert 130 == demo.returncode, said
    assert said.endswith("Stopped; everything is removed again\n")
    assert [] == left_behind(said)


def test_a_failure_is_told_and_is_the_exit_status(tmp_path: Path) -> None:
    gpg = tmp_path / "gpg"
    gpg.write_text("#!/bin/sh\necho 'no entropy today' >&2\nexit 2\n")
    gpg.chmod(0o755)
    demo = start(PATH=f"{tmp_path}:{os.environ['PATH']}")
    said = end(demo)
    assert 1 == demo.returncode, said
    assert "FAILED" in said
    assert "ended with exit status 2, not 0" in said
    assert "no entropy today" in said
    assert "[ok]" not in said
    assert [] == left_behind(said)


def test_the_two_weeks_begin_on_a_sunday_and_are_over() -> None:
    for number in range(14):
        today = date(2026, 11, 1 + number)
        days = demo_data.days(today)
        assert 14 == len(set(days))
        assert 7 == days[0].isoweekday()
        assert max(days) < today


def test_the_mail_volume_is_dumped_as_vos_does_it(weeks: list[date]) -> None:
    dumps = [afsdump.parse(data) for data in demo_data.mails(random.Random(1), weeks) if data]
    assert [True, False, False, False] * 2 == [dump.span[0] == 0 for dump in dumps]
    for before, after in pairwise(dumps):
        assert after.span[0] in (0, before.span[1])  # full, or from where the one before ended
        gone = before.vnodes.keys() - after.vnodes.keys()
        new = after.vnodes.keys() - before.vnodes.keys()
        assert 1 == len(gone)
        assert all(after.vnodes[vnode] for vnode in new)  # whole
        bare = {vnode for vnode, fields in after.vnodes.items() if not fields}
        assert bare <= before.vnodes.keys()
        assert bool(bare) == (after.span[0] != 0)


def test_streams_are_the_same_each_time(tmp_path: Path, weeks: list[date]) -> None:
    one, other = (demo_data.make(tmp_path / name, weeks) for name in ("one", "other"))
    volumes = [stream.digest for stream in one if stream.path.suffix == ".dump"]
    assert volumes == [stream.digest for stream in other if stream.path.suffix == ".dump"]
    assert [stream.size for stream in one] == [
        stream.size for stream in other
    ]  # a tar tells its files' times
