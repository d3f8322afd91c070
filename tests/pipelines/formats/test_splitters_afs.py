"""The splitter of volume dumps, held against a slow parse of the same bytes that shares nothing with it."""

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.formats.splitters import AfsSplitter, DumpFacts
from tests import afsdump
from tests.pipelines.formats.splitter_reference import RECORD, Range, Walk, ranges, split_at, walk_dump, xxh64

SAMPLES = sorted((Path(__file__).parents[2] / "data" / "afs").glob("*.dump"))
BEGIN = bytes.fromhex("01b3a1132200000001")
END = bytes.fromhex("043a214b6e")
FULL = next(path for path in SAMPLES if path.name == "2-full.dump").read_bytes()

cuts = st.lists(st.integers(0, 4000), max_size=12)
longs = st.integers(0, 2**32 - 1).map(lambda number: struct.pack(">I", number))


def walked(data: bytes, at: list[int]) -> Walk:
    splitter = AfsSplitter()
    found = split_at(splitter, data, at)
    records = list(RECORD.iter_unpack(splitter.vnodes()))
    return Walk(found, splitter.unparsed, splitter.complete, splitter.trailing, records)


def vnode(number: int, *fields: bytes) -> bytes:
    return struct.pack(">BII", 3, number, number + 1000) + b"".join(fields)


def dump(*vnodes: bytes, header: bytes = b"", volume: bytes = b"", end: bytes = END) -> bytes:
    times = b"t" + struct.pack(">HII", 2, 3, 4)
    return BEGIN + b"v\0\0\0\7nname\0" + times + header + b"\2i\0\0\0\7" + volume + b"".join(vnodes) + end


def number(tag: str, value: int) -> bytes:
    return tag.encode() + struct.pack(">I", value)


def file(data: bytes) -> bytes:
    return b"t\1" + number("f", len(data)) + data


def contents(size: int) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda seed, length: random.Random(seed).randbytes(length),
            st.integers(0, 9),
            st.integers(500, size),
        ),
    )


unknown_fields = st.one_of(
    st.builds(
        lambda tag, data: bytes([tag, len(data)]) + data,
        st.sampled_from([0x15, 0x31, 0x42, 0x60]),
        st.binary(max_size=127),
    ),
    st.builds(
        lambda width, data: bytes([0x2A, 0x80 + width]) + len(data).to_bytes(width) + data,
        st.integers(2, 9),
        st.binary(max_size=300),
    ),
    longs.map(lambda value: b"k" + value),
    st.sampled_from([b"\x7b", b"\x7f", b"\x2a\x80", b"\x7e", b"\x7e\x7b", b"\x80", b"\xff", b"\x06"]),
    st.sampled_from([b"\x06\0", b"\x14\2ab", b"\x05\x80", b"\x05\x81\1a", b"\x7e\x07\0"]),
)
vnode_fields = st.one_of(
    longs.map(lambda value: b"v" + value),
    st.binary(min_size=192, max_size=192).map(lambda rights: b"A" + rights),
    st.sampled_from([b"t\1", b"t\1", b"t\1", b"t\2", b"t\3", b"l\0\1", b"b\1\2", b"f\0\0\0\0"]),
    contents(2000).map(lambda data: number("f", len(data)) + data),
    contents(2000).map(lambda data: b"h" + struct.pack(">Q", len(data)) + data),
    st.just(b"h" + b"\xff" * 8),
    unknown_fields,
)
header_fields = st.one_of(
    st.binary(max_size=9).map(lambda name: b"n" + name.replace(b"\0", b"0") + b"\0"),
    longs.map(lambda value: b"v" + value),
    st.integers(0, 5).map(lambda count: b"t" + struct.pack(">H", count) + bytes(4 * count)),
    unknown_fields,
)
volume_fields = st.one_of(
    st.tuples(st.sampled_from("ivupcqmdfaoCAUEBDZV"), longs).map(lambda pair: pair[0].encode() + pair[1]),
    st.sampled_from([b"s\1", b"b\1", b"t\2", b"nname\0", b"Ooff\0", b"M\0", b"W\0\2" + bytes(8), b"W\0\0"]),
    unknown_fields,
)


