"""The splitter of tars, held against what Python's tarfile and GNU tar make and read."""

import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.formats.splitters import TarSplitter
from tests.pipelines.formats.splitter_reference import Range, ranges, split_at, walk_tar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
BLOCK = 512

cuts = st.lists(st.integers(0, 30_000), max_size=12)
names = st.builds(
    lambda stem, repeat: "/".join([stem] * repeat)[:1000],
    st.text("aé", min_size=1, max_size=9),
    st.integers(1, 99),
)


class Member(tarfile.TarInfo):
    """A regular file with these data, unless changed."""

    def __init__(self, name: str, data: bytes = b"", **changes: object) -> None:
        super().__init__(name)
        self.data = data
        self.size = len(data)
        for attribute, value in changes.items():
            setattr(self, attribute, value)


def make(members: list[Member], tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tar_format) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(member.data))
    return made.getvalue()


def header(
    size: bytes = b"", kind: bytes = b"0", name: bytes = b"name", changes: dict[int, bytes] | None = None
) -> bytes:
    """Make one block; `size` is its field's bytes."""
    block = bytearray(BLOCK)
    for place, value in {
        0: name,
        124: size,
        148: b" " * 8,
        156: kind,
        257: b"ustar\00000",
        **(changes or {}),
    }.items():
        block[place : place + len(value)] = value
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


def octal(number: int) -> bytes:
    return b"%011o\0" % number


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def records(**values: object) -> bytes:
    """Make an extended header for the next member."""
    body = b""
    for keyword, value in values.items():
        rest = f" {keyword.replace('__', '.')}={value}\n".encode()
        length = next(n for n in range(len(rest), 10**9) if n == len(rest) + len(str(n)))
        body += str(length).encode() + rest
    return header(octal(len(body)), b"x") + padded(body)


END = bytes(2 * BLOCK)
DATA = random.Random(1).randbytes(3000)


def walked(data: bytes, at: list[int] | None = None) -> tuple[list[Range], TarSplitter]:
    splitter = TarSplitter()
    return split_at(splitter, data, at or []), splitter


def contents(data: bytes) -> list[bytes]:
    """Return the pieces of content, all complete, of a tar that must be sound."""
    found, splitter = walked(data)
    assert (None, "", True) == (splitter.unparsed, splitter.reason, splitter.complete)
    pieces, at = [], 0
    for part in found:
        if part.content:
            assert part.ends
            pieces.append(data[at : at + part.length])
        at += part.length
    return pieces


members = st.builds(
    lambda name, seed, size, kind, link, mtime: Member(
        name,
        random.Random(seed).randbytes(size if kind in b"07" else 0),
        type=kind,
        linkname=link,
        mtime=mtime,
    ),
    names,
    st.integers(0, 9),
    st.one_of(st.integers(0, 3000), st.sampled_from([511, 512, 513, 1024])),
    st.sampled_from([b"0", b"0", b"0", b"7", b"1", b"2", b"3", b"5", b"6"]),
    names,
    st.sampled_from([0, 1.5, -3, 2**34]),
)


@settings(max_examples=200)
@given(st.lists(members, max_size=6), st.sampled_from(["gnu", "pax"]), cuts)
def test_finds_what_tarfile_wrote(listed: list[Member], tar_format: str, at: list[int]) -> None:
    data = make(listed, FORMATS[tar_format])
    found, splitter = walked(data, at)
    assert walk_tar(data) == found
    assert (None, "", True) == (splitter.unparsed, splitter.reason, splitter.complete)
    assert len(listed) == splitter.members


@pytest.mark.parametrize("tar_format", FORMATS)
def test_takes_a_tar_byte_for_byte(tar_format: str) -> None:
    data = make(
        [Member("a" * 90 + "/" + "b" * 90, DATA), Member("c", DATA[:511]), Member("d", DATA[:512])],
        FORMATS[tar_format],
    )
    assert walk_tar(data) == walked(data, list(range(len(data))))[0]
    assert [DATA, DATA[:512]] == contents(data)


