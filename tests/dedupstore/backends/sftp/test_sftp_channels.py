"""Many bytes at once go through several channels, and these through one login."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.contract import Backend
from dedupstore.backends.sftp.ssh_sharing import _free_path
from dedupstore.errors import BackendError
from tests.dedupstore.backends.conftest import Place, ssh_children
from tests.servers.slow_link import SlowLink
from tests.servers.sshd import USER, Sshd, wait_for

SIZE = 2 << 20
DELAY = 0.05  # seconds, each way

Login = Callable[[Sshd], None]


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which ssh makes its sockets, of this test alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must not be long
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder, f"dedup-{os.geteuid()}")


def create_at_once(backend: Backend, folder: str, count: int = 8) -> None:
    """Create files, and read them, in as many threads as are worth while; all of them work at the same time."""
    contents = {f"{folder}/{number}": os.urandom(SIZE) for number in range(count)}
    together = threading.Barrier(backend.properties.parallel)

    def work(name: str) -> bytes:
        together.wait()
        backend.create(name, contents[name])
        return backend.read(name)

    with ThreadPoolExecutor(backend.properties.parallel) as pool:
        assert list(contents.values()) == list(pool.map(work, contents))


def test_needs_one_ssh_for_one_thing_after_the_other(sftp_place: Place) -> None:
    with closing(sftp_place.open()) as backend:
        for number in range(3):
            backend.create(f"packs/{number}", bytes(SIZE))
            backend.read(f"packs/{number}")
        assert len(ssh_children()) == 1


def test_small_files_need_one_ssh(sftp_place: Place) -> None:
    with closing(sftp_place.open()) as backend, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: backend.create(f"packs/{number}", b"data"), range(32)))
        list(pool.map(lambda number: backend.read(f"packs/{number}", 0, 4), range(32)))
        assert len(ssh_children()) == 1


def test_opens_channels_for_many_bytes_at_once_and_logs_in_once(
    sftp_place: Place, sshd: Sshd, sockets: Path
) -> None:
    logins = sshd.logins
    with closing(sftp_place.open()) as backend:
        create_at_once(backend, "packs")
        assert backend.properties.parallel == len(ssh_children())
    assert logins + 1 == sshd.logins
    assert not ssh_children()
    assert not list(sockets.iterdir())


def test_calls_that_waited_for_the_login_do_not_all_go_through_its_channel(sftp_place: Place) -> None:
    with closing(sftp_place.open()) as backend, ThreadPoolExecutor(backend.properties.parallel) as pool:
        together = threading.Barrier(backend.properties.parallel)

        def create(number: int) -> None:
            together.wait()
            backend.create(f"packs/{number}", bytes(4 * SIZE))

        list(pool.map(create, range(backend.properties.parallel)))
        assert backend.properties.parallel == len(ssh_children())


def test_goes_on_with_one_channel_where_the_server_gives_no_more(login: Login) -> None:
    with Sshd(sessions=1) as server:
        login(server)
        with closing(open_backend(server.url("repo"), retry=False)) as backend:
            create_at_once(backend, "packs")
            assert len(ssh_children()) == 1
        assert server.logins == 1


@pytest.mark.parametrize("mode", [0o755, 0o600])
def test_goes_on_with_one_channel_where_a_socket_would_not_be_safe(
    sftp_place: Place, sockets: Path, mode: int
) -> None:
    sockets.mkdir()
    sockets.chmod(mode)
    if mode == 0o600:
        os.chown(sockets, 65534, -1)
    with closing(sftp_place.open()) as backend:
        create_at_once(backend, "packs")
        assert len(ssh_children()) == 1
    assert not list(sockets.iterdir())


def test_shares_the_connection_that_the_user_shares_already(
    sftp_place: Place, sshd: Sshd, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = sockets.parent / "theirs"
    config = sockets.parent / "config"
    config.write_text(f"Include {sshd.ssh_config}\nHost *\n  ControlMaster auto\n  ControlPath {theirs}\n")
    monkeypatch.setenv("DEDUP_SSH", f"ssh -F {config}")
    logins = sshd.logins
    ssh = ["ssh", "-F", str(config), "-p", str(sshd.port), f"{USER}@127.0.0.1"]
    master = subprocess.Popen([*ssh, "-N"])
    try:
        wait_for(theirs.exists)
        with closing(sftp_place.open()) as backend:
            create_at_once(backend, "packs")
            assert backend.properties.parallel == len(ssh_children()) - 1
        assert master.poll() is None
    finally:
        master.terminate()
        master.wait()
    assert logins + 1 == sshd.logins
    assert not sockets.exists()


@pytest.mark.parametrize(("owner", "mode"), [(65534, 0o700), (0, 0o777)])
def test_makes_no_socket_where_another_user_may_rename_its_folder(
    sockets: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int
) -> None:
    """`su` leaves XDG_RUNTIME_DIR as it was: its owner could be the server to whoever joins the first ssh."""
    os.chown(sockets.parent, owner, -1)
    sockets.parent.chmod(mode)
    ours = sockets.parent / "ours"
    ours.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(ours))
    path = _free_path()
    assert path is not None
    assert ours / sockets.name == Path(path).parent
    assert not sockets.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(sockets.parent))
    assert _free_path() is None


def test_opens_channels_again_after_its_ssh_was_killed(sftp_place: Place, sshd: Sshd, sockets: Path) -> None:
    logins = sshd.logins
    with closing(sftp_place.open()) as backend:
        create_at_once(backend, "before")
        for ssh in ssh_children():
            os.kill(ssh, signal.SIGKILL)
        wait_for(lambda: not ssh_children())
        create_at_once(backend, "after")
        assert backend.properties.parallel == len(ssh_children())
    assert logins + 2 == sshd.logins
    assert not list(sockets.iterdir())


def test_ends_what_is_on_its_way_when_it_is_closed(sftp_place: Place) -> None:
    backend = sftp_place.open()

    def work(number: int) -> None:
        for turn in range(1000):
            backend.create(f"packs/{number}.{turn}", bytes(SIZE))

    with ThreadPoolExecutor(3) as pool, closing(backend):
        results = [pool.submit(work, number) for number in range(3)]
        wait_for(lambda: len(ssh_children()) >= len(results))
        backend.close()
        for result in results:
            with pytest.raises(BackendError, match="closed"):
                result.result(20)
    assert not ssh_children()


def test_waits_three_times_for_a_new_file_and_twice_for_an_old_one(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = f"HostKeyAlias=[127.0.0.1]:{sshd.port}"
    monkeypatch.setenv("DEDUP_SSH", f"{sshd.env['DEDUP_SSH']} -o {alias}")
    with (
        SlowLink(sshd.port, DELAY) as link,
        closing(open_backend(f"sftp://{USER}@127.0.0.1:{link.port}/home/{tmp_path.name}")) as backend,
    ):

        def turns(call: Callable[[], object]) -> int:
            before = link.turns
            call()
            return link.turns - before

        backend.create("packs/aa/1", b"data")
        found = {
            "new": turns(lambda: backend.create("packs/aa/2", b"data")),
            "new, in a new folder": turns(lambda: backend.create("packs/ab/1", b"data")),
            "old": turns(lambda: backend.read("packs/ab/1")),
            "a part": turns(lambda: backend.read("packs/ab/1", 1, 2)),
            "listing": turns(lambda: backend.list("packs/ab")),
        }
    assert {"new": 3, "new, in a new folder": 3, "old": 2, "a part": 2, "listing": 2} == found


def test_its_properties_cost_no_login(sftp_place: Place, sshd: Sshd) -> None:
    logins = sshd.logins
    with closing(sftp_place.open()) as backend:
        assert backend.properties.remote
        assert backend.properties.parallel > 1
        assert logins == sshd.logins
        assert backend.properties.durable  # which the server must be asked
    assert logins + 1 == sshd.logins