def joined(fields: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(fields, max_size=4).map(b"".join)


dumps = st.builds(
    lambda header, volume, vnodes, end: dump(*vnodes, header=header, volume=volume, end=end),
    joined(header_fields),
    joined(volume_fields),
    st.lists(st.builds(vnode, st.integers(1, 99), joined(vnode_fields)), max_size=5),
    st.sampled_from(
        [
            *(END, END, b"\5\3abc" + END, b"\x14\x81\2ab" + END, b"", END[:-1], END + b"more", END + END),
            *(END[:4] + b"!", b"\1", b"\2", b"\5", b"\6\x80" + END, b"\5\x7f" + END),
        ]
    ),
)


@settings(max_examples=400)
@given(dumps, cuts)
def test_finds_in_any_dump_what_the_slow_parser_finds(data: bytes, at: list[int]) -> None:
    assert walk_dump(data) == walked(data, at)


@given(st.one_of(st.binary(), st.binary().map(lambda rest: BEGIN + rest)), cuts)
def test_takes_any_bytes(data: bytes, at: list[int]) -> None:
    assert walk_dump(data) == walked(data, at)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_understands_what_a_volume_server_wrote(sample: Path) -> None:
    data = sample.read_bytes()
    expected = walk_dump(data)
    assert (None, True, 0) == (expected.unparsed, expected.complete, expected.trailing)
    assert expected == walked(data, [])
    assert expected == walked(data, list(range(len(data))))
    known = afsdump.parse(data)
    assert [(*name, bool(fields)) for name, fields in known.vnodes.items()] == [
        (number, unique, bool(flags & 1)) for number, unique, _, flags, _, _ in expected.vnodes
    ]


@given(st.data())
def test_loses_no_byte_of_a_damaged_dump(data: st.DataObject) -> None:
    damaged = FULL
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 300), st.integers(0, len(damaged))))
        removed = data.draw(st.one_of(st.integers(0, 30), st.just(len(damaged))))
        inserted = data.draw(st.binary(max_size=30))
        damaged = damaged[:place] + inserted + damaged[place + removed :]
    at = data.draw(st.lists(st.integers(0, len(damaged)), max_size=5))
    assert walk_dump(damaged) == walked(damaged, at)


def test_cuts_files_out_at_their_first_and_last_byte() -> None:
    files = {"a": b"a" * 511, "b": b"b" * 512, "d/c": b"c" * 5000, "d/e": b""}
    data = afsdump.make_dump("v", 7, files)
    found = ranges(AfsSplitter().split(data, True))
    assert [512, 5000] == [part.length for part in found if part.content and part.ends]
    first, second = data.index(b"b" * 512), data.index(b"c" * 5000)
    expected = [(first, False), (512, True), (second - first - 512, False), (5000, True)]
    expected.append((len(data) - second - 5000, False))
    assert expected == [(part.length, part.content) for part in found]


def test_leaves_folders_and_links_in_the_skeleton() -> None:
    text = b"#" + bytes(2999)
    data = dump(vnode(1, b"t\2", number("f", 3000), text), vnode(2, b"t\3", number("f", 3000), text))
    assert [Range(len(data), False)] == ranges(AfsSplitter().split(data, True))


def test_every_field_that_volserver_writes_may_be_critical() -> None:
    def critical(tags: str, value: bytes) -> bytes:
        return b"".join(b"\x7e" + tag.encode() + value for tag in tags)

    header = critical("v", bytes(4)) + critical("n", b"x\0") + critical("t", b"\0\2" + bytes(8))
    volume = critical("ivupcqmdfaoCAUEBDZV", bytes(4)) + critical("sbt", b"\1")
    volume += critical("nOM", b"x\0") + critical("W", b"\0\1" + bytes(4))
    fields = critical("vmsaogpf", bytes(4)) + critical("lb", bytes(2)) + critical("t", b"\1")
    fields += critical("A", bytes(192)) + critical("h", bytes(8))
    data = dump(vnode(2, fields), header=header, volume=volume)
    assert ([Range(len(data), False)], None, True) == walked(data, [])[:3]


def test_nonsense_right_behind_a_file_is_a_piece_of_its_own() -> None:
    data = dump(vnode(2, file(bytes(600))), end=b"\xff" * 9)
    assert [Range(600, True, True), Range(9, True)] == walked(data, [])[0][1:]


def test_says_what_the_headers_say() -> None:
    volume = b"u\0\0\0\1t\2p\0\0\0\2c\0\0\0\3C\0\0\0\4U\0\0\0\5B\0\0\0\6A\0\0\0\x08nother\0"
    splitter = AfsSplitter()
    splitter.split(dump(volume=volume, end=b""), False)
    assert None is splitter.header()
    splitter.split(END, False)
    assert DumpFacts(7, b"name", 3, 4, 7, 1, 2, 2, 3, 4, 5, 6, 8) == splitter.header()


def test_keeps_the_beginning_of_an_endless_name() -> None:
    splitter = AfsSplitter()
    data = BEGIN + b"n" + b"x" * 100_000 + b"\0nsecond\0\2" + END
    split_at(splitter, data, list(range(0, len(data), 100)))
    header = splitter.header()
    assert header is not None
    assert b"x" * 255 == header.name
    assert splitter.complete


