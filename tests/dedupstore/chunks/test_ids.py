"""Ids of many chunks at once are those that BLAKE3 gives each, however they share the processor's lanes."""

import runpy
import subprocess
from array import array
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.chunks import _identify, ids
from tests.store import noise

KEY = bytes(range(32))
DATA = memoryview(noise(200_000))
EDGES = [
    edge + more for edge in (0, 64, 1024, 2048, 8192, 16384, 17408) for more in (-1, 0, 1) if edge + more >= 0
]
CHUNK = st.tuples(st.integers(0, 100_000), st.sampled_from(EDGES) | st.integers(0, 100_000))


def one_by_one(starts: list[int], ends: list[int]) -> list[bytes]:
    return [blake3(DATA[start:end], key=KEY).digest() for start, end in zip(starts, ends, strict=True)]


@given(st.lists(CHUNK, max_size=60))
def test_each_chunk_has_the_id_that_it_would_have_alone(chunks: list[tuple[int, int]]) -> None:
    starts, ends = [start for start, _ in chunks], [start + length for start, length in chunks]
    assert one_by_one(starts, ends) == ids.identify(DATA, starts, ends, KEY)


def test_more_chunks_than_are_worked_on_together_and_the_largest_one() -> None:
    data = memoryview(noise(2 << 20))
    starts, ends = [0] * 9 + [5] * 40, [2 << 20] * 9 + [1_000_000] * 40
    whole, part = blake3(data, key=KEY).digest(), blake3(data[5:1_000_000], key=KEY).digest()
    assert [whole] * 9 + [part] * 40 == ids.identify(data, starts, ends, KEY)


def test_ids_are_the_same_where_the_fast_way_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_side_by_side", None)
    assert one_by_one([0, 7, 70_000], [0, 40_000, 90_000]) == ids.identify(
        DATA, [0, 7, 70_000], [0, 40_000, 90_000], KEY
    )


def column(*offsets: int) -> bytes:
    return array("Q", offsets).tobytes()


@pytest.mark.parametrize(
    ("starts", "ends", "key"),
    [
        (column(0), column(200_001), KEY),  # ends behind the data
        (column(2), column(1), KEY),
        (column(2**64 - 1), column(5), KEY),
        (column(0, 1), column(5), KEY),
        (b"1234567", b"1234567", KEY),
        (column(0), column(5), KEY[1:]),
        (column(3), column(2), KEY),
    ],
)
def test_what_are_no_chunks_of_the_data_is_refused(starts: bytes, ends: bytes, key: bytes) -> None:
    with pytest.raises(ValueError, match="no chunks"):
        _identify.identify(DATA, starts, ends, key)


def test_a_chunk_above_the_largest_is_refused() -> None:
    with pytest.raises(ValueError, match="no chunks"):
        _identify.identify(bytes((2 << 20) + 1), column(0), column((2 << 20) + 1), KEY)


@pytest.mark.parametrize("optimised", ["-O1", "-O3"])
def test_reads_no_byte_outside_and_does_nothing_undefined(optimised: str, tmp_path: Path) -> None:
    here = Path(__file__).parent
    setup = runpy.run_path(str(here.parents[2] / "setup.py"))
    library = setup["blake3_folder"]()
    sources = [library / "blake3.c", *setup["blake3_sources"](library)]
    program = tmp_path / "driver"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    command = ["cc", "-std=c11", optimised, *warnings, *sanitizers, f"-I{library}"]
    command += [
        f"-I{here.parents[2] / 'dedupstore/chunks'}",
        "-o",
        str(program),
        str(here / "identify_driver.c"),
    ]
    subprocess.run([*command, *sources], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


def test_columns_that_could_change_meanwhile_are_refused() -> None:
    with pytest.raises(TypeError):
        _identify.identify(DATA, bytearray(column(0)), column(5), KEY)  # type: ignore[arg-type]
