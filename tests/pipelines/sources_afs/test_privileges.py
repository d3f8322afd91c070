"""What root believes, and how root's rights are given up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.sources.privileges import PrivilegeError, trusted, user_of

ROOT = Path(__file__).parents[3]


def test_a_file_of_root_in_folders_of_root_is_believed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trusted(tmp_path / "file")


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    with pytest.raises(
        PrivilegeError, match=r"root does not believe .*/file: others than root may write .*; chown"
    ):
        trusted(tmp_path / "file")


@pytest.mark.parametrize("part", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_not(tmp_path: Path, part: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    os.chown(tmp_path / "folder" if part == "folder" else tmp_path / "folder" / "file", 65534, -1)
    with pytest.raises(PrivilegeError, match=f"may write .*{part}"):
        trusted(tmp_path / "folder" / "file")


def test_a_link_is_followed_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o622)
    (tmp_path / "file").chmod(0o622)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(PrivilegeError, match=r"does not believe .*/link: others than root may write .*/file"):
        trusted(tmp_path / "link")


def test_what_is_not_there_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(PrivilegeError, match="none cannot be checked: No such file"):
        trusted(tmp_path / "none")


def test_a_user_with_roots_rights_is_no_backup_user() -> None:
    with pytest.raises(PrivilegeError, match="the user 'root' has root's rights; give an ordinary user in"):
        user_of("root")


def test_a_user_that_there_is_not_is_an_error() -> None:
    with pytest.raises(PrivilegeError, match="there is no user 'no-such-user'"):
        user_of("no-such-user")


def test_an_ordinary_user_cannot_become_another() -> None:
    program = (
        "import os; from pipelines.sources import privileges; os.setuid(65534)\n"
        "try: privileges.become('daemon')\nexcept privileges.PrivilegeError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ("cannot become daemon: Operation not permitted; start it as root\n", "") == (
        done.stdout,
        done.stderr,
    )
