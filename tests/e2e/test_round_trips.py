"""Over a long way, time is round trips: those of a run do not grow with what is backed up, and a restore has few."""

import io
from pathlib import Path

import pytest

from dedupstore.backends import open_backend
from dedupstore.writing.session import RunDetails, Session
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


def test_a_stream_comes_back_after_a_few_round_trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sshd() as server, SlowLink(server.port, DELAY) as link:
        alias = f"HostKeyAlias=[127.0.0.1]:{server.port}"
        monkeypatch.setenv("DEDUP_SSH", f"{server.env['DEDUP_SSH']} -o {alias}")
        world = World(tmp_path)
        run(world, link, 50_000, 0)
        backend = open_backend(f"sftp://nobody@127.0.0.1:{link.port}/home/repository-50000")
        with world.open(world.admin, host="reader", backend=backend) as repository:
            (snapshot,) = repository.snapshots()
            streams = list(repository.streams(snapshot))
            turns = []
            for stream in streams[:20]:
                before = link.turns
                assert 50_000 == sum(map(len, repository.read(snapshot, stream)))
                turns.append(link.turns - before)
    # index, keys and folders are read once, and a pack stays open: a list of chunks and a block are left
    assert 3 > sorted(turns)[10]
    assert 15 > max(turns)
