"""From a URL to a back end, or to an error that says what to write instead."""

import subprocess
import sys
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.backends.local import LocalBackend
from dedupstore.backends.retry import Retry
from dedupstore.backends.sftp.backend import SftpBackend
from dedupstore.errors import DedupError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("/backup/repo", "/backup/repo"),
        ("repo", "{cwd}/repo"),
        ("./host:repo", "{cwd}/host:repo"),
        ("/a/b:c", "/a/b:c"),
        ("/not%20decoded", "/not%20decoded"),
        ("~/repo", "/home/alice/repo"),
        ("file:///backup/my%20repo", "/backup/my repo"),
        ("file://localhost/backup", "/backup"),
    ],
)
def test_opens_a_folder(url: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/alice")
    backend = open_backend(url, retry=False)
    assert isinstance(backend, LocalBackend)
    assert Path(folder.format(cwd=tmp_path)) == backend._root


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sftp://host/backup/repo", ("host", None, None, "/backup/repo")),
        ("sftp://MyAlias/backup/repo/", ("MyAlias", None, None, "/backup/repo")),
        ("sftp://u1-sub2@host.example:2222/~/repo", ("host.example", "u1-sub2", 2222, "repo")),
        ("sftp://u@[2001:db8::1]:22/a", ("2001:db8::1", "u", 22, "/a")),
        ("sftp://[fe80::1%eth0]/a", ("fe80::1%eth0", None, None, "/a")),
        ("sftp://host/my%20repo%3F", ("host", None, None, "/my repo?")),
        ("sftp://al%2Bice@host/a", ("host", "al+ice", None, "/a")),
    ],
)
def test_opens_a_folder_of_an_account(url: str, expected: tuple[str, str, int, str]) -> None:
    backend = open_backend(url, retry=False)
    assert isinstance(backend, SftpBackend)
    assert expected == (backend._host, backend._user, backend._port, backend._root)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "URL is empty"),
        ("s3://bucket/repo", "unknown scheme 's3'.*known: file, sftp.*give a folder"),
        ("ssh://host/repo", "unknown scheme 'ssh'"),
        ("host:repo", "may mean a host or a folder.*sftp://"),
        ("user@host:/repo", "may mean a host or a folder"),
        ("~nosuchuser-/repo", "no such user"),
        ("file://host/repo", "names 'host'"),
        ("sftp://host", "names no folder"),
        ("sftp://host/", "names no folder"),
        ("sftp://host/~", "names no folder"),
        ("sftp://host/~/", "names no folder"),
        ("sftp:///repo", "cannot find a host"),
        ("sftp://user@/repo", "cannot find a host"),
        ("sftp://host:port/repo", "cannot find a host"),
        ("sftp://host:0/repo", "cannot find a host"),
        ("sftp://host:65536/repo", "cannot find a host"),
        ("sftp://host/a?b", "has a \\?"),
        ("sftp://host/a#b", "#"),
        ("sftp://host/a%00b", "zero byte"),
        ("sftp://host/%ff", "not UTF-8"),
    ],
)
def test_says_what_it_accepts(url: str, message: str) -> None:
    with pytest.raises(DedupError, match=message):
        open_backend(url)


@pytest.mark.parametrize(
    "url",
    ["sftp://user:geheim@host/repo", "sftp://user:ge@heim@host/repo", "sftp://user:geheim@host:x/repo"],
)
def test_refuses_a_password_without_repeating_it(url: str) -> None:
    with pytest.raises(DedupError) as refusal:
        open_backend(url)
    assert "heim" not in str(refusal.value)


@pytest.mark.parametrize("url", ["sftp://-oProxyCommand=x/repo", "sftp://-x@host/repo", "sftp://a;b/repo"])
def test_lets_no_host_or_user_be_an_option_of_ssh(url: str) -> None:
    backend = open_backend(url, retry=False)
    with pytest.raises(DedupError, match=r"is not a (host|user) name"):
        backend.size("config")


def test_retries_unless_told_not_to() -> None:
    assert isinstance(open_backend("/repo"), Retry)
    assert isinstance(open_backend("sftp://host/repo"), Retry)


def test_loads_paramiko_only_to_connect() -> None:
    program = """
import sys
from dedupstore.backends import open_backend
open_backend("sftp://host/repo")
print("dedupstore.backends.sftp.packets" in sys.modules)
"""
    assert said(program) == "False"


def test_loads_of_paramiko_only_what_it_uses() -> None:
    program = """
import sys
from dedupstore.backends.sftp import packets
print([name for name in sys.modules if name.partition(".")[0] in ("paramiko", "invoke", "nacl", "asyncio")])
"""
    assert said(program) == "[]"


@pytest.mark.parametrize("order", ["first", "then"])
def test_leaves_paramiko_to_others_as_it_is(order: str) -> None:
    ours = "from dedupstore.backends.sftp import packets"
    theirs = "import paramiko, paramiko.config"
    program = "\n".join([ours, theirs] if order == "first" else [theirs, ours])
    program += """
import sys
assert sys.modules["paramiko"] is paramiko and sys.modules["paramiko.config"] is paramiko.config
print(paramiko.Transport.__name__, paramiko.config.invoke.__name__)
"""
    assert said(program) == "Transport invoke"


def said(program: str) -> str:
    """What a program prints, in an interpreter of its own."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