@pytest.mark.parametrize(
    ("data", "unparsed", "reason"),
    [
        (b"\x1f\x8b" + bytes(100), 0, "it does not begin as a volume dump"),
        (BEGIN[:4] + b"!" + bytes(100), 8, "it does not begin as a volume dump"),
        (dump(vnode(2, b"\x7e\x15")), None, "a vnode's tag 0x15 is unknown and critical"),
        (dump(vnode(2, b"\x80")), None, "a vnode has the impossible tag 0x80"),
        (dump(volume=b"\xfe"), None, "a volume header has the impossible tag 0xfe"),
        (dump(vnode(2, b"\x2a\x89")), None, "a vnode has a length that takes 9 bytes"),
        (dump(vnode(2, b"\x2a\x88" + b"\x80" + bytes(7))), None, "a vnode's field claims 2^63 bytes or more"),
        (dump(vnode(2, b"h\x80" + bytes(7))), None, "a vnode claims data of 2^63 bytes or more"),
        (dump(header=b"t\0\3"), None, "a dump header has an odd number of times, 3"),
        (dump(end=b"\1"), None, "a volume header is followed by tag 0x01"),
        (dump(vnode(2, b"\x2a\x80")), None, "a vnode has a field of a length that is not said"),
        (dump(end=b"\5\x80"), None, "a volume header has a field of a length that is not said"),
        (dump(end=b"\5\x89"), None, "a volume header has a length that takes 9 bytes"),
        (dump(vnode(2, b"\x7e\5\0")), None, "after a vnode, section 0x05 is unknown and critical"),
        (dump(vnode(2, b"\5\0v")), None, "a section that is not known is followed by tag 0x76"),
        (dump(end=b"\4ABCD"), None, "its end mark is wrong: 0x41424344"),
    ],
)
def test_says_where_and_why_it_gave_up(data: bytes, unparsed: int | None, reason: str) -> None:
    splitter = AfsSplitter()
    found = split_at(splitter, data, [])
    assert reason == splitter.reason
    assert not splitter.complete
    assert splitter.unparsed == (walk_dump(data).unparsed if unparsed is None else unparsed)
    assert Range(len(data) - (splitter.unparsed or 0), True) == found[-1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it stops in or after its dump header, without its end mark"),
        (dump(end=b""), "it stops in or after its volume header, without its end mark"),
        (
            dump(vnode(6, file(bytes(600))), end=b""),
            "it stops in or after vnode 6.1006, without its end mark",
        ),
        (
            dump(vnode(6, file(bytes(600))), end=b"")[:-9],
            "it stops in or after vnode 6.1006, without its end mark",
        ),
        (dump(end=END[:-1]), "it stops within its end mark"),
    ],
)
def test_says_where_a_dump_without_end_mark_stops(data: bytes, reason: str) -> None:
    splitter = AfsSplitter()
    split_at(splitter, data, [])
    assert (reason, None, False) == (splitter.reason, splitter.unparsed, splitter.complete)


def test_a_vnode_that_is_cut_short_is_no_vnode() -> None:
    data = dump(vnode(2, file(b"x" * 600)), vnode(4, file(b"y" * 600)), end=b"")
    records = [record[0] for record in walked(data, []).vnodes]
    assert [2] == records


def test_what_follows_the_end_mark_is_content() -> None:
    data = dump()
    splitter = AfsSplitter()
    found = split_at(splitter, data + b"more", [len(data) + 1])
    assert [Range(len(data), False), Range(4, True)] == found
    assert (None, "", True, 4) == (splitter.unparsed, splitter.reason, splitter.complete, splitter.trailing)


def test_takes_a_file_of_more_than_4_gib() -> None:
    size = (4 << 30) + 4097
    piece = bytes(1 << 20)
    splitter = AfsSplitter()
    splitter.split(dump(end=vnode(2, b"t\1h", struct.pack(">Q", size))), False)
    for _ in range(size >> 20):
        assert [Range(1 << 20, True)] == ranges(splitter.split(piece, False))
    assert [Range(4097, True, True), Range(5, False)] == ranges(splitter.split(bytes(4097) + END, True))
    assert (2, 1002, 0, 3, size) == RECORD.unpack(splitter.vnodes())[:5]


def test_a_file_that_lacks_most_of_its_data_costs_no_memory() -> None:
    data = dump(end=vnode(2, b"t\1h", struct.pack(">Q", 2**63 - 1)) + b"x" * 700)
    assert walk_dump(data) == walked(data, [])
    assert Range(700, True) == walked(data, [])[0][-1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_hashes_data_with_xxh64(data: bytes, expected: int) -> None:
    assert expected == xxh64(data)
    assert [(2, 1002, 0, 3, len(data), expected)] == walked(dump(vnode(2, file(data))), []).vnodes
