"""What only a folder of this machine can show: full disks, rights, and the order of its writes."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dedupstore.backends.contract import Entry
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import BackendError, NoSpaceError

ROOT = Path(__file__).parents[3]
NOBODY = 65534
DIED = 86

# Ends the process, as a power failure would, just before its first call of one function of `os`.
DYING_WRITER = """
import os, sys
from dedupstore.backends.local import LocalBackend
backend = LocalBackend(sys.argv[1])
backend.create("packs/before", b"before")
setattr(os, sys.argv[2], lambda *args, **kwargs: os._exit(86))
backend.create("packs/data", b"whole")
"""


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def somebody_without_rights() -> Iterator[Path]:
    """Act as `nobody`, in a folder that `nobody` may read but not write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_names_a_full_disk_and_leaves_no_trace_of_what_did_not_fit(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=1m") as disk:
        backend = LocalBackend(disk / "repo")
        with pytest.raises(
            NoSpaceError, match=r"cannot write .*/packs/a: No space left on device; free some"
        ):
            backend.create("packs/a", bytes(2 << 20))
        assert not list(backend.list("packs"))
        assert not list(backend.list("tmp"))
        backend.create("packs/a", bytes(500_000))
        assert [Entry("packs/a", 500_000)] == list(backend.list("packs"))


def test_names_a_disk_that_is_mounted_read_only(tmp_path: Path) -> None:
    with (
        tmpfs(tmp_path / "disk", "ro") as disk,
        pytest.raises(BackendError, match=r"disk/repo.*Read-only file system; .*mounted read-only"),
    ):
        LocalBackend(disk / "repo").create("config", b"")


def test_names_the_place_that_may_not_be_written() -> None:
    with somebody_without_rights() as folder:
        backend = LocalBackend(folder)
        with pytest.raises(
            BackendError, match=rf"cannot write {folder}/packs/a: Permission denied; check the"
        ):
            backend.create("packs/a", b"")
        assert not list(backend.list(""))


def test_names_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    with somebody_without_rights() as folder:
        os.seteuid(0)
        LocalBackend(folder).create("config", b"secret")
        os.seteuid(NOBODY)
        with pytest.raises(BackendError, match=rf"cannot read {folder}/config: Permission denied"):
            LocalBackend(folder).read("config")


def test_names_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "repo").write_bytes(b"")
    backend = LocalBackend(tmp_path / "repo")
    with pytest.raises(BackendError, match=r"repo.*Not a directory"):
        backend.create("config", b"")
    with pytest.raises(BackendError, match=r"repo: Not a directory"):
        backend.list("")


def test_names_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    backend = LocalBackend(tmp_path)
    with pytest.raises(BackendError, match="config is not a regular file"):
        backend.read("config")
    with pytest.raises(BackendError, match="config is not a regular file"):
        backend.size("config")


def test_makes_no_folders_above_the_repository(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "mistyped" / "repo")
    with pytest.raises(BackendError, match=r"mistyped does not exist; mount the disk, or create that folder"):
        backend.create("config", b"")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["write", "fsync", "link", "unlink"])
def test_power_failing_at_any_step_leaves_the_file_whole_or_absent(tmp_path: Path, step: str) -> None:
    writer = subprocess.run([sys.executable, "-c", DYING_WRITER, str(tmp_path), step], cwd=ROOT, check=False)
    expected = {"packs/before": b"before"} | ({"packs/data": b"whole"} if step == "unlink" else {})
    backend = LocalBackend(tmp_path)
    assert expected == {entry.name: backend.read(entry.name) for entry in backend.list("packs")}
    assert len(list(backend.list("tmp"))) == 1
    assert writer.returncode == DIED


def test_syncs_a_file_before_it_gets_its_name_and_its_folders_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(tmp_path)
    backend.create("packs/first", b"")
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def spying_fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink().relative_to(tmp_path)
        steps.append(f"sync {'tmp' if path.parts[:1] == ('tmp',) else path}")
        fsync(file)

    def spying_link(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", spying_fsync)
    monkeypatch.setattr(os, "link", spying_link)
    backend.create("packs/second", b"data")
    expected = ["sync tmp", "link", "sync packs"]
    assert expected == steps

    steps.clear()
    backend.create("packs/ab/third", b"data")
    expected = ["sync tmp", "link", "sync .", "sync packs", "link", "sync packs/ab"]
    assert expected == steps


def test_a_folder_that_cannot_be_synced_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def failing(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().is_dir():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(file)

    backend = LocalBackend(tmp_path)
    backend.create("packs/1", b"data")
    monkeypatch.setattr(os, "fsync", failing)
    for name in ("packs/2", "packs/1", "index/1"):  # a new file, a taken name, a new folder
        with pytest.raises(BackendError, match="Input/output error; check the disk"):
            backend.create(name, b"data")


def test_syncs_a_folder_that_another_process_has_just_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(tmp_path)
    backend.create("config", b"")
    synced: list[Path] = []
    fsync, link = os.fsync, os.link

    def spying_fsync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink())
        fsync(file)

    def late_link(source: Path, target: Path) -> None:
        try:
            link(source, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True)  # as another process would
            raise

    monkeypatch.setattr(os, "fsync", spying_fsync)
    monkeypatch.setattr(os, "link", late_link)
    backend.create("packs/ab/1", b"data")
    assert [tmp_path, tmp_path / "packs", tmp_path / "packs/ab"] == synced[1:]
