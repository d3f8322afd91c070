"""The names of a volume out of its dumps, and what a damaged or hostile dump makes of them."""

import random
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats.afs import directory
from pipelines.formats.afs.tree import entries
from pipelines.formats.entries import Entry
from tests.afsdump import make_directory
from tests.pipelines.contents import whole
from tests.pipelines.formats.afs.model import FILE, FOLDER, SYMLINK, Node, Volume, history, make_acl
from tests.pipelines.formats.afs.pieces import PieceStream

seeds = st.integers(0, 1 << 32)


def listed(volume: Volume) -> dict[bytes, Entry]:
    found = [entry for entry, _ in entries(PieceStream.of(volume.parts()))]
    assert [1] * len(found) == list(Counter(entry.path for entry in found).values())
    return {entry.path: entry for entry in found}


def kind_of(node: Node) -> str:
    if node.kind == SYMLINK:
        return "symlink" if node.mode & 0o111 or node.content[:1] != b"#" else "mount"
    return "dir" if node.kind == FOLDER else "file"


@given(seeds, st.integers(1, 4))
def test_all_names_come_out_as_of_the_last_dump_and_no_contents_are_fetched(seed: int, dumps: int) -> None:
    volume, made = history(seed, dumps)
    streams = [PieceStream.of(parts) for parts in made]
    found = [entry for entry, _ in entries(*streams)]
    assert 0 == sum(stream.fetched for stream in streams)

    paths = volume.paths()
    assert Counter(paths.keys()) == Counter(entry.path for entry in found)
    first: dict[int, bytes] = {}
    for entry in found:
        node = paths[entry.path]
        again = node.number in first
        assert ("hardlink" if again else kind_of(node)) == entry.kind
        assert (node.mode & 0o7777, node.owner, node.group, node.modified) == entry[2:6]
        assert len(volume.content(node)) == entry.size
        assert (node.number, node.unique, node.version) == entry.ident
        target = node.content if node.kind == SYMLINK else b""
        assert (first[node.number] if again else target) == entry.target
        assert (node.kind == FOLDER) == (entry.acl is not None)
        first.setdefault(node.number, entry.path)


@given(seeds, st.integers(1, 4))
def test_contents_that_are_asked_for_are_those_of_the_file(seed: int, dumps: int) -> None:
    volume, made = history(seed, dumps)
    paths = volume.paths()
    chance = random.Random(seed)
    for entry, contents in entries(*map(PieceStream.of, made)):
        assert (entry.kind == "file") == (contents is not None)
        if contents and chance.random() < 0.5:
            assert paths[entry.path].content == whole(contents())


def test_an_incremental_alone_is_refused() -> None:
    with pytest.raises(StreamError, match="has nothing to build on"):
        entries(PieceStream(Volume().dump(5)))


# -- directories that cannot be ---------------------------------------------------------------------------


@pytest.fixture
def volume() -> Volume:
    """/folder/inner/file, and /top."""
    volume = Volume()
    folder = volume.mkdir(1, b"folder")
    volume.write(volume.mkdir(folder, b"inner"), b"file", b"content")
    volume.write(1, b"top", b"")
    return volume


def test_the_volume_that_the_following_tests_spoil(volume: Volume) -> None:
    assert {b"", b"folder", b"folder/inner", b"folder/inner/file", b"top"} == listed(volume).keys()


def test_what_no_directory_names_is_lost_and_found(volume: Volume) -> None:
    del volume.nodes[1].names[b"folder"]
    del volume.nodes[1].names[b"top"]
    lost = {b"__lost__/3.2", b"__lost__/3.2/inner", b"__lost__/3.2/inner/file", b"__lost__/4.5"}
    assert {b"", *lost} == listed(volume).keys()


def test_directories_in_a_circle_are_lost_and_found(volume: Volume) -> None:
    volume.nodes[5].names[b"up"] = 3
    del volume.nodes[1].names[b"folder"]
    assert {b"", b"top", b"__lost__/3.2", b"__lost__/3.2/inner", b"__lost__/3.2/inner/file"} == listed(
        volume
    ).keys()


def test_a_directory_that_names_itself_or_the_root_has_its_own_path(volume: Volume) -> None:
    volume.nodes[5].names |= {b"itself": 5, b"root": 1, b"above": 3}
    assert {b"", b"folder", b"folder/inner", b"folder/inner/file", b"top"} == listed(volume).keys()


def test_a_directory_with_two_names_is_where_its_parent_has_it(volume: Volume) -> None:
    volume.nodes[1].names = {b"another": 5, **volume.nodes[1].names}
    assert b"folder/inner/file" in listed(volume)
    volume.nodes[5].parent = 1
    assert b"another/file" in listed(volume)


def test_a_name_of_a_vnode_that_was_reused_is_not_its_name(volume: Volume) -> None:
    volume.nodes[2].unique = 77
    dump = volume.dump()
    volume.nodes[2].unique = 4
    dump = dump.replace(volume.content(volume.nodes[5]), volume.content(volume.nodes[5]))
    stale = dump.replace(struct.pack(">II", 2, 77) + b"file\0", struct.pack(">II", 2, 4) + b"file\0")
    assert b"__lost__/2.77" in [entry.path for entry, _ in entries(PieceStream(stale))]


