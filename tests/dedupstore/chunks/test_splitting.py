"""Streams are divided as a splitter says: nothing is lost, whatever the buffers."""

import io
import subprocess
from array import array
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.chunks import _divide, splitting
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.errors import DamageError, StreamError
from dedupstore.format.recipes import LAYOUT, ListWriter, Recipe
from dedupstore.writing.sequence_writer import LayoutWriter
from tests.store import Marking, Range, World, begin, column, noise

RANGES = st.lists(st.builds(Range, st.integers(1, 300), st.booleans(), st.booleans()), max_size=40)


@given(RANGES, st.integers(0, 50))
def test_content_is_moved_together_and_skeleton_taken_out(ranges: list[Range], start: int) -> None:
    size = sum(part.length for part in ranges)
    data = noise(start + size)
    buffer = memoryview(bytearray(data))
    divider = splitting.Divider(Marking(ranges))
    division = divider.divide(buffer, start, start + size, ended=True)
    content, skeleton, ends, at = data[:start], b"", array("Q"), start
    for part in ranges:
        piece = data[at : at + part.length]
        at += part.length
        if part.content:
            content += piece
            if part.ends:
                ends.append(len(content))
        else:
            skeleton += piece
    assert content == bytes(buffer[: division.kept])
    assert (skeleton, ends.tobytes()) == (division.skeleton, division.ends)


@given(RANGES, st.integers(1, 1000))
def test_a_layout_reads_back_as_it_was_written(ranges: list[Range], at_once: int) -> None:
    """Lengths alternate, skeleton first, whatever the order of ranges and the buffers were."""
    size = sum(part.length for part in ranges)
    divider = splitting.Divider(Marking(ranges))
    layout = b""
    for start in range(0, size, at_once):
        end = min(size, start + at_once)
        layout += divider.divide(memoryview(bytearray(end)), start, end, ended=end == size).layout
    expected: list[tuple[bool, int]] = []
    for part in ranges:
        if expected and expected[-1][0] == part.content:
            expected[-1] = (part.content, expected[-1][1] + part.length)
        else:
            expected.append((part.content, part.length))
    layout += divider.finish()
    covered = tuple(
        sum(length for content, length in expected if content is wanted) for wanted in (False, True)
    )
    found = list(splitting.pairs(layout, (covered[0], covered[1]), first=True, ended=True))
    assert expected == [(bool(n % 2), length) for n, length in enumerate(found) if length]


@pytest.mark.parametrize(
    "ranges",
    [
        [Range(9, True)],
        [Range(11, True)],
        [Range(10, True), Range(0, False)],
        [Range(2**62 - 1, True), Range(11, True)],
        [],
    ],
)
def test_a_splitter_that_miscounts_fails_the_stream(ranges: list[Range]) -> None:
    class Wrong:
        def split(self, data: memoryview, ended: bool) -> bytes:
            return column(ranges)

    with pytest.raises(StreamError, match="every byte"):
        splitting.Divider(Wrong()).divide(memoryview(bytearray(10)), 0, 10, ended=True)


def test_a_piece_of_content_is_the_same_chunks_wherever_it_lies(world: World) -> None:
    """A file that was stored in one stream adds nothing in another, between other bytes."""
    files = [noise(size, size) for size in (600, 5_000, 100_000, 3_000_000)]

    def store(name: str, order: list[bytes]) -> int:
        ranges = [part for file in order for part in (Range(7, False), Range(len(file), True, True))]
        stream = b"".join(b"header " + file for file in order)
        put = session.put(name, io.BytesIO(stream), splitter=Marking(ranges))
        streams[name] = stream
        return put.new

    streams: dict[str, bytes] = {}
    with world.open(world.writer) as repository, begin(repository) as session:
        first = store("one", files)
        second = store("two", files[::-1])
        session.finish()
    assert sum(map(len, files)) < first
    assert 1_000 > second - 36 * 300  # its lists of chunks, and its skeleton
    assert streams == {name: world.get(name) for name in streams}


