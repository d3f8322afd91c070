"""What both splitters promise whatever the format, and how vnodes of one dump succeed those of another."""

import io
import random
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.splitters import AfsSplitter, Succession, TarSplitter, succeed
from tests.afsdump import make_dump
from tests.pipelines.formats.splitter_reference import RECORD
from tests.store import World, begin, noise

SAMPLES = Path(__file__).parents[2] / "data" / "afs"
WHOLE, DATA = 1, 2
both = pytest.mark.parametrize("splitter_of", [AfsSplitter, TarSplitter])


@both
def test_takes_every_kind_of_buffer(splitter_of: type[AfsSplitter | TarSplitter]) -> None:
    data = bytes(100)
    assert splitter_of().split(data, True) == splitter_of().split(bytearray(data), True)
    assert splitter_of().split(data, True) == splitter_of().split(memoryview(data), True)
    with pytest.raises(TypeError, match="bytes-like"):
        splitter_of().split("text", True)  # type: ignore[arg-type]
    with pytest.raises(BufferError, match="contiguous"):
        splitter_of().split(memoryview(data)[::2], True)


@both
def test_lets_go_of_the_buffer(splitter_of: type[AfsSplitter | TarSplitter]) -> None:
    data = bytearray(1000)
    splitter_of().split(data, True)
    data.clear()  # BufferError if somebody still held it


@both
def test_nothing_follows_the_end(splitter_of: type[AfsSplitter | TarSplitter]) -> None:
    splitter = splitter_of()
    assert b"" == splitter.split(b"", True)
    with pytest.raises(ValueError, match="ended already"):
        splitter.split(b"", True)


@pytest.mark.parametrize(
    "call", [AfsSplitter.vnodes, AfsSplitter.header, lambda splitter: splitter.split(b"", False)]
)
def test_other_threads_run_meanwhile_but_may_not_use_the_same_splitter(
    call: Callable[[AfsSplitter], object],
) -> None:
    """With the switch interval out of reach, only a released GIL lets this thread see an unfinished walk."""
    interval = sys.getswitchinterval()
    deadline = time.monotonic() + 60
    refusal = ""
    splitter = AfsSplitter()
    data = (SAMPLES / "1-empty.dump").read_bytes()[:-5]
    splitter.split(data + b"\3\0\0\0\2\0\0\0\2t\1h\7" + bytes(7), False)
    zeros = bytes(256 << 20)
    sys.setswitchinterval(1000)
    try:
        while not refusal and time.monotonic() < deadline:
            started = threading.Event()

            def walk(started: threading.Event = started) -> None:
                started.set()
                splitter.split(zeros, False)

            thread = threading.Thread(target=walk)
            thread.start()
            started.wait()
            try:
                call(splitter)
            except RuntimeError as error:
                refusal = str(error)
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert "another thread is using this splitter" == refusal
    splitter.split(b"", True)
    assert "it stops in or after vnode 2.2, without its end mark" == splitter.reason


