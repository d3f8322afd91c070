"""What only a server can do to a client: go away, fall silent, refuse, be another one."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.contract import Entry
from dedupstore.backends.retry import Retry
from dedupstore.backends.sftp.backend import SftpBackend
from dedupstore.backends.sftp.deadline import Patience
from dedupstore.errors import AlreadyExistsError, BackendError, NoSpaceError, TransientError
from tests.dedupstore.backends.conftest import Place, ssh_children
from tests.servers.sshd import USER, Sshd, wait_for

TIMEOUT = 2.0
"""Seconds of silence that the impatient clients here bear; SLACK is for a slow machine."""
SLACK = 10.0

Login = Callable[[Sshd], None]


def impatient(server: Sshd, folder: str) -> SftpBackend:
    """Return a client that soon loses patience."""
    return SftpBackend("127.0.0.1", USER, server.port, f"/home/{folder}", patience=Patience(TIMEOUT))


def test_connects_again_after_its_ssh_was_killed(sftp_place: Place) -> None:
    backend = sftp_place.open()
    backend.create("config", b"data")
    (ssh,) = ssh_children()
    os.kill(ssh, signal.SIGKILL)
    wait_for(lambda: ssh not in ssh_children())
    assert backend.size("config") == 4
    assert ssh_children() != [ssh]
    backend.close()
    assert not ssh_children()


def test_loses_and_mixes_nothing_while_the_connection_breaks_again_and_again(
    sftp_place: Place, sshd: Sshd
) -> None:
    backend = Retry(sftp_place.open(), attempts=50, sleep=lambda _: time.sleep(0.05))
    contents = {f"packs/{seed}": bytes([seed]) * (16 << 20) for seed in range(6)}

    def work(name: str) -> bytes:
        backend.create(name, contents[name])
        return backend.read(name, 0, 16 << 20)

    def uploading() -> set[Path]:
        found = set()
        for path in (sftp_place.folder / "tmp").glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_size > 1 << 20:
                    found.add(path)
        return found

    with closing(backend), ThreadPoolExecutor(3) as pool:
        results = [pool.submit(work, name) for name in contents]
        breaks, broken = 0, set[Path]()
        while breaks < 5 and not all(result.done() for result in results):
            if new := uploading() - broken:
                sshd.disconnect()
                breaks, broken = breaks + 1, broken | new
            time.sleep(0.01)
        assert list(contents.values()) == [result.result() for result in results]
        assert {Entry(name, 16 << 20) for name in contents} == set(backend.list("packs"))
    assert breaks > 1


def test_says_so_when_nothing_listens(login: Login) -> None:
    with Sshd() as server:
        login(server)
        backend = impatient(server, "repo")
        backend.create("config", b"data")
        server.stop()
        started = time.monotonic()
        for _ in range(2):  # the first may still meet the old connection
            with pytest.raises(TransientError) as refusal:
                backend.size("config")
        assert time.monotonic() - started < SLACK
        assert "Connection refused; check that the server and the network are up" in str(refusal.value)
        server.start()
        assert backend.size("config") == 4
        backend.close()


def test_gives_up_on_a_server_that_falls_silent(login: Login) -> None:
    with Sshd() as server:
        login(server)
        backend = impatient(server, "repo")
        backend.create("config", b"data")
        server.pause()
        calls: list[Callable[[], object]] = [
            lambda: backend.size("config"),  # a connection that was good
            lambda: backend.size("config"),  # a new one
        ]
        for call in calls:
            started = time.monotonic()
            with pytest.raises(TransientError, match=r"127\.0\.0\.1: .*(no answer for|timed out)"):
                call()
            assert time.monotonic() - started < TIMEOUT + SLACK
        server.resume()
        assert backend.size("config") == 4
        backend.close()


def test_gives_up_an_upload_when_the_server_falls_silent(login: Login) -> None:
    with Sshd() as server:
        login(server)
        backend = impatient(server, "repo")
        backend.create("config", b"data")

        def upload() -> None:
            for number in range(1000):
                backend.create(f"packs/{number}", bytes(32 << 20))

        with ThreadPoolExecutor(2) as pool:
            uploads = [pool.submit(upload), pool.submit(upload)]
            wait_for(lambda: list((server.home / "repo/tmp").iterdir()))
            server.pause()
            for result in uploads:
                with pytest.raises(TransientError):
                    result.result(TIMEOUT + SLACK)
        backend.close()
        assert not ssh_children()


def test_stays_connected_while_nobody_asks(sftp_place: Place, sshd: Sshd) -> None:
    backend = impatient(sshd, sftp_place.folder.name)
    backend.list("")
    before = ssh_children()
    time.sleep(2 * TIMEOUT)  # longer than an answer may take
    backend.list("")
    assert before == ssh_children()
    backend.close()


def test_does_not_take_its_own_trouble_for_an_empty_folder(
    sftp_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with pytest.raises(BackendError, match=r"cannot connect to 127\.0\.0\.1: .*/no/such/folder"):
        sftp_place.open().list("")


@pytest.mark.parametrize("chatter", ["Welcome to this machine", "\\0\\0\\0\\5\\2\\0\\0\\0\\7"])
def test_says_so_when_the_server_does_not_speak_sftp(monkeypatch: pytest.MonkeyPatch, chatter: str) -> None:
    monkeypatch.setenv("DEDUP_SSH", f"sh -c \"printf '{chatter}'; sleep 1\"")
    with pytest.raises(BackendError, match=r"no greeting from its sftp server: (Garbage|it does not speak)"):
        open_backend("sftp://host/repo", retry=False).read("config")


def test_cannot_be_used_once_it_is_closed(sftp_place: Place) -> None:
    backend = sftp_place.open()
    backend.list("")
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="was closed"):
        backend.list("")
    assert not ssh_children()


def test_knows_whether_the_server_syncs(sftp_place: Place, plain_sshd: Sshd, login: Login) -> None:
    with_sync = sftp_place.open()
    assert with_sync.properties.durable
    with_sync.close()
    login(plain_sshd)
    without = open_backend(plain_sshd.url("repo"))
    assert not without.properties.durable
    without.close()


def test_links_where_it_may_not_rename(restricted_sshd: Sshd, login: Login, tmp_path: Path) -> None:
    login(restricted_sshd)
    backend = open_backend(restricted_sshd.url(tmp_path.name), retry=False)
    backend.create("packs/ab/1", b"data")
    ((unfinished, size),) = backend.list("tmp")
    folder = restricted_sshd.home / tmp_path.name
    assert (folder / unfinished).samefile(folder / "packs/ab/1")
    with pytest.raises(AlreadyExistsError):
        backend.create("packs/ab/1", b"other")
    assert [0, size] == sorted(entry.size for entry in backend.list("tmp"))  # nothing was uploaded
    backend.close()


def test_says_so_when_it_may_neither_rename_nor_link(login: Login) -> None:
    with Sshd(restricted=True, forbidden="hardlink") as server:
        login(server)
        backend = open_backend(server.url("repo"))
        with pytest.raises(BackendError, match=r"cannot write 127.0.0.1:/home/repo/config: .*no hard links"):
            backend.create("config", b"data")
        assert not list(backend.list(""))
        backend.close()


def test_removes_what_it_could_not_publish(sftp_place: Place) -> None:
    backend = sftp_place.open()
    (sftp_place.folder / "packs").mkdir(parents=True)
    os.chown(sftp_place.folder, 65534, -1)
    with pytest.raises(BackendError, match=r"cannot write .*/packs/a: .*Permission denied; check the owner"):
        backend.create("packs/a", b"data")
    assert not list(backend.list("tmp"))
    backend.close()


def test_names_the_place_that_may_not_be_written_or_read(sftp_place: Place) -> None:
    backend = sftp_place.open()
    sftp_place.folder.mkdir(mode=0o755)
    with pytest.raises(BackendError, match=r"cannot write 127.0.0.1:/home/.*/config: .*Permission denied"):
        backend.create("config", b"")
    (sftp_place.folder / "config").touch(mode=0o600)
    with pytest.raises(BackendError, match=r"cannot read 127.0.0.1:/home/.*/config: .*Permission denied"):
        backend.read("config")
    backend.close()


def test_makes_no_folders_above_the_repository(sftp_place: Place) -> None:
    backend = open_backend(f"{sftp_place.url}/repo")
    with pytest.raises(
        BackendError, match=r"cannot make .*/repo: the folder above it does not exist; correct"
    ):
        backend.create("config", b"")
    backend.close()
    assert not sftp_place.folder.exists()


def test_names_a_full_disk_and_leaves_no_trace_of_what_did_not_fit(sftp_place: Place) -> None:
    sftp_place.folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(sftp_place.folder)]
    subprocess.run(mount, check=True)
    backend = sftp_place.open()
    try:
        with pytest.raises(
            NoSpaceError, match=r"cannot write .*/packs/a: the disk or the quota is full; free"
        ):
            backend.create("packs/a", bytes(2 << 20))
        assert not list(backend.list("packs"))
        assert not list(backend.list("tmp"))
        backend.create("packs/a", bytes(500_000))
        assert {Entry("packs/a", 500_000)} == set(backend.list("packs"))
    finally:
        backend.close()
        subprocess.run(["umount", str(sftp_place.folder)], check=True)


def test_starts_a_relative_path_where_the_login_leads(sftp_place: Place, sshd: Sshd) -> None:
    backend = open_backend(sftp_place.url.replace("/home/", "/~/"))
    backend.create("packs/a", b"data")
    assert (sshd.home / sftp_place.folder.name / "packs/a").read_bytes() == b"data"
    backend.close()


def test_asks_again_for_what_a_read_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Path(__file__).with_name("stingy_server.py")
    monkeypatch.setenv("DEDUP_SSH", shlex.join([sys.executable, str(server)]))
    backend = open_backend(f"sftp://host{tmp_path}")
    data = os.urandom(300_000)
    backend.create("config", data)
    assert data == backend.read("config")
    assert data[777:290_000] == backend.read("config", 777, 290_000 - 777)
    backend.close()
