"""New files are whole or not there, and durable before they count."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dedupstore.state import atomic


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was synced, renamed and linked so far."""
    noted: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def spying_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        noted.append("sync the folder" if path == tmp_path else "sync the file")
        fsync(descriptor)

    def spying_replace(self: Path, target: Path) -> Path:
        noted.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spying_fsync)
    monkeypatch.setattr(Path, "replace", spying_replace)
    return noted


def test_replaces_a_file_by_one_that_is_synced_before_and_whose_folder_is_synced_after(
    tmp_path: Path, steps: list[str]
) -> None:
    path = tmp_path / "state"
    atomic.replace(path, b"old")
    steps.clear()
    atomic.replace(path, b"new")
    assert ["sync the file", "rename", "sync the folder"] == steps
    assert b"new" == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(tmp_path.iterdir())


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    atomic.replace(path, b"old")

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        atomic.replace(path, b"new")
    assert b"old" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_a_new_file_gets_its_mode_and_all_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def little(descriptor: int, data: memoryview) -> int:
        return write(descriptor, data[:3])

    monkeypatch.setattr(os, "write", little)
    atomic.write_new(tmp_path / "new", b"ten  bytes", 0o400)
    assert b"ten  bytes" == (tmp_path / "new").read_bytes()
    assert 0o400 == stat.S_IMODE((tmp_path / "new").stat().st_mode)


def test_a_name_that_is_taken_is_refused_even_by_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "link", b"data")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_naming_a_file_takes_no_name_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    atomic.write_new(tmp_path / "temporary", b"new")
    (tmp_path / "taken").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        atomic.name_new(tmp_path / "temporary", tmp_path / "taken")
    assert b"old" == (tmp_path / "taken").read_bytes()
    folder = os.open(tmp_path, os.O_RDONLY)
    atomic.name_new(b"temporary", b"free", folder)
    os.close(folder)
    assert b"new" == (tmp_path / "free").read_bytes()
