"""What goes in comes out, whatever it is, and what is there already is not stored again."""

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.errors import DedupError, KeyAccessError, StreamError
from dedupstore.format import layout
from dedupstore.writing import pack_writer
from dedupstore.writing.pack_writer import (
    INDEX_BLOCKS,
    INDEX_CHUNKS,
    INDEX_PACKS,
    MOST_UPLOADS,
    PACK_BLOCKS,
    PACK_CHUNKS,
)
from dedupstore.writing.read_ahead import READ_SIZE
from dedupstore.writing.sequence_writer import BLOCK_CHUNKS, BLOCK_SIZE
from tests.store import Alternating, Marking, Range, World, begin, noise, text

MIB = 1 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        bytes(3 * MIB),
        noise(5 * MIB),
        text(6 * MIB),
        noise(READ_SIZE),
        noise(BLOCK_SIZE + 1),
        noise(100) * 30000,
    ],
    ids=["empty", "one", "zeros", "noise", "text", "one-buffer", "block-and-one", "periodic"],
)
def test_a_stream_comes_back_exactly(world: World, data: bytes) -> None:
    """Every kind of stream is restored byte for byte by an admin."""
    world.put(data)
    assert world.get() == data


def test_a_source_that_gives_little_at_a_time_is_stored_whole(world: World) -> None:
    """A pipe may give a few bytes at each read."""
    data = noise(300_000)

    class Dribble(io.BytesIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return super().readinto(buffer[:777])

    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", Dribble(data))
        session.finish()
    assert world.get() == data


def test_the_same_stream_again_adds_next_to_nothing(world: World) -> None:
    """A second copy under another name adds under 0.5 % of its size."""
    data = noise(8 * MIB)
    world.put(data, "one")
    before = world.stored()
    again = world.put(data, "two")
    assert again.new == 0
    assert world.stored() - before < 0.005 * len(data)
    assert world.get("two") == data


def test_an_insertion_at_the_front_adds_little(world: World) -> None:
    """1 KiB more at the front adds under 1 % of the stream and 1 MiB."""
    data = text(8 * MIB)
    world.put(data, "one")
    before = world.stored()
    world.put(noise(1024) + data, "two")
    assert world.stored() - before < 0.01 * len(data) + MIB
    assert world.get("two") == noise(1024) + data


def test_two_streams_in_one_run_share_chunks(world: World) -> None:
    """What the run itself stored a moment ago is known to it."""
    data = noise(3 * MIB)
    with world.open(world.writer) as repository, begin(repository) as session:
        first = session.put("a", io.BytesIO(data))
        second = session.put("b", io.BytesIO(data))
        session.finish()
    assert first.new > len(data)  # and the nodes of its recipe
    assert second.new == 0
    assert world.get("a") == world.get("b") == data


def test_a_writer_cannot_read_back(world: World) -> None:
    """The writer's keys list a stream, and are refused its contents."""
    world.put(noise(1000))
    with pytest.raises(KeyAccessError, match="not read their contents"):
        world.get(access=world.writer)


def test_an_empty_stream_is_refused_unless_allowed(world: World) -> None:
    """An empty stream is mostly a source that failed."""
    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match="is empty"):
            session.put("s", io.BytesIO(b""))
        assert session.put("t", io.BytesIO(b""), allow_empty=True).size == 0


def test_a_name_is_stored_once_in_a_run(world: World) -> None:
    """Two streams of one name in one snapshot could not be told apart."""
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(b"1"))
        with pytest.raises(StreamError, match="already stored"):
            session.put("s", io.BytesIO(b"2"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a//b",
        "a/../b",
        "/a",
        "a/",
        "a\nb",
        "\x7f",
        "x" * 10_000,
        "é" * 128,
        "a\u2028b",
        "a\udc80b",
    ],
)
def test_names_that_cannot_be_shown_or_typed_are_refused(world: World, name: str) -> None:
    """The message is one printable line."""
    with (
        world.open(world.writer) as repository,
        begin(repository) as session,
        pytest.raises(DedupError) as caught,
    ):
        session.put(name, io.BytesIO(b"x"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@settings(max_examples=15, deadline=None)
@given(
    skeleton=st.integers(1, 3000),
    content=st.integers(1, 90_000),
    size=st.integers(0, 400_000),
    seed=st.integers(0, 9),
)
def test_a_split_stream_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, skeleton: int, content: int, size: int, seed: int
) -> None:
    """Skeleton, content and layout together give the stream, wherever the splitter cut."""
    world = World(tmp_path_factory.mktemp("split"))
    data = noise(size, seed)
    with world.open(world.writer) as repository, begin(repository) as session:
        stream = session.put("s", io.BytesIO(data), splitter=Alternating(skeleton, content), allow_empty=True)
        session.finish()
    assert stream.content.size + stream.skeleton.size == size
    assert world.get() == data


def test_a_recipe_of_several_levels_comes_back(world: World) -> None:
    """Enough chunks for a tree of lists at least three levels deep."""
    data = noise(40 * MIB)
    with world.open(world.writer) as repository, begin(repository, pack_size=8 * MIB) as session:
        stream = session.put("s", io.BytesIO(data))
        session.finish()
    assert stream.content.depth >= 2
    assert world.get() == data


def test_a_checkpoint_never_counts(world: World) -> None:
    """A run that stops after a checkpoint lists nothing, and what it stored is used by the next."""
    data = noise(2 * MIB)
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(data))
        session.checkpoint()
    assert len(world.files("checkpoints")) == 1
    with world.open(world.writer) as repository:
        assert repository.snapshots() == []
    assert world.put(data).new == 0


