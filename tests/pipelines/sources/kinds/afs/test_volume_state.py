"""The columns of vnodes on local disk: what is loaded is what was saved, or nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dedupstore.errors import StateError
from pipelines.sources.kinds.afs.volume_state import VolumeStates, digest


@pytest.fixture
def states(tmp_path: Path) -> VolumeStates:
    return VolumeStates(tmp_path / "volumes")


def test_a_column_comes_back_by_volume_and_digest(states: VolumeStates) -> None:
    name = states.save(10, b"x" * 64)
    assert digest(b"x" * 64) == name
    assert b"x" * 64 == states.load(10, name)
    assert states.load(11, name) is None


def test_an_empty_column_is_one_too(states: VolumeStates) -> None:
    assert b"" == states.load(10, states.save(10, b""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=96), st.data())
def test_a_damaged_file_is_as_if_it_were_not_there(
    states: VolumeStates, tmp_path: Path, column: bytes, data: st.DataObject
) -> None:
    name = states.save(10, column)
    at = data.draw(st.integers(0, len(column) - 1))
    damaged = column[:at] + data.draw(st.sampled_from([b"", bytes([column[at] ^ 1]) + column[at + 1 :]]))
    (tmp_path / "volumes" / f"10-{name}").write_bytes(damaged)
    assert states.load(10, name) is None


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 31, "0" * 33, "G" * 32, "0" * 32 + "\n"])
def test_a_digest_of_a_snapshot_leads_nowhere_else(states: VolumeStates, name: str) -> None:
    assert states.load(10, name) is None


def test_a_volumes_older_columns_stay_until_they_are_told_to_go(states: VolumeStates, tmp_path: Path) -> None:
    old, new = states.save(10, b"old"), states.save(10, b"new")
    other, gone = states.save(11, b"other"), states.save(12, b"gone")
    (tmp_path / "volumes" / f"10-{old}.new-123").write_bytes(b"left by a run that was killed")
    states.keep({(10, new), (11, other)})
    assert {f"10-{new}", f"11-{other}"} == set(os.listdir(tmp_path / "volumes"))
    assert [None, b"new", b"other", None] == [
        states.load(10, old), states.load(10, new), states.load(11, other), states.load(12, gone)
    ]  # fmt: skip


def test_nobody_else_can_read_them(states: VolumeStates, tmp_path: Path) -> None:
    name = states.save(10, b"column")
    assert 0o700 == (tmp_path / "volumes").stat().st_mode & 0o777
    assert 0o600 == (tmp_path / "volumes" / f"10-{name}").stat().st_mode & 0o777


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"cannot use .*/file: File exists; its folder must belong to"):
        VolumeStates(tmp_path / "file")
