"""A stored stream is walked forward: exact bytes, and no contents but those that were asked for."""

import io
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dedupstore.backends.local import LocalBackend
from dedupstore.chunks import splitting
from dedupstore.errors import DamageError, StreamError
from dedupstore.format.run_records import Stream
from dedupstore.reading.forward_stream import StoredStream
from dedupstore.reading.stream_reader import StreamReader
from tests.store import Alternating, Marking, Range, World, begin, flip_bit, noise, text

DATA = noise(2_000_000, 5) + text(1_000_000) + noise(3_000_000, 6)


def store(world: World, skeleton: int, content: int) -> None:
    with world.open(world.writer) as repository, begin(repository) as session:
        splitter = Alternating(skeleton, content) if skeleton else None
        session.put("s", io.BytesIO(DATA), splitter=splitter)
        session.finish()


STEPS = st.lists(
    st.tuples(st.sampled_from(["skip", "read", "copy", "peek"]), st.integers(0, 900_000)), max_size=30
)


@pytest.mark.parametrize(("skeleton", "content"), [(700, 90_000), (90_000, 700), (60, 5_000), (0, 0)])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_walk_gives_the_bytes_that_are_there(
    world: World, skeleton: int, content: int, steps: list[tuple[str, int]]
) -> None:
    if not world.files("snapshots"):
        store(world, skeleton, content)
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            for step, count in steps:
                walk(stored, step, count)
            rest = stored.position
            assert DATA[rest:] == stored.read(len(DATA))
            assert (b"", b"") == (stored.read(1), stored.peek(1))


def walk(stored: StoredStream, step: str, count: int) -> None:
    at = stored.position
    there = DATA[at : at + count]
    if step == "peek":
        seen = stored.peek(count)
        assert there.startswith(seen)
        assert at == stored.position
    elif step == "read":
        assert there == stored.read(count)
        assert at + len(there) == stored.position
    elif len(there) < count:
        with pytest.raises(StreamError, match="ends after"):
            stored.skip(count) if step == "skip" else list(stored.copy(count))
    elif step == "skip":
        stored.skip(count)
        assert at + count == stored.position
    else:
        assert there == b"".join(stored.copy(count))


class Counting(LocalBackend):
    """Counts the bytes read from data packs."""

    fetched = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().read(name, offset, length)
        self.fetched += len(data) * name.startswith("data/")
        return data


def test_skeletons_are_read_without_contents(world: World) -> None:
    store(world, 700, 90_000)
    backend = Counting(world.path)
    with world.open(world.admin, backend=backend) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream, contents=False) as stored:
            skeleton = 0
            while stored.position < stored.size:
                skeleton += len(stored.read(len(stored.peek(700))))
                stored.skip(min(90_000, stored.size - stored.position))
        assert stream.skeleton.size == skeleton
    assert 0 < backend.fetched < 300_000


def test_one_piece_out_of_the_middle_costs_little_more_than_itself(world: World) -> None:
    store(world, 0, 0)
    backend = Counting(world.path)
    with world.open(world.admin, backend=backend) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            stored.skip(4_000_000)
            assert DATA[4_000_000:4_005_000] == stored.read(5_000)
    assert backend.fetched < 2_400_000  # of 6 MB: the block that holds it, and perhaps the next


def test_contents_that_are_gone_are_noticed_before_the_first_byte(world: World) -> None:
    ranges = [Range(5, False), Range(3_000_000, True, True), Range(5, False)]
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(b"head " + noise(3_000_000) + b" tail"), splitter=Marking(ranges))
        session.finish()
    largest = max(world.files("data"), key=lambda file: file.stat().st_size)
    largest.unlink()
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with pytest.raises(DamageError, match="its pack is missing"):
            repository.open_stream(snapshot, stream)


def test_a_copy_that_is_given_up_leaves_the_walk_where_it_says(world: World) -> None:
    store(world, 700, 900_000)
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            while stored.size - stored.position > 200_000:
                next(iter(stored.copy(150_000)))
                at = stored.position
                assert DATA[at : at + 1000] == stored.read(1000)


@pytest.mark.parametrize("skeleton", [0, 700, 90_000])
def test_after_damage_no_wrong_bytes_come_and_the_rest_does(world: World, skeleton: int) -> None:
    store(world, skeleton, 90_000)
    flip_bit(max(world.files("data"), key=lambda file: file.stat().st_size))
    came = 0
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            for end in range(50_000, stored.size + 1, 50_000):
                start = stored.position
                try:
                    assert DATA[start:end] == stored.read(end - start)
                    came += end - start
                except DamageError:
                    stored.skip(end - stored.position)
    assert 0 < came < len(DATA)


@pytest.mark.parametrize("first", [StoredStream.skip, StoredStream.read], ids=["skip", "read"])
@pytest.mark.parametrize(
    "lengths", [(5, 5), (5,), (50, 5), (1, 2**62), (2**62,), (0, 2**62)], ids=lambda lengths: str(lengths)
)
def test_a_layout_that_lies_is_damage(
    world: World, lengths: tuple[int, ...], first: Callable[[StoredStream, int], object]
) -> None:
    plan = b"".join(splitting.varint(length) for length in lengths)
    with world.open(world.writer) as repository, begin(repository) as session:
        skeleton, content, layout = (
            session.put(name, io.BytesIO(data)).content
            for name, data in {"skeleton": bytes(20), "content": bytes(1000), "layout": plan}.items()
        )
        session.finish()
    stream = Stream("s", "raw", 1020, 0, 0, 0, content, skeleton, layout)
    with world.open(world.admin) as repository:
        repository.refresh_index()
        with StoredStream(StreamReader(repository, "writer"), stream) as stored, pytest.raises(DamageError):
            first(stored, 1000), stored.read(20)


def test_a_walk_does_not_go_back(world: World) -> None:
    store(world, 0, 0)
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            for step in (stored.skip, stored.read, stored.copy):
                with pytest.raises(ValueError, match="cannot walk a stream back"):
                    step(-1)


@pytest.mark.parametrize(("skeleton", "content"), [(700, 90_000), (60, 5_000), (0, 0)])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.integers(0, len(DATA)), max_size=8), count=st.integers(0, 400_000))
def test_a_seek_goes_anywhere(
    world: World, skeleton: int, content: int, places: list[int], count: int
) -> None:
    if not world.files("snapshots"):
        store(world, skeleton, content)
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            for place in places:
                stored.seek(place)
                assert place == stored.position
                assert DATA[place : place + count] == stored.read(count)
            stored.seek(len(DATA))
            assert b"" == stored.read(1)
            with pytest.raises(ValueError, match="no position"):
                stored.seek(len(DATA) + 1)


def test_skipping_many_ranges_costs_no_more_than_a_few(world: World) -> None:
    """Most of the layout is passed through its tree, not range by range."""
    ranges = [Range(1, False), Range(1, True)] * 15_000
    data = noise(30_000)
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(data), splitter=Marking(ranges))
        session.finish()
    with world.open(world.admin) as repository:
        (snapshot,) = repository.snapshots()
        (stream,) = repository.streams(snapshot)
        with repository.open_stream(snapshot, stream) as stored:
            stored.skip(29_001)
            assert 29_001 == stored.position
            assert data[29_001:] == stored.read(30_000)
