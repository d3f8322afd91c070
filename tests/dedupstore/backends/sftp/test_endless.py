"""Storage that never ends: every call ends all the same, soon and in little memory, and says why."""

import os
import shlex
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dedupstore.backends.contract import MAX_NAMES, Entry
from dedupstore.backends.listing import Listing
from dedupstore.backends.local import LocalBackend
from dedupstore.backends.sftp.backend import SftpBackend
from dedupstore.backends.sftp.deadline import Patience
from dedupstore.errors import BackendError, TransientError

SERVER = Path(__file__).with_name("wearing_server.py")
PATIENCE = Patience(silent=1.0, call=2.0, rate=64 << 20)
SLACK = 10.0  # seconds, for a slow machine
DATA = os.urandom(100_000)

Wearing = Callable[..., SftpBackend]


@pytest.fixture
def wearing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wearing:
    """A back end of a server that never ends: see `wearing_server`."""
    LocalBackend(tmp_path / "repo").create("config", DATA)

    def connect(fault: str, most_names: int = MAX_NAMES, patience: Patience = PATIENCE) -> SftpBackend:
        monkeypatch.setenv("DEDUP_SSH", shlex.join([sys.executable, str(SERVER), *fault.split()]))
        repo = f"{tmp_path}/repo"
        return SftpBackend("host", None, None, repo, patience=patience, most_names=most_names)

    return connect


@pytest.mark.parametrize("call", ["list", "names"])
def test_a_listing_without_end_is_refused_in_bounded_memory(wearing: Wearing, call: str) -> None:
    patience = Patience(silent=60.0, call=60.0)  # it is not time that ends it
    with closing(wearing("names 0", 50_000, patience)) as backend:
        backend.size("config")  # connects
        tracemalloc.start()
        try:
            with pytest.raises(BackendError) as refusal:
                getattr(backend, call)("")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "cannot list host:" in str(refusal.value)
        assert "it has more than 50000 names; check what fills it" in str(refusal.value)
        assert not isinstance(refusal.value, TransientError)
        assert peak < 8 << 20
        assert len(DATA) == backend.size("config")


def test_a_listing_without_end_is_given_up_in_time(wearing: Wearing) -> None:
    with closing(wearing("names 0")) as backend:
        started = time.monotonic()
        with pytest.raises(TransientError, match="too slow: a call missed its deadline"):
            backend.list("")
        assert time.monotonic() - started < PATIENCE.longest + SLACK


@pytest.mark.parametrize("most", [999, 1000])
def test_a_local_folder_may_have_so_many_names_and_no_more(tmp_path: Path, most: int) -> None:
    for number in range(1000):
        (tmp_path / f"Somebody Else's {number}").touch()
    backend = LocalBackend(tmp_path, most_names=most)
    for call in (backend.list, backend.names):
        if most == 1000:
            assert [] == list(call(""))
        else:
            with pytest.raises(BackendError, match=f"cannot list {tmp_path}: it has more than 999 names"):
                call("")


def test_ten_years_of_a_hundred_hosts_fit_in_a_folder_at_a_hundred_bytes_each() -> None:
    assert 5 * 2 * 100 * 3653 < MAX_NAMES
    names = 100_000
    tracemalloc.start()
    try:
        listing = Listing("runs", "host:/repo/runs")
        for number in range(names):
            name = f"{number:064x}"
            assert listing.wants(name)
            listing.add(name, number)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * names
    entries = listing.entries()
    assert Entry(f"runs/{0:064x}", 0) == next(entries)
    assert names - 1 == sum(1 for _ in entries)


def test_long_names_count_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dedupstore.backends.listing.MAX_LISTING", 1000)
    listing = Listing("", "/repo")
    for _ in range(5):
        listing.add("a" * 199)
    with pytest.raises(BackendError, match="cannot list /repo: its names have more than 1000 bytes"):
        listing.add("a")


@pytest.mark.parametrize("fault", ["drip 2", "drip 102", "drip 103", "drip 104", "drip 105", "crumbs 0"])
def test_a_server_that_only_looks_alive_is_given_up_in_time(wearing: Wearing, fault: str) -> None:
    """A byte now and then, or an answer now and then that brings a byte, is no progress."""
    with closing(wearing(fault)) as backend:
        started = time.monotonic()
        with pytest.raises(TransientError, match=r"(no answer for|too slow: a call missed its deadline)"):
            (backend.read("config"), backend.list(""))
        assert time.monotonic() - started < PATIENCE.longest + SLACK


def test_an_upload_that_is_sipped_is_given_up_in_time(wearing: Wearing) -> None:
    with closing(wearing("sip 0")) as backend:
        started = time.monotonic()
        with pytest.raises(TransientError):
            backend.create("packs/ab/1", bytes(8 << 20))
        assert time.monotonic() - started < PATIENCE.longest + SLACK


def test_complaints_without_end_fill_no_disk(wearing: Wearing) -> None:
    """The server's stderr is kept in a file for its last line: ssh ends before it is large."""
    with closing(wearing("complain 0")) as backend, pytest.raises(TransientError, match="connection"):  # noqa: PT012
        for _ in range(1_000_000):
            backend.read("config")


def test_a_slow_line_that_others_share_breaks_nothing() -> None:
    """On 256 kbit/s, four uploads of the largest file at once, and what may be queued in front of a small call."""
    line, channels, queued = 256_000 / 8, 4, 16 << 20
    patience = Patience()
    assert channels * (64 << 20) / line < patience.longest
    assert queued / line < patience.call
    assert (255 << 10) / (line / 2 / channels) < patience.silent + (255 << 10) / patience.rate


def test_a_slow_server_may_take_longer_for_more_bytes(wearing: Wearing) -> None:
    patience = Patience(silent=1.0, call=2.0, rate=4)
    with closing(wearing("crumbs 0", patience=patience)) as backend:
        started = time.monotonic()
        assert DATA[:20] == backend.read("config", 0, 20)
        assert patience.call < time.monotonic() - started
