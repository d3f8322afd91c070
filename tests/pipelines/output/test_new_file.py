"""Temporary files: what a kill has left can be told from what is being written."""

import fcntl
import os
from pathlib import Path

import pytest

from pipelines.output.new_file import begin, open_temporary, remove_left, temporary_name


def test_only_what_nobody_writes_is_removed(tmp_path: Path) -> None:
    left = tmp_path / temporary_name()
    left.write_bytes(b"half")
    others = {".dedup-x.part", ".dedup-0123456789abcdef.part.txt", "a.part"}
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / temporary_name()).symlink_to(left)
    folder = os.open(tmp_path, os.O_RDONLY)
    with begin(folder, b"whole", replace=False) as descriptor:
        os.write(descriptor, b"whole")
        assert 1 == remove_left(tmp_path)
    os.close(folder)
    assert b"whole" == (tmp_path / "whole").read_bytes()
    assert {"whole", *others} == {path.name for path in tmp_path.iterdir() if not path.is_symlink()}


def test_what_is_removed_before_it_could_be_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / temporary_name()
    lock, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        removed.append(remove_left(tmp_path))
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    descriptor = open_temporary(path)
    assert [1] == removed
    assert os.path.samestat(path.stat(), os.fstat(descriptor))
    assert 0 == remove_left(tmp_path)
    os.close(descriptor)
