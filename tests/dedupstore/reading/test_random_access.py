"""Any bytes of a stream are read without the rest of it, whatever its layout, by several threads at once."""

import io
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.backends.local import LocalBackend
from dedupstore.chunks.chunker import ChunkSizes
from dedupstore.chunks.splitting import Splitter
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.reading.random_access import RandomReader
from dedupstore.reading.stream_reader import StreamReader
from tests.store import Alternating, Marking, Range, World, begin, flip_bit, noise, text

DATA = noise(2_000_000, 5) + text(1_000_000) + noise(3_000_000, 6)


def store(world: World, data: bytes, splitter: Splitter | None = None) -> None:
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(data), splitter=splitter, allow_empty=True)
        session.finish()


@contextmanager
def opened(world: World, backend: LocalBackend | None = None) -> Iterator[RandomReader]:
    with world.open(world.admin, backend=backend) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        yield repository.random_reader(snapshot, stream)


RANGES = st.lists(st.builds(Range, st.integers(1, 9_000), st.booleans(), st.booleans()), max_size=60)
READS = st.lists(st.tuples(st.floats(0, 1.1), st.integers(0, 60_000)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(ranges=RANGES, repeated=st.integers(1, 40), split=st.booleans(), reads=READS)
def test_a_read_gives_the_bytes_that_are_there(
    tmp_path_factory: pytest.TempPathFactory,
    ranges: list[Range],
    repeated: int,
    split: bool,
    reads: list[tuple[float, int]],
) -> None:
    world = World(tmp_path_factory.mktemp("random"))
    data = noise(repeated * sum(part.length for part in ranges))
    store(world, data, Marking(ranges * repeated) if split else None)
    with opened(world) as reader:
        assert len(data) == reader.size
        for place, size in reads:
            at = int(place * len(data))
            assert data[at : at + size] == reader.read_at(at, size)
        assert data == reader.read_at(0, len(data) + 1)


def test_a_read_takes_one_node_a_level(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    nodes = StreamReader.nodes

    def counted(self: StreamReader, ids: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
        read.extend(ids)
        return nodes(self, ids, sizes)

    ranges = [Range(30 + n % 50, bool(n % 2), True) for n in range(200_000)]
    data = noise(sum(part.length for part in ranges))
    store(world, data, Marking(iter(ranges)))
    monkeypatch.setattr(StreamReader, "nodes", counted)
    for at in (0, 5, len(data) // 3, len(data) - 1):
        with opened(world) as reader:
            read.clear()
            assert data[at : at + 1] == reader.read_at(at, 1)
            depths = [recipe.depth for recipe in reader._recipes]
            assert max(depths) >= 3
            assert depths[0] < len(read) <= depths[0] + max(depths[1:])
            read.clear()
            assert data[at : at + 1] == reader.read_at(at, 1)
            assert [] == read  # what was read lately is kept


class Counting(LocalBackend):
    """Counts the bytes read from packs."""

    fetched = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().read(name, offset, length)
        self.fetched += len(data) * name.startswith("data/")
        return data


def test_a_few_bytes_cost_the_blocks_that_hold_them(world: World) -> None:
    store(world, DATA, Alternating(700, 90_000))
    backend = Counting(world.path)
    with opened(world, backend) as reader:
        assert DATA[4_000_000:4_005_000] == reader.read_at(4_000_000, 5_000)
    assert (
        0 < backend.fetched < 2_400_000
    )  # of 6 MB: a block of contents, and perhaps those of skeleton and layout


def test_several_threads_share_a_reader(world: World) -> None:
    store(world, DATA, Alternating(700, 9_000))
    places = [(n * 7_919_111) % len(DATA) for n in range(200)]
    with opened(world) as reader, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: reader.read_at(at, 10_000), places))
    assert [DATA[at : at + 10_000] for at in places] == found


def test_damage_costs_only_the_bytes_in_it(world: World) -> None:
    store(world, DATA, Alternating(700, 90_000))
    flip_bit(max(world.files("data"), key=lambda file: file.stat().st_size))
    good = 0
    with opened(world) as reader:
        for at in range(0, len(DATA), 50_000):
            try:
                assert DATA[at : at + 50_000] == reader.read_at(at, 50_000)
                good += 1
            except DamageError:
                continue
    assert 0 < good < len(DATA) // 50_000


def test_a_writer_may_not_read(world: World) -> None:
    store(world, b"secret")
    with world.open(world.writer) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with pytest.raises(KeyAccessError):
            repository.random_reader(snapshot, stream)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1)])
def test_a_place_that_is_none_is_refused(world: World, offset: int, size: int) -> None:
    store(world, b"data")
    with opened(world) as reader, pytest.raises(ValueError, match="no read of"):
        reader.read_at(offset, size)


def test_a_layout_of_a_million_ranges_costs_no_object_for_each(world: World) -> None:
    """One that a hostile writer made, say: ranges of a byte, in chunks as long as a layout's may be."""
    most = ChunkSizes(1 << 19, 1 << 20, (2 << 20) - 18)
    world.writer = replace(world.writer, layout_sizes=most)
    data = noise(600_000)
    store(world, data, Marking(Range(1, bool(n % 2)) for n in range(len(data))))
    with opened(world) as reader:
        assert data[:10] == reader.read_at(0, 10)
        tracemalloc.start()
        found = reader.read_at(0, len(data))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert data == found
    assert peak < 32 << 20
