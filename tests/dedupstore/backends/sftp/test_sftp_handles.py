"""Files that stay open for reading: opened once, closed when there are too many, never while they are read."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.sftp.handles import KEPT, Handles
from dedupstore.errors import BackendError
from tests.dedupstore.backends.conftest import Place, ssh_children
from tests.servers.slow_link import SlowLink
from tests.servers.sshd import Sshd, wait_for


class Told:
    """An answer that is there already."""

    def __init__(self, handle: bytes) -> None:
        self._handle = handle

    def get(self) -> bytes:
        if self._handle == b"missing":
            raise FileNotFoundError(self._handle)
        return self._handle


class Server:
    """What was asked of it, in order: the handle of a file is its name, with how often it was opened."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        opening: Any = self._open
        close: Any = self._close
        self.handles = Handles(opening, close)

    def _open(self, path: str) -> Told:
        self.asked.append(f"open {path}")
        return Told(path.encode())

    def _close(self, handle: bytes) -> None:
        self.asked.append(f"close {handle.decode()}")

    def read(self, path: str) -> bytes:
        with self.handles.reading(path) as handle:
            return handle.get()


def test_a_file_is_opened_once_for_many_reads() -> None:
    server = Server()
    for _ in range(3):
        assert b"a" == server.read("a")
    assert ["open a"] == server.asked


def test_of_too_many_the_one_read_longest_ago_is_closed() -> None:
    server = Server()
    for number in [*range(KEPT), 0, KEPT]:
        server.read(str(number))
    assert [*(f"open {number}" for number in range(KEPT + 1)), "close 1"] == server.asked


def test_what_is_being_read_stays_open_however_many_there_are() -> None:
    server = Server()
    with ExitStack() as stack:
        for number in range(2 * KEPT):
            stack.enter_context(server.handles.reading(str(number)))
        assert 2 * KEPT == len(server.asked)
    assert KEPT == len([line for line in server.asked if line.startswith("close")])


def test_after_an_error_the_file_is_opened_anew_and_the_old_one_closed_by_its_last_reader() -> None:
    server = Server()
    with server.handles.reading("a"):
        with pytest.raises(OSError, match="broken"), server.handles.reading("a"):
            raise OSError("broken")
        assert ["open a"] == server.asked
        server.read("a")
        assert ["open a", "open a"] == server.asked
    assert ["open a", "open a", "close a"] == server.asked
    server.read("a")
    assert 3 == len(server.asked)


def test_what_could_not_be_opened_is_tried_again() -> None:
    server = Server()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            server.read("missing")
    assert ["open missing"] * 2 == server.asked


def test_many_threads_lose_no_file_and_close_none_that_is_read() -> None:
    server = Server()

    def work(seed: int) -> None:
        for step in range(200):
            path = str((seed * 7 + step * step) % (3 * KEPT))
            with server.handles.reading(path) as handle:
                assert path.encode() == handle.get()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    opened = [line.split()[1] for line in server.asked if line.startswith("open")]
    closed = [line.split()[1] for line in server.asked if line.startswith("close")]
    assert KEPT == len(opened) - len(closed)


def test_the_next_part_of_a_file_costs_one_round_trip(
    sftp_place: Place, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(1 << 20)
    with closing(sftp_place.open()) as backend:
        backend.create("packs/a", data)
    with SlowLink(sshd.port, 0.02) as link:
        alias = f"HostKeyAlias=[127.0.0.1]:{sshd.port}"
        monkeypatch.setenv("DEDUP_SSH", f"{os.environ['DEDUP_SSH']} -o {alias}")
        place = f"sftp://nobody@127.0.0.1:{link.port}/home/{sftp_place.folder.name}"
        with closing(open_backend(place)) as backend:
            assert data[:1000] == backend.read("packs/a", 0, 1000)
            turns = link.turns
            for number in range(5):
                assert data[number : number + 1000] == backend.read("packs/a", number, 1000)
            assert turns + 5 == link.turns


def test_parts_come_after_the_connection_was_lost_and_none_of_a_file_that_is_gone(sftp_place: Place) -> None:
    with closing(sftp_place.open()) as backend:
        backend.create("packs/a", b"0123456789")
        assert b"345" == backend.read("packs/a", 3, 3)
        (ssh,) = ssh_children()
        os.kill(ssh, signal.SIGKILL)
        wait_for(lambda: ssh not in ssh_children())
        assert b"456" == backend.read("packs/a", 4, 3)
        for _ in range(2):
            with pytest.raises(BackendError, match="packs/b"):
                backend.read("packs/b", 4, 3)
