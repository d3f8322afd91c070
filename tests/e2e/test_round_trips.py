"""Over a long way, the time of a run is its round trips: they do not grow with what is backed up."""

import io
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.session import RunDetails, Session
from tests.servers.slow_link import SlowLink
from tests.servers.sshd import Sshd
from tests.store import World, noise

DELAY = 0.05  # seconds, each way
STREAMS = 500


def run(world: World, link: SlowLink, size: int, day: int) -> int:
    """Store all streams of a day, each of `size` bytes that depend on its number alone; return the round trips."""
    turns = link.turns
    backend = open_backend(f"sftp://nobody@127.0.0.1:{link.port}/home/repository-{size}")
    with (
        world.open(world.writer, host=str(size), backend=backend) as repository,
        Session(repository, RunDetails("host", "test", 1_700_000_000 + day, 0), 3) as session,
    ):
        for number in range(STREAMS):
            session.put(f"volume.{number}", io.BytesIO(noise(size, number)))
        session.finish()
    return link.turns - turns


def test_a_run_of_500_unchanged_streams_waits_as_often_for_few_chunks_as_for_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sshd() as server, SlowLink(server.port, DELAY) as link:
        alias = f"HostKeyAlias=[127.0.0.1]:{server.port}"
        monkeypatch.setenv("DEDUP_SSH", f"{server.env['DEDUP_SSH']} -o {alias}")
        turns = {}
        for size in (2_000, 50_000):
            world = World(tmp_path / str(size))
            run(world, link, size, 0)
            turns[size] = run(world, link, size, 1)
    few, many = turns.values()
    # 500 chunks and 1,500: some turns come and go with how packets fall together
    assert abs(few - many) < 8
    assert few < 80
