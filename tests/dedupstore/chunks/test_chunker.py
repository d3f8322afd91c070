"""The chunker: where it must cut, against stored vectors and a slow reference, and what it must not depend on."""

import itertools
import mmap
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.chunks import _chunker
from dedupstore.chunks.chunker import Chunker, ChunkSizes

KEY = bytes(range(32))
GEAR = blake3(b"dedup1 gear", key=KEY).digest(length=1024)
SIZES = ChunkSizes(1024, 4096, 16384)

Cut = Callable[[bytes | memoryview, ChunkSizes], list[int]]


def noise(length: int, seed: bytes = b"dedup1 chunker test") -> bytes:
    """Bytes that look random and are the same everywhere."""
    return blake3(seed).digest(length=length)


def vector_cuts(data: bytes | memoryview, sizes: ChunkSizes) -> list[int]:
    return _chunker.cuts(data, GEAR, *sizes, True)


def scalar_cuts(data: bytes | memoryview, sizes: ChunkSizes) -> list[int]:
    return _chunker.cuts_scalar(data, GEAR, *sizes, True)


def reference_cuts(data: bytes, sizes: ChunkSizes) -> list[int]:
    """The definition, word for word: no rolling, no skipping."""
    gear = struct.unpack("<256I", GEAR)
    strict = 2**32 // (sizes.average * 4)
    loose = 4 * 2**32 // sizes.average

    def ends(start: int, length: int) -> bool:
        last = start + length - 1
        value = sum(gear[data[last - k]] << k for k in range(32)) % 2**32
        return length == sizes.maximum or value < (strict if length < sizes.average else loose)

    cuts = [0]
    while cuts[-1] < len(data):
        start = cuts[-1]
        rest = len(data) - start
        lengths = range(sizes.minimum, min(sizes.maximum, rest) + 1)
        cuts.append(start + next((length for length in lengths if ends(start, length)), rest))
    return cuts[1:]


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts])]


@st.composite
def chunk_sizes(draw: st.DrawFn) -> ChunkSizes:
    average = 2 ** draw(st.integers(8, 11))
    return ChunkSizes(
        draw(st.integers(64, average - 1)), average, draw(st.integers(average + 1, average * 5))
    )