def test_without_a_root_everything_is_lost_and_found(volume: Volume) -> None:
    parts = [part for part in volume.parts() if not part[0].startswith(b"\x03\0\0\0\1")]
    found = [entry.path for entry, _ in entries(PieceStream.of(parts))]
    assert [b"__lost__/3.2", b"__lost__/3.2/inner", b"__lost__/3.2/inner/file", b"__lost__/4.5"] == found


def test_a_file_that_is_called_as_the_lost_ones_keeps_its_name(volume: Volume) -> None:
    volume.nodes[1].names[b"__lost__"] = volume.nodes[1].names.pop(b"folder")
    del volume.nodes[1].names[b"top"]
    assert {b"", b"__lost__", b"__lost__/inner", b"__lost__/inner/file", b"__lost___/4.5"} == listed(
        volume
    ).keys()


@pytest.mark.parametrize("name", [b"a/b", b"/", b".", b".."])
def test_names_that_lead_elsewhere_are_none(volume: Volume, name: bytes) -> None:
    volume.nodes[1].names[name] = volume.nodes[1].names.pop(b"top")
    assert b"__lost__/4.5" in listed(volume)


def test_a_name_that_comes_twice_is_that_of_one_file() -> None:
    pages = make_directory([(b".", 1, 1), (b"..", 1, 1), (b"name", 2, 2), (b"name", 4, 3)])
    assert 1 == len(list(directory.names(pages)))


def test_a_chain_of_names_that_leads_back_into_itself_ends() -> None:
    pages = bytearray(make_directory([(b".", 1, 1), (b"..", 1, 1), (b"one", 2, 2), (b"two", 4, 3)]))
    slot = pages.index(b"one\0") // 32
    pages[32 * slot + 2 : 32 * slot + 4] = slot.to_bytes(2)
    assert (b"one", 2, 2) in list(directory.names(bytes(pages)))


def test_a_name_without_end_is_none() -> None:
    pages = make_directory([(b".", 1, 1), (b"..", 1, 1), (b"x" * 256, 2, 2), (b"y" * 255, 4, 3)])
    assert [(b"y" * 255, 4, 3)] == list(directory.names(pages))


def test_thousands_of_directories_in_one_another_do_not_fill_the_memory() -> None:
    volume, folder = Volume(), 1
    for _ in range(3000):
        folder = volume.mkdir(folder, b"x" * 100)
    volume.write(folder, b"deep", b"")
    found = [entry.path for entry, _ in entries(PieceStream.of(volume.parts()))]
    assert 3002 == len(set(found))
    assert max(map(len, found)) < 4300
    assert found[-1].endswith(b"/deep")


def test_what_is_neither_file_nor_directory_nor_link_is_other(volume: Volume) -> None:
    volume.nodes[2].kind = volume.nodes[3].kind = 9
    found = listed(volume)
    assert {b"", b"folder", b"top", b"__lost__/5.3", b"__lost__/5.3/file"} == found.keys()
    assert ["other", "other"] == [found[path].kind for path in (b"folder", b"__lost__/5.3/file")]


def test_a_directory_too_large_to_be_one_is_not_read(volume: Volume) -> None:
    volume.nodes[3].kind = FILE  # its contents are then taken as they are
    volume.nodes[3].content = bytes(directory.LIMIT + 1)
    parts = [(head.replace(b"t\x01l\0\x03", b"t\x02l\0\x03"), content) for head, content in volume.parts()]
    assert b"__lost__/5.3" in [entry.path for entry, _ in entries(PieceStream.of(parts))]


def test_access_lists_that_are_damaged_are_left_out(volume: Volume) -> None:
    volume.nodes[3].acl = make_acl({1: 1}).replace(struct.pack(">i", 1), struct.pack(">i", 9))
    assert listed(volume)[b"folder"].acl is None


@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4))))
def test_damaged_directories_never_crash_or_loop(damage: list[tuple[int, bytes]]) -> None:
    volume = Volume()
    folder = volume.mkdir(1, b"folder")
    for n in range(60):
        volume.write((1, folder)[n % 2], b"file%d" % n, b"")
    parts = volume.parts()
    for index in (1, 2):
        pages = bytearray(parts[index][1])
        for at, new in damage:
            at %= len(pages)
            pages[at : at + len(new)] = new
        parts[index] = parts[index][0], bytes(pages[: len(parts[index][1])])
    found = [entry for entry, _ in entries(PieceStream.of(parts))]
    assert [1] * len(found) == list(Counter(entry.path for entry in found).values())
    assert volume.nodes.keys() == {entry.ident[0] for entry in found}


@given(st.binary(max_size=5000), st.lists(st.integers(0, 65535), min_size=128, max_size=128))
def test_reading_any_bytes_as_a_directory_ends(noise: bytes, heads: list[int]) -> None:
    pages = struct.pack(">HH", 1, 1234).ljust(160, b"\0") + struct.pack(">128H", *heads) + noise
    assert len(list(directory.names(pages.ljust(2048, b"\1")))) <= 5000
