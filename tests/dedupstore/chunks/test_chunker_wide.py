"""The wide hash of the chunker, for skeletons: where it must cut, and that luck with the key does not matter."""

import random
import struct
import tarfile
from collections.abc import Iterator
from operator import mul

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.chunks.chunker import Chunker, ChunkSizes
from tests.dedupstore.chunks.test_chunker import GEAR, KEY, chunks, noise, pieces

SIZES = ChunkSizes(2048, 8192, 32768)
POWERS = [pow(5, k, 2**32) for k in range(1023, -1, -1)]


def reference_cuts(data: bytes, sizes: ChunkSizes) -> list[int]:
    """The definition, word for word: no rolling."""
    gear = struct.unpack("<256I", GEAR)
    values = [gear[byte] for byte in data]

    def ends(start: int, length: int) -> bool:
        end = start + length
        value = sum(map(mul, values[end - 1024 : end], POWERS)) % 2**32
        threshold = 2**32 // (sizes.average * 4) if length < sizes.average else 4 * 2**32 // sizes.average
        return length == sizes.maximum or value < threshold

    cuts = [0]
    while cuts[-1] < len(data):
        start = cuts[-1]
        rest = len(data) - start
        lengths = range(sizes.minimum, min(sizes.maximum, rest) + 1)
        cuts.append(start + next((length for length in lengths if ends(start, length)), rest))
    return cuts[1:]


def wide_cuts(data: bytes, sizes: ChunkSizes = SIZES, key: bytes = KEY) -> list[int]:
    return Chunker(key, sizes, wide=True).cuts(data, final=True)


def headers(names: list[str]) -> Iterator[bytes]:
    """What a tar of small files leaves when their contents are taken out: a header, and zeros up to a record."""
    source = random.Random(1)
    for name in names:
        member = tarfile.TarInfo(name)
        member.size, member.mtime = int(source.lognormvariate(8, 1)), 1_772_326_800 + source.randrange(10**6)
        yield member.tobuf(tarfile.GNU_FORMAT) + bytes(-member.size % 512)


# Format 1 for ever: the cuts of noise(20_000), computed by reference_cuts.  Never to be changed.
GOLDEN = {
    ChunkSizes(1025, 2048, 8192): "2101 4620 7087 9509 11733 13511 15779 17971 20000",
    ChunkSizes(1500, 4096, 6000): "4620 9509 15509 19855 20000",
    ChunkSizes(2048, 8192, 32768): "5031 13511 20000",
}


@pytest.mark.parametrize("sizes", GOLDEN)
def test_cuts_where_format_1_says(sizes: ChunkSizes) -> None:
    expected = [int(offset) for offset in GOLDEN[sizes].split()]
    assert expected == wide_cuts(noise(20_000), sizes)
    assert expected == reference_cuts(noise(20_000), sizes)


def test_cuts_ten_thousand_headers_where_format_1_says() -> None:
    """The BLAKE3 of the offsets in decimal, joined by commas."""
    expected = "6027fd4a3550eba7952ab834726a4b1b1d9fdb4ad2ed91602650d7072ce0d8ed"
    data = b"".join(headers([f"folder{n // 40:04}/file{n:06}" for n in range(10_000)]))
    assert expected == blake3(",".join(map(str, wide_cuts(data))).encode()).hexdigest()


@given(st.lists(pieces, max_size=3).map(b"".join), st.integers(1025, 2047), st.integers(2049, 9000))
@settings(max_examples=10, deadline=None)
def test_agrees_with_the_definition(data: bytes, minimum: int, maximum: int) -> None:
    sizes = ChunkSizes(minimum, 2048, maximum)
    assert reference_cuts(data, sizes) == wide_cuts(data, sizes)


def test_cuts_do_not_depend_on_buffer_sizes() -> None:
    data = noise(300_000)
    chunker = Chunker(KEY, SIZES, wide=True)
    for step in (2000, 40_000, 100_000):
        found: list[int] = []
        for end in range(step, len(data) + step, step):
            last = found[-1] if found else 0
            found += [last + cut for cut in chunker.cuts(data[last:end], final=end >= len(data))]
        assert wide_cuts(data) == found


def test_the_number_of_chunks_of_a_skeleton_is_the_same_for_99_of_100_keys() -> None:
    """Headers are alike but for a name and a few numbers: a hash that sees less than one cuts all or none."""
    data = b"".join(headers([f"folder{n // 40:04}/file{n:06}" for n in range(10_000)]))
    counts = sorted(len(wide_cuts(data, key=noise(32, b"key %d" % n))) for n in range(300))
    median = counts[len(counts) // 2]
    outside = [count for count in counts if abs(count - median) > median / 10]
    assert len(outside) <= 3
    assert len(data) / (1.13 * SIZES.average) == pytest.approx(median, rel=0.05)


def test_an_insertion_changes_only_the_chunks_around_it() -> None:
    names = [f"folder{n // 40:04}/file{n:06}" for n in range(4000)]
    before = b"".join(headers(names))
    at = len(b"".join(headers(names[:2000])))
    after = before[:at] + b"".join(headers(["folder0049/new"])) + before[at:]
    new = set(chunks(after, wide_cuts(after))) - set(chunks(before, wide_cuts(before)))
    assert 1 <= len(new) <= 3


@pytest.mark.parametrize("minimum", [64, 1024])
def test_refuses_a_minimum_within_the_window(minimum: int) -> None:
    with pytest.raises(ValueError, match="1025 <= minimum"):
        Chunker(KEY, ChunkSizes(minimum, 8192, 32768), wide=True)