def piece(kind: str, length: int, seed: int) -> bytes:
    match kind:
        case "random":
            return random.Random(seed).randbytes(length)
        case "two values":
            return bytes(random.Random(seed).choices(b"\x00\xff", k=length))
        case "periodic":
            pattern = random.Random(seed).randbytes(1 + seed % 70)
            return (pattern * (length // len(pattern) + 1))[:length]
        case _:
            return bytes(length)


# Data of several textures, and long enough for the vector code, which looks at 512 bytes at a time.
pieces = st.builds(
    piece,
    st.sampled_from(["random", "two values", "periodic", "zeros"]),
    st.integers(0, 6000),
    st.integers(0, 2**32),
)
textures = st.lists(pieces, max_size=4).map(b"".join)


# Format 1 for ever: the cuts of noise(20_000), computed by reference_cuts.  Never to be changed.
GOLDEN = {
    ChunkSizes(64, 256, 1024): """
        348 676 857 1124 1477 1733 2036 2303 2569 2873 3247 3531 3788 4044 4402 4720 4978 5087 5401
        5683 5989 6307 6625 6889 7010 7292 7570 7680 8062 8357 8688 9115 9383 9658 9972 10289 10568
        10884 11146 11486 11588 11910 12198 12469 12730 12991 13257 13590 13854 14318 14625 14940
        15267 15369 15700 15980 16237 16498 16911 17188 17498 17737 18050 18414 18548 18862 19006
        19420 19750 20000
    """,
    ChunkSizes(100, 512, 999): """
        599 1124 1817 2515 3458 4044 4608 5087 5600 6599 7010 7570 8155 8804 9396 10293 10884 11588
        12198 12755 13348 13878 14404 14940 15369 15881 16498 17259 17780 18414 18955 19503 20000
    """,
    ChunkSizes(512, 1024, 4096): """
        1082 2663 4044 5087 7010 8062 9396 10625 11588 12755 13936 15040 16242 17385 18414 19503
        20000
    """,
    ChunkSizes(1000, 4096, 20000): """
        5087 10625 15369 20000
    """,
}


@pytest.mark.parametrize("cut", [vector_cuts, scalar_cuts, reference_cuts])
@pytest.mark.parametrize("sizes", GOLDEN)
def test_cuts_where_format_1_says(cut: Cut, sizes: ChunkSizes) -> None:
    expected = [int(offset) for offset in GOLDEN[sizes].split()]
    assert expected == cut(noise(20_000), sizes)


@pytest.mark.parametrize("cut", [vector_cuts, scalar_cuts])
def test_cuts_a_mebibyte_where_format_1_says(cut: Cut) -> None:
    """As above, shortened to the BLAKE3 of the offsets in decimal, joined by commas."""
    expected = "a724de3a26608e8dcd34738eb9c8f0db348829e9d7ba1226f4bf8e262109fe33"
    ends = ",".join(map(str, cut(noise(1 << 20), SIZES)))
    assert expected == blake3(ends.encode()).hexdigest()


def test_the_class_derives_the_gear_table_from_its_key() -> None:
    data = noise(1 << 18)
    assert vector_cuts(data, SIZES) == Chunker(KEY, SIZES).cuts(data, final=True)


@pytest.mark.parametrize("cut", [_chunker.cuts, _chunker.cuts_scalar])
@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 1024), (2**18 - 1, 1024), (2**18, 4096), (2**22 - 1, 4096), (2**22, 16384), (2**32 - 1, 16384)],
)
def test_a_chunk_ends_where_the_hash_is_below_the_threshold(
    cut: Callable[..., list[int]], value: int, expected: int
) -> None:
    """A table of 256 equal numbers g makes every hash g * (2^32 - 1), which is -g."""
    gear = struct.pack("<I", -value % 2**32) * 256
    assert expected == cut(noise(20_000), gear, *SIZES, False)[0]


@given(textures, chunk_sizes())
@settings(max_examples=30, deadline=None)
def test_agrees_with_the_definition(data: bytes, sizes: ChunkSizes) -> None:
    data = data[:8000]
    expected = reference_cuts(data, sizes)
    assert expected == vector_cuts(data, sizes)
    assert expected == scalar_cuts(data, sizes)


@given(textures, chunk_sizes(), st.integers(0, 64))
@settings(max_examples=300, deadline=None)
def test_vector_and_scalar_code_agree(data: bytes, sizes: ChunkSizes, offset: int) -> None:
    view = memoryview(data)[offset:]
    assert scalar_cuts(view, sizes) == vector_cuts(view, sizes)


@pytest.mark.parametrize("kind", ["random", "two values", "periodic", "zeros"])
def test_vector_and_scalar_code_agree_at_every_alignment(kind: str) -> None:
    data = memoryview(piece(kind, 100_000, 7))
    for start in range(128):
        view = data[start : len(data) - 3 * start]
        for sizes in (SIZES, ChunkSizes(65, 256, 2000)):
            assert scalar_cuts(view, sizes) == vector_cuts(view, sizes)


@given(textures, chunk_sizes(), st.lists(st.integers(1, 5000), min_size=1), st.booleans())
@settings(max_examples=200, deadline=None)
def test_cuts_do_not_depend_on_buffer_sizes(
    data: bytes, sizes: ChunkSizes, reads: list[int], empty_end: bool
) -> None:
    chunker = Chunker(KEY, sizes)
    found: list[int] = []
    tail = b""
    taken = 0
    for size in itertools.cycle(reads):
        base = taken - len(tail)
        buffer = tail + data[taken : taken + size]
        taken = min(taken + size, len(data))
        final = taken == len(data) and not empty_end
        cuts = chunker.cuts(buffer, final=final)
        found += [base + cut for cut in cuts]
        tail = buffer[cuts[-1] :] if cuts else buffer
        if taken == len(data):
            break
    if empty_end:
        found += [taken - len(tail) + cut for cut in chunker.cuts(tail, final=True)]
    assert chunker.cuts(data, final=True) == found