@pytest.mark.parametrize("tar_format", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_finds_what_gnu_tar_wrote(tar_format: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder" / ("long" * 20)
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(DATA)
    (folder / "empty").touch()
    (folder / "link").symlink_to("file")
    os.link(folder / "file", folder / "hard")
    if tar_format != "v7":  # it has no such kind
        os.mkfifo(folder / "pipe")
    data = run_tar(tmp_path, f"--format={tar_format}", "folder")
    assert [DATA] == contents(data)
    assert walk_tar(data) == walked(data)[0]
    assert (6 if tar_format == "v7" else 7) == walked(data)[1].members


SPARSE = [
    ["--format=oldgnu"],
    ["--format=gnu"],
    *[["--format=pax", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0")],
]


@pytest.mark.parametrize("options", SPARSE, ids=" ".join)
@pytest.mark.parametrize("islands", [1, 4, 5, 60])
def test_cuts_out_what_a_sparse_file_stores(options: list[str], islands: int, tmp_path: Path) -> None:
    """From the fifth island on, GNU's map goes on in further blocks; a map of text has several blocks then."""
    with (tmp_path / "sparse").open("wb") as file:
        for island in range(islands):
            file.seek(island * 65536 + 16384)
            file.write(DATA[:1024])
        file.truncate(islands * 65536 + 12345)
    (tmp_path / "then").write_bytes(DATA)
    data = run_tar(tmp_path, "--sparse", "--hole-detection=raw", *options, "sparse", "then")
    sparse, then = contents(data)
    assert walk_tar(data) == walked(data)[0]
    assert walk_tar(data) == walked(data, list(range(0, len(data), 7)))[0]
    assert islands * DATA[:1024] == sparse.replace(bytes(512), b"")
    assert DATA == then


def run_tar(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["tar", "-C", folder, "-cf", "-", *arguments], check=True, capture_output=True
    ).stdout


@pytest.mark.parametrize(
    "start",
    [
        header(b"\x80" + (9 << 30).to_bytes(11)),
        records(size=9 << 30) + header(octal(0)),
        records(path="x" * 9999, size=9 << 30, mtime="1.5") + header(octal(77)),
        header(octal(len(b"20 size=9663676416\n")), b"g")
        + padded(b"19 size=9663676416\n"[:19])
        + header(octal(5)),
    ],
    ids=["base-256", "pax", "pax among others", "pax for all"],
)
def test_honours_sizes_beyond_8_gib(start: bytes) -> None:
    piece = bytes(1 << 30)
    splitter = TarSplitter()
    assert [Range(len(start), False)] == ranges(splitter.split(start, False))
    for _ in range(8):
        assert [Range(1 << 30, True)] == ranges(splitter.split(piece, False))
    assert [Range(1 << 30, True, True)] == ranges(splitter.split(piece, False))
    splitter.split(END, True)
    assert splitter.complete


def test_a_pax_size_is_for_the_next_member_alone() -> None:
    data = (
        records(size=1000)
        + header(octal(0))
        + padded(DATA[:1000])
        + header(octal(600))
        + padded(DATA[:600])
        + END
    )
    assert [DATA[:1000], DATA[:600]] == contents(data)


def test_a_pax_size_for_all_members_gives_way_to_a_members_own() -> None:
    for_all = header(octal(13), b"g") + padded(b"13 size=1000\n")
    plain = header(octal(0)) + padded(DATA[:1000])
    own = records(size=600) + header(octal(0)) + padded(DATA[:600])
    assert [DATA[:1000], DATA[:600], DATA[:1000]] == contents(for_all + plain + own + plain + END)


def test_a_pax_size_is_spent_on_a_label_too() -> None:
    label = records(size=600) + header(octal(0), b"V") + padded(DATA[:600])
    assert [DATA] == contents(label + header(octal(3000)) + padded(DATA) + END)


def test_a_long_name_may_stand_between_a_pax_size_and_its_member() -> None:
    name = header(octal(700), b"L") + padded(b"n" * 700)
    assert [DATA] == contents(records(size=3000) + name + header(octal(0)) + padded(DATA) + END)


@pytest.mark.parametrize(
    "body",
    [
        b"size=1\n",
        b"99 size=1\n",
        b"5 size",
        b"10 size=1x\n",
        b"8 size=\n",
        b"0 x=1\n",
        b"9999999999999999999 x=1\n",
        b"\xff",
    ],
)
def test_passes_over_pax_records_that_make_no_sense(body: bytes) -> None:
    data = header(octal(len(body)), b"x") + padded(body) + header(octal(3000)) + padded(DATA) + END
    assert [DATA] == contents(data)


@pytest.mark.parametrize("text", [b"x\n", b"1\n0\n-1\n", b"1\n0\n", b"9" * 400 + b"\n", b""])
def test_a_map_that_makes_no_sense_is_content_from_there(text: bytes) -> None:
    body = text + b"!" + DATA
    data = (
        records(GNU__sparse__major=1, size=len(body))
        + header(octal(0))
        + padded(body)
        + header(octal(3000))
        + padded(DATA)
        + END
    )
    first, second = contents(data)
    assert DATA[-2500:] == first[-2500:]
    assert DATA == second


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_links_folders_and_devices_have_no_data(kind: bytes) -> None:
    assert [DATA] == contents(header(octal(4096), kind) + header(octal(3000)) + padded(DATA) + END)


@pytest.mark.parametrize("kind", [b"L", b"K", b"D", b"N", b"x", b"g", b"X"])
def test_names_and_lists_of_names_are_skeleton(kind: bytes) -> None:
    assert [DATA] == contents(
        header(octal(700), kind) + padded(b"n" * 700) + header(octal(3000)) + padded(DATA) + END
    )


@pytest.mark.parametrize("kind", [b"0", b"\0", b"7", b"S", b"M", b"Z"])
def test_kinds_that_nobody_knows_are_files(kind: bytes) -> None:
    assert [DATA] == contents(header(octal(3000), kind) + padded(DATA) + END)


@pytest.mark.parametrize(
    "size", [b"       5670\0", b"  5670 ", b"00000005670", b"000000005670", b"5670\0junk"]
)
def test_reads_octal_numbers_as_programs_write_them(size: bytes) -> None:
    assert [DATA] == contents(header(size) + padded(DATA) + END)


def test_takes_a_checksum_of_signed_bytes() -> None:
    block = bytearray(header(octal(3000), name=b"\xe9t\xe9"))
    block[148:155] = b"%06o\0" % (sum(block[:148]) + 8 * 32 + sum(block[156:]) - 2 * 256)
    assert [DATA] == contents(bytes(block) + padded(DATA) + END)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (DATA[:BLOCK], "a member's header has a wrong checksum"),
        (header(b"12x"), "a member's size is no number, negative or too large"),
        (header(b"\xff" * 12), "a member's size is no number, negative or too large"),
        (header(b"\x80" + b"\xff" * 11), "a member's size is no number, negative or too large"),
        (header(b"\x80\0\0\0\x80" + bytes(7)), "a member's size is no number, negative or too large"),
    ],
)
@pytest.mark.parametrize("at", [[], [600], list(range(5000))], ids=["whole", "two", "bytes"])
def test_what_follows_a_bad_header_is_content(bad: bytes, reason: str, at: list[int]) -> None:
    before = header(octal(600)) + padded(DATA[:600])
    found, splitter = walked(before + bad + DATA, at)
    assert [Range(512, False), Range(600, True, True), Range(936, False), Range(3000, True)] == found
    expected = (len(before) + BLOCK, reason, False, 1)
    assert expected == (splitter.unparsed, splitter.reason, splitter.complete, splitter.members)


@pytest.mark.parametrize("zeros", [0, 1, 511, 512, 9000])
def test_zeros_behind_the_end_are_skeleton_and_all_else_is_content(zeros: int) -> None:
    data = END + bytes(zeros)
    found, splitter = walked(data + b"more", [1000])
    assert [Range(len(data), False), Range(4, True)] == found
    expected = (len(data), "there is more than zeros behind its end", True)
    assert expected == (splitter.unparsed, splitter.reason, splitter.complete)
    found, splitter = walked(data)
    assert ([Range(len(data), False)], None, True) == (found, splitter.unparsed, splitter.complete)


def test_one_block_of_zeros_is_no_end() -> None:
    lone = bytes(BLOCK) + header(octal(3000)) + padded(DATA)
    assert not walked(lone + lone + bytes(BLOCK))[1].complete
    assert [DATA, DATA] == contents(lone + lone + END)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it has no two blocks of zeros at its end"),
        (header(octal(600)) + padded(DATA[:600]) + bytes(BLOCK), "it has no two blocks of zeros at its end"),
        (header(octal(600)) + DATA[:600], "it stops within a member"),
        (header(octal(600)) + DATA[:599], "it stops within a member"),
        (header(octal(600))[:500], "it stops within a member"),
    ],
)
def test_says_how_a_tar_stops_that_is_not_complete(data: bytes, reason: str) -> None:
    splitter = walked(data)[1]
    assert (reason, None, False) == (splitter.reason, splitter.unparsed, splitter.complete)


@given(st.data())
def test_loses_no_byte_of_a_damaged_tar(data: st.DataObject) -> None:
    tar_format = data.draw(st.sampled_from(list(FORMATS.values())))
    damaged = make(
        [Member("a" * 90 + "/" + "b" * 90, DATA), Member("c", DATA[:511]), Member("d", DATA)], tar_format
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        removed = data.draw(st.one_of(st.integers(0, 600), st.just(len(damaged))))
        inserted = data.draw(st.binary(max_size=30))
        damaged = damaged[:place] + inserted + damaged[place + removed :]
    at = data.draw(st.lists(st.integers(0, len(damaged)), max_size=5))
    whole, splitter = walked(damaged)
    pieces, again = walked(damaged, at)
    assert whole == pieces
    assert len(damaged) == sum(part.length for part in whole)
    seen = (splitter.unparsed, splitter.reason, splitter.complete, splitter.members)
    assert seen == (again.unparsed, again.reason, again.complete, again.members)


@given(st.binary(max_size=3000), cuts)
def test_takes_any_bytes(data: bytes, at: list[int]) -> None:
    assert walked(data)[0] == walked(data, at)[0]
