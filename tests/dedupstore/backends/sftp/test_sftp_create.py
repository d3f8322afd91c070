"""A name appears only when the whole file is known to be there, whatever fails on the way."""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.contract import Backend
from dedupstore.errors import AlreadyExistsError, BackendError, TransientError

SERVER = Path(__file__).with_name("spiteful_server.py")
DATA = os.urandom(600_000)  # three writes

Spiteful = Callable[[str, str], Backend]


@pytest.fixture
def spiteful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spiteful:
    """A back end of a server that fails: see `spiteful_server`."""

    def connect(fault: str, which: str) -> Backend:
        log = tmp_path / "log"
        monkeypatch.setenv("DEDUP_SSH", shlex.join([sys.executable, str(SERVER), str(log), fault, which]))
        return open_backend(f"sftp://host{tmp_path}/repo", retry=False)

    return connect


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("write", BackendError),
        ("fsync@openssh.com", BackendError),
        ("fstat", BackendError),
        ("close", BackendError),
    ],
)
def test_asks_for_no_name_after_anything_failed(
    spiteful: Spiteful, tmp_path: Path, kind: str, error: type[BackendError]
) -> None:
    with closing(spiteful("fail", kind)) as backend:
        with pytest.raises(error, match=r"cannot write host:.*/repo/packs/ab/1"):
            backend.create("packs/ab/1", DATA)
        asked = (tmp_path / "log").read_text().split()
        assert kind in asked
        assert not {"rename", "hardlink@openssh.com"} & set(asked)
        assert not list(backend.list("packs/ab"))
        assert not list(backend.list("tmp"))


def test_a_connection_lost_at_any_request_leaves_the_file_whole_or_absent(
    spiteful: Spiteful, tmp_path: Path
) -> None:
    target, log = tmp_path / "repo/packs/ab/1", tmp_path / "log"
    number = 0
    while True:
        number += 1
        log.write_text("")
        with closing(spiteful("die", str(number))) as backend:
            try:
                backend.create("packs/ab/1", DATA)
            except TransientError:
                assert not target.exists() or "rename" in log.read_text().split()[:-1]
            else:
                break
            assert not target.exists() or DATA == target.read_bytes()
        target.unlink(missing_ok=True)
        for folder in (target.parent, tmp_path / "repo/tmp"):  # so that each time it has all to do
            for left in folder.glob("*"):
                left.unlink()
            if folder.exists() and number % 2:
                folder.rmdir()
    assert number > 12
    assert DATA == target.read_bytes()


def test_durable_is_false_where_folders_cannot_be_synced(spiteful: Spiteful, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    with closing(spiteful("folder", "1+")) as backend:
        assert not backend.properties.durable
        backend.create("packs/ab/1", DATA)
        assert DATA == backend.read("packs/ab/1")
        assert not backend.properties.durable


def test_durable_is_false_once_a_folder_could_not_be_synced_nor_any_other(spiteful: Spiteful) -> None:
    with closing(spiteful("folder", "1+")) as backend:
        backend.create("packs/ab/1", DATA)
        assert not backend.properties.durable


@pytest.mark.parametrize("number", range(1, 5))
def test_a_folder_that_cannot_be_synced_this_once_is_an_error(
    spiteful: Spiteful, tmp_path: Path, number: int
) -> None:
    """Four are synced for the first file: those above the repository, `tmp`, `packs` and the file itself."""
    with closing(spiteful("folder", str(number))) as backend:
        with pytest.raises(BackendError, match=r"cannot write host:.*/repo.*: its folder cannot be synced"):
            backend.create("packs/1", DATA)
        backend.create("packs/2", DATA)
        assert backend.properties.durable
        assert not list(backend.list("tmp"))


def test_a_name_that_another_took_counts_only_when_its_folder_is_synced(
    spiteful: Spiteful, tmp_path: Path
) -> None:
    (tmp_path / "repo/packs").mkdir(parents=True)
    (tmp_path / "repo/tmp").mkdir()
    (tmp_path / "repo/packs/1").write_bytes(b"theirs")
    with closing(spiteful("folder", "1")) as backend:
        with pytest.raises(BackendError, match="its folder cannot be synced"):
            backend.create("packs/1", DATA)
        with pytest.raises(AlreadyExistsError):
            backend.create("packs/1", DATA)