def test_reports_that_memory_ran_out() -> None:
    """Vnodes are all that is kept, 32 bytes for each: ten million do not fit."""
    program = """
import resource
from pipelines.formats.splitters import AfsSplitter
splitter = AfsSplitter()
splitter.split(bytes.fromhex("01b3a113220000000102"), False)
vnodes = bytes.fromhex("030000000200000002") * 10_000
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
for attempt in range(2):
    try:
        for _ in range(1000):
            splitter.split(vnodes, False)
    except (MemoryError, ValueError) as error:
        print(type(error).__name__)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    expected = "MemoryError\nValueError\n"
    assert expected == result.stdout


def test_a_file_is_the_same_chunks_in_a_dump_and_in_a_tar(tmp_path: Path) -> None:
    files = {"a": noise(512, 1), "folder/b": noise(100_000, 2), "c": noise(700, 3), "d": noise(300, 4)}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    sources = {"dump": make_dump("v", 7, files), "tar": archive.getvalue()}
    world = World(tmp_path)
    with world.open(world.writer) as repository, begin(repository) as session:
        dump = session.put("dump", io.BytesIO(sources["dump"]), splitter=AfsSplitter())
        tar_stream = session.put("tar", io.BytesIO(sources["tar"]), splitter=TarSplitter())
        session.finish()
    assert 512 + 100_000 + 700 == dump.content.size
    assert dump.content == tar_stream.content
    assert sources == {name: world.get(name) for name in sources}


def column(*records: tuple[int, ...]) -> bytes:
    """Make records of (vnode, unique, data version, flags, length, hash)."""
    return b"".join(RECORD.pack(*record) for record in records)


def vnodes_of(name: str) -> bytes:
    splitter = AfsSplitter()
    splitter.split((SAMPLES / name).read_bytes(), True)
    return splitter.vnodes()


def test_an_incremental_succeeds_its_parent() -> None:
    full, after = vnodes_of("2-full.dump"), vnodes_of("6-full-backup-after.dump")
    for incremental in ("3-incr.dump", "3-incr-omitdirs.dump"):
        succession = succeed(full, vnodes_of(incremental))
        assert Succession(after, 0, None, [], 0) == succession
        nothing_changed = succeed(succession.state, vnodes_of("4-incr-nothing-changed.dump"))
        assert Succession(after, 0, None, [], 0) == nothing_changed


def test_a_bare_vnode_without_its_like_in_the_parent_is_missing() -> None:
    parent = column((1, 1, 5, 3, 9, 9), (2, 2, 5, 3, 9, 9), (6, 6, 5, 3, 9, 9))
    child = column((1, 1, 0, 0, 0, 0), (2, 3, 0, 0, 0, 0), (4, 4, 0, 0, 0, 0), (6, 6, 0, 0, 0, 0))
    state = column((1, 1, 5, 3, 9, 9), (2, 3, 0, 0, 0, 0), (4, 4, 0, 0, 0, 0), (6, 6, 5, 3, 9, 9))
    assert Succession(state, 2, (2, 3), [], 0) == succeed(parent, child)


@pytest.mark.parametrize(
    ("before", "now", "altered"),
    [
        ((2, 2, 5, 3, 9, 9), (2, 2, 5, 3, 9, 9), []),
        ((2, 2, 5, 3, 9, 9), (2, 2, 5, 3, 9, 8), [2]),
        ((2, 2, 5, 3, 9, 9), (2, 2, 5, 3, 8, 9), [2]),
        ((2, 2, 5, 3, 9, 9), (2, 2, 6, 3, 8, 8), []),  # a new data version
        ((2, 2, 5, 3, 9, 9), (2, 3, 5, 3, 8, 8), []),  # another file
        ((2, 2, 5, 1, 0, 0), (2, 2, 5, 3, 8, 8), []),  # no data
        ((2, 2, 5, 3, 9, 9), (2, 2, 5, 1, 0, 0), []),
        ((2, 2, 0, 0, 0, 0), (2, 2, 0, 3, 8, 8), []),  # never seen whole
    ],
)
def test_new_data_under_an_old_data_version_are_altered(
    before: tuple[int, ...], now: tuple[int, ...], altered: list[int]
) -> None:
    expected = Succession(column(now), 0, None, altered, len(altered))
    assert expected == succeed(column(before), column(now))


def test_names_a_hundred_altered_vnodes_and_counts_the_rest() -> None:
    numbers = range(2, 2 + 2 * 150, 2)
    before = column(*((number, 1, 1, 3, 9, 9) for number in numbers))
    now = column(*((number, 1, 1, 3, 9, 8) for number in numbers))
    assert Succession(now, 0, None, list(numbers[:100]), 150) == succeed(before, now)


flags = st.sampled_from([0, WHOLE, WHOLE | DATA])
records = st.tuples(
    st.integers(0, 9), st.integers(0, 2), st.integers(0, 1), flags, st.integers(0, 1), st.integers(0, 1)
)
unlike = st.lists(records, max_size=20, unique_by=lambda record: record[:2])


@given(unlike, unlike, st.booleans())
def test_succession_is_what_a_look_up_by_name_gives(
    before: list[tuple[int, ...]], now: list[tuple[int, ...]], ordered: bool
) -> None:
    if ordered:
        before.sort(key=lambda record: (record[0] % 2 == 0, record))
        now.sort(key=lambda record: (record[0] % 2 == 0, record))
    known = {record[:2]: record for record in before}
    bare = [record for record in now if not record[3]]
    missing = [(record[0], record[1]) for record in bare if record[:2] not in known]
    state = [known.get(record[:2], record) if record in bare else record for record in now]
    altered = [
        record[0]
        for record in now
        if (old := known.get(record[:2])) and old[2:4] == record[2:4] and record[3] & DATA and old != record
    ]
    expected = Succession(
        column(*state), len(missing), missing[0] if missing else None, altered, len(altered)
    )
    assert expected == succeed(column(*before), column(*now))


def test_finds_vnodes_in_large_columns_in_any_order() -> None:
    source = random.Random(1)
    numbers = source.sample(range(1, 10**6), 20_000)
    before = [(number, 1, 7, 3, number, number) for number in numbers]
    source.shuffle(numbers)
    now = column(*((number, 1, 0, 0, 0, 0) for number in numbers))
    state = column(*((number, 1, 7, 3, number, number) for number in numbers))
    assert Succession(state, 0, None, [], 0) == succeed(column(*before), now)


@pytest.mark.parametrize("lengths", [(31, 32), (32, 33), (1, 0)])
def test_refuses_what_is_no_column(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="records of 32 bytes"):
        succeed(bytes(lengths[0]), bytes(lengths[1]))