@given(textures, chunk_sizes())
@settings(deadline=None)
def test_every_chunk_keeps_the_bounds(data: bytes, sizes: ChunkSizes) -> None:
    cuts = Chunker(KEY, sizes).cuts(data, final=True)
    lengths = [len(chunk) for chunk in chunks(data, cuts)]
    assert len(data) == sum(lengths)
    assert all(sizes.minimum <= length <= sizes.maximum for length in lengths[:-1])
    assert all(0 < length <= sizes.maximum for length in lengths[-1:])


@given(textures, chunk_sizes())
@settings(deadline=None)
def test_the_unfinished_end_is_kept_back_unless_final(data: bytes, sizes: ChunkSizes) -> None:
    chunker = Chunker(KEY, sizes)
    settled = chunker.cuts(data, final=False)
    last = settled[-1] if settled else 0
    assert settled + ([len(data)] if last < len(data) else []) == chunker.cuts(data, final=True)
    assert len(data) - last < sizes.maximum
    assert settled == [cut for cut in chunker.cuts(data + noise(99), final=True) if cut <= last]


def test_no_bytes_make_no_chunks() -> None:
    chunker = Chunker(KEY, SIZES)
    assert not chunker.cuts(b"", final=True)
    assert not chunker.cuts(b"", final=False)


def test_fewer_bytes_than_the_minimum_are_one_chunk_at_the_end() -> None:
    chunker = Chunker(KEY, SIZES)
    for length in range(1, 100):
        assert [length] == chunker.cuts(bytes(length), final=True)
        assert not chunker.cuts(bytes(length), final=False)


def test_constant_bytes_are_cut_at_the_maximum() -> None:
    assert list(range(SIZES.maximum, 10 * SIZES.maximum + 1, SIZES.maximum)) == vector_cuts(
        bytes(10 * SIZES.maximum), SIZES
    )


def test_an_insertion_at_the_front_changes_only_the_first_chunks() -> None:
    data = noise(1 << 20)
    before = chunks(data, vector_cuts(data, SIZES))
    changed = b"inserted" + data
    after = chunks(changed, vector_cuts(changed, SIZES))
    assert len(set(before) - set(after)) <= 3
    assert before[3:] == after[-len(before[3:]) :]


def test_a_change_in_the_middle_changes_only_the_chunks_around_it() -> None:
    data = noise(1 << 20)
    changed = data[: 1 << 19] + b"!" + data[(1 << 19) + 1 :]
    before = set(chunks(data, vector_cuts(data, SIZES)))
    assert 1 <= len(before - set(chunks(changed, vector_cuts(changed, SIZES)))) <= 3


def test_another_key_cuts_elsewhere() -> None:
    data = noise(1 << 20)
    ours = set(Chunker(KEY, SIZES).cuts(data, final=False))
    theirs = set(Chunker(bytes(32), SIZES).cuts(data, final=False))
    assert len(ours & theirs) < len(ours) / 20


def test_the_average_is_near_what_was_asked_for() -> None:
    """Chances of strict below, loose above: 1/(4a) and 4/a a byte, from a minimum of a/4, give 1.13 a."""
    data = noise(16 << 20)
    mean = len(data) / len(vector_cuts(data, SIZES))
    assert 1.13 * SIZES.average == pytest.approx(mean, rel=0.05)


def test_takes_every_kind_of_contiguous_buffer() -> None:
    data = noise(50_000)
    chunker = Chunker(KEY, SIZES)
    expected = chunker.cuts(data, final=True)
    assert expected == chunker.cuts(bytearray(data), final=True)
    assert expected == chunker.cuts(memoryview(b"x" + data)[1:], final=True)
    with mmap.mmap(-1, len(data)) as mapped:
        mapped.write(data)
        with memoryview(mapped) as view:
            assert expected == chunker.cuts(view, final=True)


