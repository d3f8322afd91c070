"""The ssh child process: what it says of a login that fails, and how it is kept apart from this process."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.retry import Retry
from dedupstore.errors import BackendError
from tests.dedupstore.backends.conftest import Place, ssh_children
from tests.servers.sshd import USER, Sshd


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("UserKnownHostsFile=/dev/null", "Host key verification failed"),
        ("IdentityFile=/dev/null", "Permission denied \\(publickey\\)"),
        ("User=games", "Permission denied \\(publickey\\)"),
        ("NoSuchOption=1", "[Bb]ad configuration option"),
        ("HostName=no-such-host.invalid", "Could not resolve hostname"),
    ],
)
def test_names_what_ssh_complains_about_and_does_not_retry(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, option: str, message: str
) -> None:
    config = "/dev/null" if option.startswith("Identity") else sshd.ssh_config
    known = f"-oUserKnownHostsFile={sshd.base}/known_hosts -oIdentityAgent=none"
    monkeypatch.setenv("DEDUP_SSH", f"ssh -F {config} -o{option} {known}")
    backend = Retry(open_backend(sshd.url("repo"), retry=False), sleep=lambda _: pytest.fail("retried"))
    with pytest.raises(BackendError, match=rf"cannot connect to 127\.0\.0\.1: .*{message}.*; try `sftp 127"):
        backend.read("config")
    assert not ssh_children()


def test_names_a_changed_host_key(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = tmp_path / "known_hosts"
    other_key = (sshd.base / "client_key.pub").read_text()
    known.write_text(f"[127.0.0.1]:{sshd.port} {other_key}")
    monkeypatch.setenv("DEDUP_SSH", f"ssh -F {sshd.ssh_config} -oUserKnownHostsFile={known}")
    with pytest.raises(BackendError, match="Host key verification failed"):
        open_backend(sshd.url("repo")).read("config")


def test_goes_through_a_jump_host(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    hosts = f"Match originalhost store,jump\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n"
    jump = "Match originalhost store\n ProxyJump jump\n"
    monkeypatch.setenv("DEDUP_SSH", f"ssh -F {config}")
    config.write_text(f"{hosts}{jump}Match all\n Include {sshd.ssh_config}\n")
    with closing(open_backend(f"sftp://store/home/{tmp_path.name}")) as backend:
        backend.create("config", b"data")
        assert backend.size("config") == 4

    stranger = "Match originalhost jump\n UserKnownHostsFile /dev/null\n"
    config.write_text(f"{hosts}{jump}{stranger}Match all\n Include {sshd.ssh_config}\n")
    with pytest.raises(BackendError, match="cannot connect to store: Host key verification failed"):
        open_backend(f"sftp://store/home/{tmp_path.name}").size("config")


def test_says_so_when_there_is_no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_SSH", "no-such-ssh")
    with pytest.raises(BackendError, match=r"cannot start 'no-such-ssh': No such file.*install"):
        open_backend("sftp://host/repo").read("config")
    monkeypatch.setenv("DEDUP_SSH", "'ssh")
    with pytest.raises(BackendError, match="DEDUP_SSH is not a command: No closing quotation"):
        open_backend("sftp://host/repo").read("config")


def test_keeps_ctrl_c_from_its_ssh(sftp_place: Place) -> None:
    backend = sftp_place.open()
    backend.list("")
    (ssh,) = ssh_children()
    assert os.getsid(ssh) != os.getsid(0)
    backend.close()


def test_gives_its_ssh_no_open_files(sftp_place: Place, tmp_path: Path) -> None:
    with (tmp_path / "stray").open("wb") as stray:
        os.set_inheritable(stray.fileno(), True)
        backend = sftp_place.open()
        backend.list("")
        (ssh,) = ssh_children()
        targets = [os.readlink(path) for path in Path(f"/proc/{ssh}/fd").iterdir()]
        backend.close()
    assert stray.name not in targets
