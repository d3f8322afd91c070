"""Dumps walked forward: every byte is accounted for, whatever the stream says is contents."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats.afs.merge import check
from pipelines.formats.afs.reader import DumpReader, Vnode
from pipelines.formats.afs.vnodes import read_status
from pipelines.formats.splitters import AfsSplitter
from pipelines.formats.stream import InputStream
from tests.afsdump import parse
from tests.pipelines.formats.afs.model import END, Volume, history
from tests.pipelines.formats.afs.pieces import PieceStream

SAMPLES = sorted((Path(__file__).parents[3] / "data" / "afs").glob("*.dump"))
seeds = st.integers(0, 1 << 32)


def copied(stream: InputStream) -> bytes:
    """Put a dump together again from all that the reader hands out."""
    reader = DumpReader(stream)
    parts = [reader.header.raw, reader.volume.raw]
    for vnode in reader.vnodes():
        parts += [vnode] if isinstance(vnode, bytes) else map(bytes, reader.copy())
    return b"".join([*parts, END])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_what_a_volume_server_wrote_is_understood(sample: Path) -> None:
    data = sample.read_bytes()
    known = parse(data)
    reader = DumpReader(PieceStream(data))
    assert known.span == (reader.header.since, reader.header.until)
    assert known.header["v"] == reader.header.volume
    volume = reader.volume
    assert [known.volume[tag] for tag in "itpuC"] == [
        volume.id,
        volume.kind,
        volume.parent,
        volume.uniquifier,
        volume.creation,
    ]
    found: dict[tuple[int, ...], dict[str, object]] = {}
    for vnode in reader.vnodes():
        if isinstance(vnode, bytes):
            found |= {name: {} for name in struct.iter_unpack(">xII", vnode)}
        else:
            status = read_status(vnode.head)
            assert (vnode.vnode, vnode.unique, vnode.size) == (status.vnode, status.unique, status.size)
            fields = (status.kind, status.version, status.modified, status.owner, status.mode, status.parent)
            found[vnode.vnode, vnode.unique] = dict(zip("tvmobp", fields, strict=True))
            if status.group:
                found[vnode.vnode, vnode.unique]["g"] = status.group
    assert {
        name: {tag: value for tag, value in fields.items() if tag in "tvmobpg"}
        for name, fields in known.vnodes.items()
    } == found
    assert data == copied(PieceStream(data))


@given(seeds, st.integers(1, 3))
def test_a_dump_is_read_without_its_contents_and_copied_with_them(seed: int, dumps: int) -> None:
    _, made = history(seed, dumps)
    stream = PieceStream.of(made[-1])
    reader = DumpReader(stream)
    sizes = [vnode.size for vnode in reader.vnodes() if isinstance(vnode, Vnode)]
    assert [len(content) for head, content in made[-1][1:-1] if len(head) > 9] == sizes
    assert 0 == stream.fetched
    assert b"".join(head + content for head, content in made[-1]) == copied(PieceStream.of(made[-1]))


@given(seeds, st.data())
def test_it_does_not_matter_which_parts_the_stream_holds_as_contents(seed: int, data: st.DataObject) -> None:
    """A stream that was not understood when it was stored is contents from some byte on."""
    dump = history(seed, 1)[0].dump()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(dump)), max_size=20)))
    contents = list(zip(cuts[::2], cuts[1::2], strict=False))
    for ranges in (contents, [(min(cuts, default=0), len(dump))]):
        assert dump == copied(PieceStream(dump, ranges))
        check([PieceStream(dump, ranges)])


def test_a_dump_cut_off_anywhere_is_refused() -> None:
    dump = history(3, 1)[0].dump()
    for size in range(len(dump)):
        with pytest.raises(StreamError):
            copied(PieceStream(dump[:size]))


@given(seeds, st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), min_size=1))
def test_damage_is_refused_or_read_but_never_a_crash(seed: int, damage: list[tuple[int, bytes]]) -> None:
    dump = bytearray(history(seed % 7, 1, edits=5)[0].dump())
    for at, new in damage:
        at %= len(dump)
        dump[at : at + len(new)] = new
    try:
        for vnode in DumpReader(PieceStream(bytes(dump))).vnodes():
            if isinstance(vnode, Vnode):
                read_status(vnode.head)
    except StreamError:
        pass


UNKNOWN = {
    "short": b"\x30\x03abc",
    "empty": b"\x30\x00",
    "long": b"\x30\x81\x05hello",
    "longer than what is looked at": b"\x30\x82\xff\xff" + bytes(65535),
    "number": b"\x64abcd",
    "flag": b"\x7b",
    "critical": b"\x7e\x30\x01x",
}


@pytest.mark.parametrize("tail", UNKNOWN.values(), ids=UNKNOWN)
def test_tags_that_nobody_knows_are_kept_where_they_stand(tail: bytes) -> None:
    volume = Volume()
    volume.write(1, b"file", b"content")
    volume.tail = tail
    vnodes = DumpReader(PieceStream(volume.dump())).vnodes()
    statuses = [read_status(vnode.head) for vnode in vnodes if isinstance(vnode, Vnode)]
    assert [(1, 0o777), (2, 0o644)] == [(status.vnode, status.mode) for status in statuses]
    assert volume.dump() == copied(PieceStream(volume.dump()))


@pytest.mark.parametrize("tail", [b"\x80", b"\xff", b"\x30\x80", b"\x30\x89", b"\x05\x80", b"\x14\xff"])
def test_what_cannot_be_stepped_over_is_refused(tail: bytes) -> None:
    volume = Volume()
    volume.tail = tail
    at = volume.dump().index(b"\0" + tail + b"f")
    with pytest.raises(StreamError, match=f"byte {at + 1} "):
        copied(PieceStream(volume.dump()))


@pytest.mark.parametrize(
    "length", [b"\x00", b"\x03abc", b"\x81\x05hello", b"\x83\x01\x11\x70" + bytes(70_000)]
)
def test_sections_that_nobody_knows_are_stepped_over_by_their_length(length: bytes) -> None:
    other = b"\x05" + length + b"\x14" + length
    volume = Volume()
    folder = volume.mkdir(1, b"folder")
    volume.write(folder, b"file", b"content" * 200)
    data = volume.dump()
    (_, *vnodes, _) = volume.parts()
    headers = [volume.header(0, volume.now), volume.volume_header()]
    dump = b"".join(part + other for part in [*headers, *map(b"".join, vnodes)]) + END
    reader = DumpReader(PieceStream(dump))
    found = [(vnode.vnode, vnode.size) for vnode in reader.vnodes() if isinstance(vnode, Vnode)]
    plain = DumpReader(PieceStream(data))
    assert found == [(vnode.vnode, vnode.size) for vnode in plain.vnodes() if isinstance(vnode, Vnode)]
    assert (6, 0) == (reader.others, plain.others)
    assert len(reader.header.raw) == len(plain.header.raw) + len(other)
    splitter = AfsSplitter()
    splitter.split(dump, True)
    assert (True, None, 6) == (splitter.complete, splitter.unparsed, splitter.others)
    assert splitter.vnodes() == _vnodes(data)


def test_dumps_with_sections_that_nobody_knows_are_not_merged() -> None:
    dumps = [b"".join(map(b"".join, parts)) for parts in history(7, 2)[1]]
    check([PieceStream(dump) for dump in dumps])
    odd = dumps[1].removesuffix(END) + b"\x05\x01x" + END
    with pytest.raises(StreamError, match="has sections that this version does not know"):
        check([PieceStream(dumps[0]), PieceStream(odd)])


@pytest.mark.parametrize("length", [*range(0x80, 0x100, 7), 0x80, 0x81, 0x88, 0x89, 0xFE, 0xFF])
@pytest.mark.parametrize("tag", [0x05, 0x14, 0x15, 0x60])
def test_c_and_python_agree_on_every_first_byte_of_a_length(tag: int, length: int) -> None:
    volume = Volume()
    volume.write(1, b"file", b"content")
    data = volume.dump()
    at = len(data) - len(END) - len(b"content") - 5
    number = bytes(max(0, length - 0x81)) + b"\x02ab" if 0x80 < length <= 0x88 else b"ab"
    odd = data[:at] + bytes([tag, length]) + number + data[at:]
    if tag <= 0x14:
        odd = data.removesuffix(END) + bytes([tag, length]) + number + END
    splitter = AfsSplitter()
    splitter.split(odd, True)
    try:
        check([PieceStream(odd)])
        understood = True
    except StreamError:
        understood = False
    assert (0x80 < length <= 0x88) == understood == splitter.complete


def _vnodes(dump: bytes) -> bytes:
    splitter = AfsSplitter()
    splitter.split(dump, True)
    return splitter.vnodes()


def test_a_tag_after_the_contents_is_refused() -> None:
    volume = Volume()
    volume.write(1, b"file", b"content")
    dump = volume.dump().replace(b"content" + END, b"contento\0\0\0\1" + END)
    with pytest.raises(StreamError, match="neither a vnode nor the end mark"):
        copied(PieceStream(dump))


def test_a_header_without_end_is_refused_before_it_fills_the_memory() -> None:
    volume = Volume()
    dump = volume.header(0, 1) + b"\x02n" + b"x" * (8 << 20)
    stream = PieceStream(dump)
    with pytest.raises(StreamError, match="a header of more than"):
        DumpReader(stream)
    assert stream.position < 2 << 20


def test_contents_that_were_not_used_up_are_a_bug_that_is_noticed() -> None:
    volume = Volume()
    volume.write(1, b"file", bytes(100_000))
    reader = DumpReader(PieceStream.of(volume.parts()))
    vnodes = reader.vnodes()
    next(vnodes)
    next(vnodes)
    next(reader.copy_contents())
    with pytest.raises(RuntimeError):
        next(vnodes)


def test_a_vnode_without_contents_is_whole() -> None:
    """volserver leaves them out where a vnode has no inode."""
    volume = Volume()
    dump = volume.dump()
    start = dump.index(b"\x03\0\0\0\1")
    bare = dump[: dump.index(b"f", start + 240)] + END
    (vnode,) = DumpReader(PieceStream(bare)).vnodes()
    assert isinstance(vnode, Vnode)
    assert (0, 2) == (vnode.size, read_status(vnode.head).kind)
    assert bare == copied(PieceStream(bare))