def test_lets_go_of_the_buffer() -> None:
    data = bytearray(100_000)
    Chunker(KEY, SIZES).cuts(data, final=True)
    with pytest.raises(ValueError, match="are refused"):
        _chunker.cuts(data, GEAR, 1, 2, 3, True)
    data.clear()  # BufferError if somebody still held it


def test_refuses_a_buffer_with_gaps() -> None:
    with pytest.raises(BufferError, match="contiguous"):
        Chunker(KEY, SIZES).cuts(memoryview(bytes(100_000))[::2], final=True)


def test_refuses_what_is_not_bytes() -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        Chunker(KEY, SIZES).cuts("text", final=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sizes",
    [
        (63, 256, 512),  # minimum too small
        (0, 256, 512),
        (-64, 256, 512),
        (64, 128, 512),  # average too small
        (64, 257, 512),  # no power of two
        (256, 256, 512),  # not ascending
        (64, 512, 512),
        (512, 256, 1024),
        (64, 256, (1 << 21) + 1),  # maximum too large
        (1 << 20, 1 << 21, 1 << 22),
        (64, 256, 1 << 70),
        (-(1 << 70), 256, 512),
    ],
)
def test_refuses_sizes_out_of_bounds(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="chunk size"):
        Chunker(KEY, ChunkSizes(*sizes))


@pytest.mark.parametrize("sizes", [(64, 256, 257), (255, 256, 257), (64, 1 << 20, 1 << 21)])
def test_takes_sizes_at_the_bounds(sizes: tuple[int, int, int]) -> None:
    data = noise(5 << 20)[: 300 * sizes[2]]
    sizes = ChunkSizes(*sizes)
    assert scalar_cuts(data, sizes) == Chunker(KEY, sizes).cuts(data, final=True)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_refuses_a_key_of_another_length(length: int) -> None:
    with pytest.raises(ValueError, match="32-byte key"):
        Chunker(bytes(length), SIZES)


@pytest.mark.parametrize("length", [0, 1023, 1025])
def test_refuses_a_gear_table_of_another_length(length: int) -> None:
    with pytest.raises(ValueError, match="gear table"):
        _chunker.cuts(b"", bytes(length), *SIZES, True)


def test_other_threads_run_while_it_scans() -> None:
    """With the switch interval out of reach, only a released GIL lets this thread see an unfinished scan."""
    chunker = Chunker(KEY, SIZES)
    data = bytes(64 << 20)
    interval = sys.getswitchinterval()
    deadline = time.monotonic() + 60
    seen_running = False
    sys.setswitchinterval(1000)
    try:
        while not seen_running and time.monotonic() < deadline:
            started = threading.Event()
            finished: list[bool] = []

            def scan(started: threading.Event = started, finished: list[bool] = finished) -> None:
                started.set()
                chunker.cuts(data, final=True)
                finished.append(True)

            thread = threading.Thread(target=scan)
            thread.start()
            started.wait()
            seen_running = not finished
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert seen_running


def test_threads_may_share_a_chunker_and_a_buffer() -> None:
    chunker = Chunker(KEY, SIZES)
    data = bytearray(noise(8 << 20))
    expected = chunker.cuts(data, final=True)
    results: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: results.append(chunker.cuts(data, final=True))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [expected] * 4 == results


def test_offsets_do_not_wrap_in_a_buffer_of_more_than_2_gib() -> None:
    size = (2 << 30) + 5
    largest = 1 << 21
    chunker = Chunker(KEY, ChunkSizes(1 << 19, 1 << 20, largest))
    # Never written to: every page is the one page of zeros, so this needs no memory.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
    with pages, memoryview(pages) as zeros:
        assert [*range(largest, size, largest), size] == chunker.cuts(zeros, final=True)


def test_reports_that_memory_ran_out() -> None:
    """A million cuts need about 40 MB, which the process does not get."""
    program = """
import resource
from dedupstore.chunks.chunker import Chunker, ChunkSizes
chunker = Chunker(bytes(32), ChunkSizes(64, 256, 257))
data = bytes(257_000_000)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20),) * 2)
try:
    chunker.cuts(data, final=True)
except MemoryError:
    print("out of memory")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    expected = "out of memory\n"
    assert expected == result.stdout
