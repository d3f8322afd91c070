"""Merging dumps: the result is the full dump that the volume server would have made instead of the last one."""

import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats.afs.merge import check, merge
from pipelines.formats.afs.tree import entries
from pipelines.formats.stream import FileStream
from tests.pipelines.formats.afs.model import END, Volume, history
from tests.pipelines.formats.afs.pieces import THRESHOLD, PieceStream

SAMPLES = Path(__file__).parents[3] / "data" / "afs"
START = 1_700_000_000


def merged(*dumps: bytes) -> bytes:
    return b"".join(merge([PieceStream(dump) for dump in dumps]))


@pytest.mark.parametrize(
    "chain",
    [
        ["2-full", "3-incr"],
        ["2-full", "3-incr-omitdirs"],
        ["2-full", "3-incr", "4-incr-nothing-changed"],
        ["2-full", "3-incr-omitdirs", "4-incr-nothing-changed"],
        ["6-full-backup-after"],
    ],
    ids=" ".join,
)
def test_merging_what_a_volume_server_wrote_gives_what_it_wrote_as_a_full(chain: list[str]) -> None:
    expected = (SAMPLES / "6-full-backup-after.dump").read_bytes()
    assert expected == merged(*((SAMPLES / f"{name}.dump").read_bytes() for name in chain))


@given(st.integers(0, 1 << 32), st.integers(1, 6))
def test_any_history_merges_to_the_full_dump_of_its_end(seed: int, dumps: int) -> None:
    volume, made = history(seed, dumps)
    streams = [PieceStream.of(parts) for parts in made]
    assert volume.dump() == b"".join(merge(streams))
    contents = [node.content for node in volume.nodes.values() if len(node.content) >= THRESHOLD]
    assert sum(map(len, contents)) == sum(stream.fetched for stream in streams)


@given(st.integers(0, 1 << 32), st.integers(1, 4))
def test_checking_fetches_no_contents(seed: int, dumps: int) -> None:
    streams = [PieceStream.of(parts) for parts in history(seed, dumps)[1]]
    check(streams)
    assert 0 == sum(stream.fetched for stream in streams)


def test_large_contents_come_in_pieces_and_small_ones_together() -> None:
    volume = Volume()
    volume.write(1, b"large", bytes(3_000_000))
    for n in range(100):
        volume.write(1, b"%d" % n, b"small")
    with_sizes = [len(piece) for piece in merge([PieceStream(volume.dump())])]
    assert len(volume.dump()) == sum(with_sizes)
    assert max(with_sizes) < 500_000
    assert len(with_sizes) < 25


def test_contents_of_more_than_four_gigabytes_are_stepped_over(tmp_path: Path) -> None:
    size = (1 << 32) + 4097
    volume = Volume(now=START - 10)
    volume.write(1, b"huge", b"")
    volume.now = START
    before, after = volume.dump().split(struct.pack(">cI", b"f", 0))
    volume.now += 1
    volume.write(1, b"small", b"")
    with (tmp_path / "huge").open("w+b") as file:
        file.write(before + struct.pack(">cQ", b"h", size))
        file.truncate(file.tell() + size)
        file.seek(0, 2)
        file.write(after)
        file.seek(0)
        found = [entry for entry, _ in entries(FileStream(file), PieceStream(volume.dump(START)))]
    assert [(b"", 2048), (b"huge", size), (b"small", 0)] == [(entry.path, entry.size) for entry in found]


def test_a_length_of_eight_bytes_stays_one() -> None:
    volume = Volume()
    volume.write(1, b"file", b"content")
    large = volume.dump().replace(struct.pack(">cI", b"f", 7), struct.pack(">cQ", b"h", 7))
    assert large == merged(large)


# -- what does not chain ----------------------------------------------------------------------------------


class Chain:
    """Three dumps, a day apart, of a volume with one file that never changes; a test spoils them."""

    def __init__(self) -> None:
        self.volume = Volume("user.x", now=START - 10)
        self.volume.write(1, b"kept", b"kept")
        self.volume.now = START
        self.full = self.volume.dump()
        self.first = self.day(1)
        self.second = self.day(2)

    def day(self, number: int, since: int | None = None) -> bytes:
        """The incremental of a day."""
        self.volume.now = START + number * 86400
        self.volume.write(1, b"daily", b"%d" % number)
        since = self.volume.now - 86400 if since is None else since
        return self.volume.dump(since)


def shown(seconds: int) -> str:
    return f"{time.strftime('%Y.%m.%dT%H:%M:%S', time.localtime(seconds))} ({seconds})"


def spoil_start(chain: Chain) -> list[bytes]:
    return [chain.first, chain.second]


def spoil_gap(chain: Chain) -> list[bytes]:
    return [chain.full, chain.second]


def spoil_order(chain: Chain) -> list[bytes]:
    overlapping = chain.day(3, since=START)
    return [chain.full, overlapping, chain.first]


def spoil_second_full(chain: Chain) -> list[bytes]:
    return [chain.full, chain.first, chain.volume.dump()]


def spoil_volume(chain: Chain) -> list[bytes]:
    chain.volume.parent = 7
    return [chain.full, chain.day(1)]


def spoil_creation(chain: Chain) -> list[bytes]:
    chain.volume.created += 5
    return [chain.full, chain.day(1)]


def spoil_uniquifier(chain: Chain) -> list[bytes]:
    chain.volume.unique -= 2
    return [chain.full, chain.first, chain.volume.dump(START + 86400, until=START + 2 * 86400)]


def spoil_vnode(chain: Chain) -> list[bytes]:
    """Between the full and the incremental a file was made, which only a dump that is not there has."""
    chain.volume.now += 100
    chain.volume.write(1, b"between", b"")
    return [chain.full, chain.day(3, since=START)[:-5].replace(_whole(chain), _bare(chain)) + END]


