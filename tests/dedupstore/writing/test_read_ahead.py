"""Streams come back in large pieces and few reads, wherever their chunks lie."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.backends.local import LocalBackend
from dedupstore.chunks.ids import proven
from dedupstore.reading.chunk_reader import Stretch
from dedupstore.reading.stream_reader import StreamReader
from tests.store import Alternating, World, begin, noise

KEY = bytes(range(32))


class Counting(LocalBackend):
    """Counts the reads of data packs."""

    reads = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads += name.startswith("data/")
        return super().read(name, offset, length)


def pieces(world: World, backend: LocalBackend) -> list[bytes]:
    """Return the pieces of the newest backup's one stream."""
    with world.open(world.admin, backend=backend) as repository:
        snapshot = repository.snapshots()[-1]
        (stream,) = repository.streams(snapshot)
        return [bytes(piece) for piece in repository.read(snapshot, stream)]


def test_bytes_changed_in_place_come_from_the_pack_that_has_them_in_few_reads(world: World) -> None:
    """Their chunks are as long as those they replace, so that they are first looked for in the old pack."""
    before = noise(4_000_000)
    after = bytearray(before)
    for at in range(50_000, len(after), 100_000):
        after[at] ^= 255
    with world.open(world.writer) as repository:
        for number, data in enumerate((before, bytes(after))):
            with begin(repository, 1_700_000_000 + number, pack_size=16 << 20) as session:
                session.put("s", io.BytesIO(data))
                session.finish()
    backend = Counting(world.path)
    assert bytes(after) == b"".join(pieces(world, backend))
    assert backend.reads < 12  # of 40 chunks that were changed


class Slow(Counting):
    """Answers only when a second read has begun, or when a while has passed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun = threading.Event()
        self._second = threading.Event()

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith("data/"):
            (self._second if self.begun.is_set() else self.begun).set()
            self._second.wait(0.3)
        return super().read(name, offset, length)


def test_a_block_that_two_threads_ask_for_is_fetched_once(world: World) -> None:
    world.put(noise(200_000))
    backend = Slow(world.path)
    with world.open(world.admin, backend=backend) as repository, ThreadPoolExecutor(2) as pool:
        repository.refresh_index()
        (stream,) = repository.streams(repository.snapshots()[0])
        reader = StreamReader(repository, "writer")
        stretches = [
            stretch
            for batch in reader.stretches(reader.recipes(stream).content.chunks())
            for stretch in batch
        ]
        first = pool.submit(reader.data.read, stretches)
        assert backend.begun.wait(60)
        second = pool.submit(reader.data.read, stretches)
        assert b"".join(first.result()) == noise(200_000) == b"".join(second.result())
    assert 1 == backend.reads


def test_small_files_come_in_large_pieces(world: World) -> None:
    data = noise(3_000_000)
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(data), splitter=Alternating(60, 5_000))
        session.finish()
    found = pieces(world, Counting(world.path))
    assert data == b"".join(found)
    assert len(found) <= 3_000_000 // 250_000 + 1


LENGTHS = st.lists(st.integers(1, 3000), min_size=1, max_size=8)


@given(lengths=LENGTHS, at=st.integers(0, 5), wrong=st.integers(0, 2**32))
def test_chunks_are_proven_only_if_each_of_them_is_what_its_id_says(
    lengths: list[int], at: int, wrong: int
) -> None:
    data = bytearray(noise(at + sum(lengths)))
    ends = [at + sum(lengths[: number + 1]) for number in range(len(lengths))]
    ids = [
        blake3(data[end - length : end], key=KEY).digest() for end, length in zip(ends, lengths, strict=True)
    ]
    assert proven(memoryview(data), at, lengths, ids, KEY)
    assert not proven(memoryview(data)[:-1], at, lengths, ids, KEY)
    assert not proven(memoryview(data), at, lengths, ids, bytes(32))
    data[at + wrong % sum(lengths)] ^= 1
    assert not proven(memoryview(data), at, lengths, ids, KEY)


@given(lengths=LENGTHS, count=st.integers(0, 25_000))
def test_a_stretch_gives_up_whole_chunks_only(lengths: list[int], count: int) -> None:
    ids = [bytes([number]) * 32 for number in range(len(lengths))]
    whole = Stretch(1, 2, 10, sum(lengths), ids, lengths)
    dropped, rest = whole.after(count)
    left = rest.lengths if rest else []
    assert dropped <= count
    assert (dropped, sum(left)) == (sum(lengths[: len(lengths) - len(left)]), sum(lengths) - dropped)
    if rest:
        assert count < dropped + rest.lengths[0]
        assert (10 + dropped, ids[-len(left) :], sum(left)) == (rest.offset, rest.ids, rest.size)