@pytest.mark.parametrize("facts", [{1: 2}, {"n": 1 << 70}, {"name": "\udcff"}, {"it": object()}])
def test_facts_that_no_reader_could_read_fail_their_stream_only(world: World, facts: Any) -> None:
    """They would make the whole snapshot unreadable."""
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("good", io.BytesIO(b"1"))
        with pytest.raises(StreamError, match="cannot be described"):
            session.put("bad", io.BytesIO(b"2"), facts=facts)
        session.put("bad", io.BytesIO(b"3"))
        session.finish()
    assert (b"1", b"3") == (world.get("good"), world.get("bad"))


@pytest.mark.parametrize(("limit", "value"), [("MAX_STREAMS", 2), ("MAX_DESCRIBED", 300)])
def test_a_run_of_more_streams_than_a_snapshot_lists_has_several(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(layout, limit, value)
    names = ["one", "two", "three", "four", "five"]
    with world.open(world.writer) as repository, begin(repository) as session:
        for name in names:
            session.put(name, io.BytesIO(name.encode()))
        session.finish()
    with world.open(world.admin) as repository:
        infos = sorted(repository.snapshots(), key=lambda info: info.sequence)
        assert names == [stream.name for info in infos for stream in repository.streams(info)]
        assert [1, 2, 3] == [info.sequence for info in infos]
    assert 1 == len([file for file in world.files("runs") if file.suffix == ".done"])
    assert b"five" == world.get("five")


def test_pieces_of_a_few_bytes_fill_no_pack_or_index_beyond_its_bounds(world: World) -> None:
    data = noise(300_000)
    pieces = Marking([Range(3, True, True)] * 100_000)
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(data), splitter=pieces)
        session.finish()
        packs = [pack for _, pack in repository.cache.packs_of(repository.cache.index_files())]
    most = max(block.chunks for pack in packs for block in pack.blocks)
    assert BLOCK_CHUNKS == most
    assert layout.MAX_PACK_CHUNKS >= PACK_CHUNKS + most
    assert layout.MAX_PACK_CHUNKS >= INDEX_CHUNKS + MOST_UPLOADS * (PACK_CHUNKS + most)
    assert layout.MAX_PACK_BLOCKS >= INDEX_BLOCKS + MOST_UPLOADS * (PACK_BLOCKS + 1)
    assert layout.MAX_INDEX_PACKS >= INDEX_PACKS + MOST_UPLOADS
    assert data == world.get()


def test_what_was_stored_since_the_last_listing_is_read_with_the_same_repository(world: World) -> None:
    """Listings of packs are kept while a repository is open, but not beyond a run."""
    with world.open(world.admin) as repository:
        repository.listed_sizes({f"{folder}/{n:02x}" for folder in ("data", "tree") for n in range(256)})
        with begin(repository) as session:
            session.put("s", io.BytesIO(b"new"))
            snapshot = session.finish()
        (stream,) = repository.streams(snapshot)
        assert b"new" == b"".join(repository.read(snapshot, stream))


def test_thousands_of_tiny_streams_fill_no_pack_or_index_beyond_its_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stream has blocks of its own: these are many long before chunks are."""
    monkeypatch.setattr(pack_writer, "PACK_BLOCKS", 40)
    monkeypatch.setattr(pack_writer, "INDEX_BLOCKS", 60)
    with world.open(world.writer) as repository, begin(repository) as session:
        for number in range(300):
            session.put(f"s{number}", io.BytesIO(b"%d" % number))
        session.finish()
        for name in repository.cache.index_files():
            blocks = [len(pack.blocks) for _, pack in repository.cache.packs_of([name])]
            assert max(blocks) <= 40
            assert sum(blocks) <= 60 + pack_writer.MOST_UPLOADS * 40
    assert b"299" == world.get("s299")
