"""Which files root trusts, and how root's rights are given up."""

import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.vos.privileges import PrivilegeError, trusted, user_of

ROOT = Path(__file__).parents[3]


def test_a_file_of_root_in_folders_of_root_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trusted(tmp_path / "file")


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    with pytest.raises(
        PrivilegeError, match=r"refused .*/file: only root may have write permission on .*; chown"
    ):
        trusted(tmp_path / "file")


@pytest.mark.parametrize("part", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_not(tmp_path: Path, part: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    os.chown(tmp_path / "folder" if part == "folder" else tmp_path / "folder" / "file", 65534, -1)
    with pytest.raises(PrivilegeError, match=f"write permission on .*{part}"):
        trusted(tmp_path / "folder" / "file")


def test_a_link_is_followed_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o622)
    (tmp_path / "file").chmod(0o622)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(
        PrivilegeError, match=r"refused .*/link: only root may have write permission on .*/file"
    ):
        trusted(tmp_path / "link")


@pytest.mark.parametrize("way", ["home/vos", "home/../home/vos", "to/vos", "over/vos"])
def test_a_link_that_another_user_may_redirect_is_not_trusted(tmp_path: Path, way: str) -> None:
    """What it leads to now is root's; what it leads to when it is used, nobody knows."""
    (tmp_path / "vos").touch()
    home = tmp_path / "home"
    home.mkdir()
    (home / "vos").symlink_to(tmp_path / "vos")
    (home / "up").symlink_to("..")
    (tmp_path / "to").symlink_to("home")
    (tmp_path / "over").symlink_to("home/up")
    os.chown(home, 65534, 65534)
    with pytest.raises(PrivilegeError, match=r"only root may have write permission on .*/home; chown"):
        trusted(tmp_path / way)


def test_a_link_of_another_user_in_a_folder_for_all_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "vos").touch()
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    (tmp_path / "all" / "link").symlink_to(tmp_path / "vos")
    trusted(tmp_path / "all" / "link")
    os.chown(tmp_path / "all" / "link", 65534, 65534, follow_symlinks=False)
    with pytest.raises(
        PrivilegeError, match=r"only root may have write permission on .*/all/link; chown -h root"
    ):
        trusted(tmp_path / "all" / "link")


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(PrivilegeError, match=r"cannot check .*: Too many levels of symbolic links"):
        trusted(tmp_path / "one")


def test_a_missing_file_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(PrivilegeError, match=r"cannot check .*/none: No such file"):
        trusted(tmp_path / "none")


def test_a_user_with_roots_rights_is_no_backup_user() -> None:
    with pytest.raises(
        PrivilegeError, match="the user 'root' has root's rights; set `user` in \\[run\\] to an ordinary"
    ):
        user_of("root")


def test_a_user_that_there_is_not_is_an_error() -> None:
    with pytest.raises(PrivilegeError, match="no such user: 'no-such-user'"):
        user_of("no-such-user")


ON_A_TERMINAL = """
import fcntl, os, signal, termios
from pipelines.vos import privileges
signal.signal(signal.SIGINT, signal.default_int_handler)
privileges.become("nobody")
try:
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
except OSError:
    print("cannot type", flush=True)
signal.alarm(20)
signal.pause()
"""


def test_nothing_can_be_typed_into_roots_terminal_and_ctrl_c_still_works() -> None:
    master, terminal = os.openpty()
    shell = [
        "setsid",
        "--ctty",
        "sh",
        "-c",
        '"$@" || :',
        "sh",
    ]  # a leader of the session that waits, as a shell does
    shell += [sys.executable, "-c", ON_A_TERMINAL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(shell, stdin=terminal, stdout=terminal, stderr=terminal, env=environment):
        os.close(terminal)
        with open(master, "rb", buffering=0) as said:
            assert b"cannot type" == said.readline().strip()
            os.write(master, b"\3")
            with suppress(OSError):  # the other side is closed
                while line := said.readline():
                    if line.startswith(b"KeyboardInterrupt"):
                        break
    assert b"KeyboardInterrupt" == line.strip()


def test_an_ordinary_user_cannot_become_another() -> None:
    program = (
        "import os; from pipelines.vos import privileges; os.setuid(65534)\n"
        "try: privileges.become('daemon')\nexcept privileges.PrivilegeError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ("cannot become daemon: Operation not permitted; start it as root\n", "") == (
        done.stdout,
        done.stderr,
    )


WHAT_IS_OPEN = """
import os, resource, sys
from pipelines.vos import privileges
ours = os.open("/", os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
privileges.become("nobody")
os.fstat(ours)
os.close(ours)
print(*sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")))
"""


def test_after_giving_up_root_nothing_stays_open_that_root_left(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0o600)
    with open(tmp_path / "secret", "rb") as secret:
        high = fcntl.fcntl(secret, fcntl.F_DUPFD, 500)  # above the limit that the process has later
        try:
            done = subprocess.run(
                [sys.executable, "-c", WHAT_IS_OPEN],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                pass_fds=(secret.fileno(), high),
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        finally:
            os.close(high)
    assert ("0 1 2\n", "") == (done.stdout, done.stderr)
