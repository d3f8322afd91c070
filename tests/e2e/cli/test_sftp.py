"""The whole cycle over a real sshd, on an account that may neither rename nor delete; and a server that is gone."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import World
from tests.servers.sshd import Sshd, wait_for


@pytest.fixture
def server() -> Iterator[Sshd]:
    with Sshd(restricted=True) as server:
        yield server


@pytest.fixture
def remote(made: World, server: Sshd, tmp_path: object) -> World:
    """Machines that have not met the repository on that server."""
    world = made.copy(made.folder.parent / f"remote-{server.port}")
    for name in ("alice", "wendy"):
        host = world.host(name, f"{name}-remote")
        world.hosts[f"{name}-host"] = host
        host.environ |= server.env | {"DEDUP_REPOSITORY": server.url("repo")}
    world.alice.does("init --writer wendy@example.org --admin alice@example.org")
    world.wendy.does(f"trust accept --yes --admin {world.keys['alice']}")
    return world


def test_backs_up_and_restores_over_an_append_only_account(remote: World) -> None:
    data = os.urandom(5_000_000)
    remote.wendy.does(["put", "x", "--", "head", "-c", "5000000", "/dev/zero"])
    remote.wendy.does("put y", data)
    assert [b"x", b"y"] == [line.split()[-1] for line in remote.wendy.does("list latest").splitlines()[1:]]
    assert data == remote.alice.does("get latest y")
    assert bytes(5_000_000) == remote.alice.does("get latest x")
    assert 0 == remote.alice.dedup("check --read-data").status


def test_a_server_that_is_gone_is_an_error(remote: World, server: Sshd) -> None:
    server.stop()
    said = remote.wendy.fails("list")
    assert "127.0.0.1" in said


def stopped(process: "subprocess.Popen[bytes]", server: Sshd) -> float:
    """Stop a put whose server does not answer any more; return how many seconds it took to end."""
    assert process.stderr is not None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait(120)
    took = time.monotonic() - began
    server.resume()
    assert (143, b"dedup: interrupted; no backup was recorded\n") == (status, process.stderr.read())
    return took


@pytest.mark.parametrize("size", [0, 6_000_000], ids=["beginning", "reading"])
def test_a_put_is_stopped_though_the_server_does_not_answer(remote: World, server: Sshd, size: int) -> None:
    with remote.wendy.start("put x") as process:
        assert process.stdin is not None
        # More than a pipe holds is taken only once it reads; after the pause it may not come to that.
        process.stdin.write(os.urandom(size))
        process.stdin.flush()
        wait_for(lambda: list((server.home / "repo" / "runs").glob("*.run")))
        server.pause()
        assert stopped(process, server) < 20


def test_a_put_is_stopped_though_its_uploads_are_not_answered(remote: World, server: Sshd) -> None:
    with (
        Path("/dev/urandom").open("rb") as endless,
        remote.wendy.start("put x", stdin=endless.fileno()) as process,
    ):
        wait_for(lambda: [file for file in (server.home / "repo" / "data").rglob("*") if file.is_file()])
        server.pause()
        assert stopped(process, server) < 60


@pytest.mark.parametrize("line", ["get latest x -o out", "get latest --all -o out", "get latest x"])
def test_a_get_is_stopped_though_the_server_does_not_answer(remote: World, server: Sshd, line: str) -> None:
    remote.wendy.does("put x", os.urandom(100_000_000))
    folder = remote.alice.folder
    with remote.alice.start(line) as process:
        assert process.stdout is not None
        if "-o" in line:
            wait_for(lambda: any(path.stat().st_size for path in folder.rglob(".dedup-*.part")))
        else:
            assert process.stdout.read(1)
        server.pause()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(120)
        took = time.monotonic() - began
        server.resume()
        said = process.stderr.read() if process.stderr else b""
    assert (143, b"dedup: interrupted\n") == (status, said)
    assert took < 20
    assert not list(folder.rglob(".dedup-*.part"))