def _whole(chain: Chain) -> bytes:
    number = chain.volume.nodes[1].names[b"between"]
    return b"".join(chain.volume.vnode(chain.volume.nodes[number]))


def _bare(chain: Chain) -> bytes:
    return _whole(chain)[:9]


DAYS = [shown(START + day * 86400) for day in range(4)]
CASES: dict[str, tuple[Callable[[Chain], list[bytes]], str]] = {
    "no full": (
        spoil_start,
        f"the incremental dump of user.x from {DAYS[0]} to {DAYS[1]} has nothing to build on; "
        f"the full dump is missing, and every dump from it up to {DAYS[0]}",
    ),
    "a gap": (
        spoil_gap,
        f"the incremental dump of user.x from {DAYS[1]} to {DAYS[2]} does not follow the full dump of user.x up "
        f"to {DAYS[0]}; a dump is missing that begins at {DAYS[0]} or before and ends at {DAYS[1]} or later",
    ),
    "wrong order": (
        spoil_order,
        f"the incremental dump of user.x from {DAYS[0]} to {DAYS[1]} is older than the incremental dump of user.x "
        f"from {DAYS[0]} to {DAYS[3]} before it; ",
    ),
    "two fulls": (
        spoil_second_full,
        f"the full dump of user.x up to {DAYS[2]} comes after the incremental dump of user.x "
        f"from {DAYS[0]} to {DAYS[1]}; ",
    ),
    "another volume": (
        spoil_volume,
        f"from {DAYS[0]} to {DAYS[1]} is of volume 7, but the full dump of user.x up to {DAYS[0]} "
        "before it of 536870930",
    ),
    "created anew": (
        spoil_creation,
        f"created at {shown(START - 5)}, but the full dump of user.x up to {DAYS[0]}",
    ),
    "an older state": (
        spoil_uniquifier,
        "has uniquifier 201, less than the 203 of the incremental dump of user.x",
    ),
    "a vnode that was never dumped": (
        spoil_vnode,
        f"names vnode 6 of uniquifier 4 as unchanged, but the full dump of user.x up to {DAYS[0]} does not have it; ",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), CASES.values(), ids=CASES)
def test_refuses_what_does_not_chain_and_says_why(
    spoil: Callable[[Chain], list[bytes]], message: str
) -> None:
    dumps = spoil(Chain())
    for work in (lambda: merged(*dumps), lambda: check([PieceStream(dump) for dump in dumps])):
        with pytest.raises(StreamError, match=re.escape(message)):
            work()


def test_a_chain_that_was_not_spoiled_is_accepted() -> None:
    chain = Chain()
    assert chain.volume.dump() == merged(chain.full, chain.first, chain.second)


def test_headers_that_do_not_chain_are_refused_before_a_byte_comes_out() -> None:
    chain = Chain()
    with pytest.raises(StreamError, match="does not follow"):
        merge([PieceStream(chain.full), PieceStream(chain.second)])


def test_a_clone_is_newer_each_time_and_may_be_renamed() -> None:
    volume = Volume("user.old.backup")
    volume.kind, volume.parent = 2, 9
    full = volume.dump()
    volume.name, volume.number = "user.new.backup", volume.number + 1
    volume.now = volume.created = START + 86400
    assert volume.dump() == merged(full, volume.dump(START))


def test_a_vnode_that_was_gone_in_between_is_not_raised_from_the_dead() -> None:
    chain = Chain()
    gone = chain.first.replace(struct.pack(">BII", 3, 2, 2), b"")
    with pytest.raises(
        StreamError, match="names vnode 2 of uniquifier 2 as unchanged, but the incremental dump"
    ):
        merged(chain.full, gone, chain.second)


def test_a_vnode_of_the_same_number_is_not_taken_for_another() -> None:
    chain = Chain()
    other = chain.first.replace(struct.pack(">BII", 3, 2, 2), struct.pack(">BII", 3, 2, 1))
    with pytest.raises(StreamError, match="has another one there, of uniquifier 2"):
        merged(chain.full, other)


@pytest.mark.parametrize("unique", [3, 0x103, 0x1000003])
def test_another_vnode_is_noticed_in_the_middle_of_many_that_are_the_same(unique: int) -> None:
    volume = Volume("user.x", now=START - 10)
    for n in range(1000):
        volume.write(1, b"%d" % n, b"")
    dumps = [volume.dump(until=START), *(volume.dump(START, until=START + day) for day in (1, 2))]
    assert volume.dump(until=START + 2) == merged(*dumps)
    vnode = struct.pack(">BII", 3, 1002, 502)
    dumps[1] = dumps[1].replace(vnode, struct.pack(">BII", 3, 1002, 502 ^ unique))
    message = f"names vnode 1002 of uniquifier 502 as unchanged, .* of uniquifier {502 ^ unique};"
    with pytest.raises(StreamError, match=message):
        merged(*dumps)


def test_a_full_that_is_not_full_is_refused() -> None:
    chain = Chain()
    bare = chain.first.replace(
        struct.pack(">HII", 2, START, START + 86400), struct.pack(">HII", 2, 0, START + 86400)
    )
    with pytest.raises(
        StreamError, match=r"names vnode 2 of uniquifier 2 as unchanged, but .* does not have it whole"
    ):
        merged(bare)


def test_another_order_of_vnodes_is_refused() -> None:
    volume = Volume()
    volume.write(1, b"a", b"")
    head, *vnodes, end = (first + second for first, second in volume.parts())
    for wrong in (vnodes[::-1], [*vnodes, vnodes[-1]]):
        with pytest.raises(StreamError, match="not in the order in which volume servers dump"):
            merged(b"".join([head, *wrong, end]))