def test_the_division_reads_and_writes_no_byte_outside(tmp_path: Path) -> None:
    """The C core under AddressSanitizer and UndefinedBehaviorSanitizer, without Python around it."""
    program = tmp_path / "driver"
    here = Path(__file__).parent
    flags = ["-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    core = f"-I{here.parents[2] / 'dedupstore/chunks'}"
    subprocess.run(
        ["cc", "-std=c11", "-O2", *flags, core, "-o", program, here / "divide_driver.c"], check=True
    )
    done = subprocess.run([program], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


def varying(count: int, seed: int = 0) -> list[Range]:
    """Return the ranges of many files, large and small."""
    numbers = iter(noise(4 * count, seed))
    return [
        part
        for a, b, c, d in zip(numbers, numbers, numbers, numbers, strict=True)
        for part in (Range(100 + a, False), Range(1 + (b << (c % 9)) + d, True, True))
    ]


def layout_of(ranges: list[Range]) -> bytes:
    """Return what a divider writes."""
    size = sum(part.length for part in ranges)
    divider = splitting.Divider(Marking(ranges))
    return divider.divide(memoryview(bytearray(size)), 0, size, ended=True).layout + divider.finish()


class Cut(NamedTuple):
    """A layout that was stored: its recipe, and its chunks by id."""

    recipe: Recipe
    chunks: dict[bytes, bytes]


def cut(layout: bytes, at_once: int = 1 << 20) -> Cut:
    """Store a layout as a stream's writer does."""
    chunks: dict[bytes, bytes] = {}
    nodes: dict[bytes, bytes] = {}

    class Blocks:
        def store(self, ids: list[bytes], data: memoryview, starts: list[int], ends: list[int]) -> None:
            for id_, start, end in zip(ids, starts, ends, strict=True):
                chunks[id_] = bytes(data[start:end])

        def flush(self) -> None:
            pass

    sizes = ChunkSizes(256, 1024, 4096)
    recipe = ListWriter(bytes(32), nodes.__setitem__, LAYOUT)
    writer = LayoutWriter(bytes(32), Chunker(bytes(32), sizes), Blocks(), recipe)  # type: ignore[arg-type]
    for start in range(0, len(layout), at_once):
        writer.write(layout[start : start + at_once])
    root = writer.finish()
    found = array("Q", splitting.pairs(layout, sums(layout), first=True, ended=True))
    covers = (sum(found[::2]), sum(found[1::2]))
    return Cut(Recipe(root, lambda ids, sizes: (nodes[id_] for id_ in ids), covers), chunks)


def sums(layout: bytes) -> tuple[int, int]:
    """Return the bytes of skeleton and content that a layout covers."""
    found = _divide.pairs(layout, len(layout), True, True)
    assert found is not None
    return found[2], found[3]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3000), st.integers(0, 9), st.integers(1, 3), st.booleans())
def test_each_chunk_of_a_layout_holds_whole_pairs(count: int, seed: int, first: int, half: bool) -> None:
    """The recipe says what each covers; the last may lack its second number."""
    ranges = [Range(first, True, True), *varying(count, seed), *([Range(7, False)] if half else [])]
    layout = layout_of(ranges)
    recipe, chunks = cut(layout)
    entries = [entry for some in recipe.chunks() for entry in some]
    assert layout == b"".join(chunks[entry[0][:16]] for entry in entries)
    read = io.BytesIO(layout).read
    lengths = list(splitting.lengths(read, recipe.parts(), len(layout)))
    assert list(splitting.pairs(layout, sums(layout), first=True, ended=True)) == lengths
    assert all(256 <= length <= 4096 + 18 for _, length, _, _ in entries[:-1])


def test_a_change_in_the_middle_of_a_layout_keeps_its_other_chunks() -> None:
    ranges = varying(40_000)
    middle = len(ranges) // 2
    changed = [*ranges[:middle], Range(300, False), Range(5_000, True, True), *ranges[middle + 4 :]]
    before, after = cut(layout_of(ranges)), cut(layout_of(changed))
    assert len(before.chunks) > 100
    assert len(after.chunks.keys() - before.chunks.keys()) <= 6


def test_a_layout_is_cut_alike_however_it_comes() -> None:
    layout = layout_of(varying(400_000))
    assert len(layout) > 1 << 20
    assert cut(layout).chunks.keys() == cut(layout, 99_991).chunks.keys()


@pytest.mark.parametrize("covers", [(5, 7), (6, 6), (0, 0)])
def test_a_chunk_that_covers_other_bytes_than_its_recipe_says_is_damage(covers: tuple[int, int]) -> None:
    with pytest.raises(DamageError, match="covers other bytes"):
        splitting.pairs(b"\x05\x06", covers, first=True, ended=True)


@pytest.mark.parametrize(
    ("chunk", "first", "ended"),
    [
        (b"\x05\x06\x07", False, False),
        (b"\x05\x86", True, True),
        (b"\x00\x06", False, True),
        (b"\x05\x00", True, True),
        (b"\x85\x00\x01", True, True),
        (b"\xff" * 9 + b"\x01", True, True),
        (b"\xff" * 8 + b"\x7f\x01" + b"\xff" * 8 + b"\x7f\x01", True, True),
    ],
)
def test_a_chunk_that_holds_no_whole_pairs_is_damage(chunk: bytes, first: bool, ended: bool) -> None:
    with pytest.raises(DamageError, match="number that is cut short"):
        splitting.pairs(chunk, (0, 0), first=first, ended=ended)


ENDS = st.lists(st.integers(0, 5_000), max_size=20).map(sorted)


@given(ENDS, st.integers(0, 9))
def test_chunks_end_where_pieces_do_and_are_as_of_each_piece_alone(ends: list[int], seed: int) -> None:
    data = noise(5_000, seed)
    chunker = Chunker(bytes(32), ChunkSizes(64, 256, 1024))
    expected = []
    for start, end in pairwise([0, *sorted({*ends, len(data)} - {0})]):
        expected += [start + cut for cut in chunker.cuts(data[start:end], final=True)]
    assert expected == chunker.cuts(data, final=True, ends=array("Q", ends).tobytes())


@pytest.mark.parametrize("ends", [[5, 4], [101], [2**63]])
def test_ends_out_of_order_or_bounds_are_refused(ends: list[int]) -> None:
    chunker = Chunker(bytes(32), ChunkSizes(64, 256, 1024))
    with pytest.raises(ValueError, match="ascending"):
        chunker.cuts(bytes(100), final=False, ends=array("Q", ends).tobytes())
