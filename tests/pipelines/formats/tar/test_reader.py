"""Members of a tar, as GNU tar, Python and strangers write them."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats.entries import Entry, Hole
from pipelines.formats.stream import FileStream
from pipelines.formats.tar import reader
from tests.pipelines.contents import whole


def walk(data: bytes) -> list[tuple[Entry, bytes | None]]:
    """Return all entries with their contents."""
    return [
        (entry, None if contents is None else whole(contents()))
        for entry, contents in reader.entries(FileStream(io.BytesIO(data)))
    ]


def skim(data: bytes) -> list[Entry]:
    """Return all entries, passing over the contents."""
    return [entry for entry, _ in reader.entries(FileStream(io.BytesIO(data)))]


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_field_is_read_in_every_format(form: int) -> None:
    data = pack(
        member("./", type=tarfile.DIRTYPE, mode=0o755),
        member("dir/", type=tarfile.DIRTYPE, mode=0o2775, uid=5, gid=6, mtime=7),
        member("dir/file", b"content", mode=0o4640, uid=1000, gid=100, mtime=1_700_000_000),
        member("dir/link", type=tarfile.SYMTYPE, linkname="../else", mode=0o777),
        member("hard", type=tarfile.LNKTYPE, linkname="./dir/file"),
        member("pipe", type=tarfile.FIFOTYPE),
        member("/absolute//./name", b"x"),
        member("../up", b""),
        form=form,
    )
    assert [
        (Entry(b"", "dir", 0o755, 0, 0, 0, 0), None),
        (Entry(b"dir", "dir", 0o2775, 5, 6, 7, 0), None),
        (Entry(b"dir/file", "file", 0o4640, 1000, 100, 1_700_000_000, 7), b"content"),
        (Entry(b"dir/link", "symlink", 0o777, 0, 0, 0, 7, b"../else"), None),
        (Entry(b"hard", "hardlink", 0o644, 0, 0, 0, 0, b"dir/file"), None),
        (Entry(b"pipe", "other", 0o644, 0, 0, 0, 0), None),
        (Entry(b"absolute/name", "file", 0o644, 0, 0, 0, 1), b"x"),
        (Entry(b"../up", "file", 0o644, 0, 0, 0, 0), b""),
    ] == walk(data)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_targets_and_large_numbers(form: int) -> None:
    name, target = "n" * 300, "t" * 400 + "/\xe9\udcff"
    data = pack(
        member(name, b"1", uid=2**31 + 5, mtime=2**34),
        member("link", type=tarfile.SYMTYPE, linkname=target),
        member("after", b"2"),
        form=form,
    )
    raw = os.fsencode(target)
    assert [
        (Entry(name.encode(), "file", 0o644, 2**31 + 5, 0, 2**34, 1), b"1"),
        (Entry(b"link", "symlink", 0o644, 0, 0, 0, len(raw), raw), None),
        (Entry(b"after", "file", 0o644, 0, 0, 0, 1), b"2"),
    ] == walk(data)


def test_dates_before_1970_and_fractions() -> None:
    data = pack(member("old", mtime=-5), member("exact", mtime=12.75))
    assert [-5, 12] == [entry.mtime for entry in skim(data)]


def test_a_global_header_counts_for_all_that_follow() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"uid": "77"}) as archive:
        archive.addfile(member("a")[0])
        own, _ = member("b")
        own.pax_headers = {"uid": "78"}
        archive.addfile(own)
        archive.addfile(member("c")[0])
    assert [77, 78, 77] == [entry.owner for entry in skim(out.getvalue())]


def test_a_prefix_is_part_of_the_name() -> None:
    name = "p" * 120 + "/" + "n" * 90
    assert [name.encode()] == [entry.path for entry in skim(pack(member(name), form=tarfile.USTAR_FORMAT))]


@pytest.fixture
def with_holes(tmp_path: Path) -> tuple[Path, bytes]:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for at in range(10):  # more regions than fit into the old format's first header
            file.seek(at * 300_000)
            file.write(b"%d" % at * 5000)
        file.truncate(5_000_000)
    return path, path.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ],
)
def test_sparse_files_of_gnu_tar_come_back_with_their_holes(
    with_holes: tuple[Path, bytes], options: list[str]
) -> None:
    path, content = with_holes
    data = subprocess.run(
        ["tar", "-C", path.parent, "-cS", *options, path.name, path.name], capture_output=True, check=True
    ).stdout
    assert len(data) < 1_000_000
    assert [(b"sparse", 5_000_000)] == [(entry.path, entry.size) for entry in skim(data)[:1]]
    assert [content] == [found for _, found in walk(data)[:1]]
    assert 2 == len(skim(data))


def test_a_hole_is_a_piece_of_its_own(with_holes: tuple[Path, bytes]) -> None:
    path, _ = with_holes
    data = subprocess.run(
        ["tar", "-C", path.parent, "-cS", path.name], capture_output=True, check=True
    ).stdout
    _, contents = next(reader.entries(FileStream(io.BytesIO(data))))
    assert contents is not None
    assert any(isinstance(piece, Hole) for piece in contents())


def test_gnu_tar_and_this_agree_on_what_a_tar_of_everything_holds(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / os.fsdecode(b"odd \xff\n name")).write_bytes(b"odd")
    (folder / "first").write_bytes(os.urandom(3000))
    os.link(folder / "first", folder / "second")
    (folder / "link").symlink_to("nowhere")
    for form in ("gnu", "posix", "ustar", "v7"):
        data = subprocess.run(
            ["tar", "-C", folder, "-c", f"--format={form}", "--sort=name", "."],
            capture_output=True,
            check=True,
        ).stdout
        found = {entry.path: entry for entry in skim(data)}
        assert {b"", b"first", b"second", b"link", b"sub", b"sub/odd \xff\n name"} == set(found)
        assert ("hardlink", b"first") == (found[b"second"].kind, found[b"second"].target)


class Refusing(FileStream):
    """A stream whose contents must not be fetched: `read` gets headers only."""

    def copy(self, count: int) -> Iterator[bytes | memoryview]:
        raise AssertionError("contents were fetched")


def test_no_contents_are_fetched_by_looking() -> None:
    class File(io.BytesIO):
        fetched = 0

        def read(self, count: int | None = -1) -> bytes:
            data = super().read(count)
            self.fetched += len(data)
            return data

    file = File(pack(member("big", os.urandom(30_000_000)), member("next", b"x")))
    assert [b"big", b"next"] == [entry.path for entry, _ in reader.entries(Refusing(file))]
    assert file.fetched < 1_000_000


def test_a_tar_may_end_without_zeros() -> None:
    data = pack(member("a", b"1" * 512))
    assert [b"a"] == [entry.path for entry in skim(data[:1024])]


def test_an_empty_stream_and_an_empty_tar_hold_nothing() -> None:
    assert [] == skim(b"")
    assert [] == skim(bytes(10240))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pack(member("a", b"1" * 600))[:1100], id="cut in contents"),
        pytest.param(pack(member("a", b"1"), member("b"))[:1300], id="cut in a header"),
        pytest.param(pack(member("a")).replace(b"a", b"b", 1), id="checksum"),
        pytest.param(pack(member("n" * 300))[:700], id="cut in an extended header"),
    ],
)
def test_what_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(StreamError):
        skim(data)


def crafted(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    """Return one header of that type, with a size that need not be true, and its data."""
    info, _ = member("crafted")
    info.type = kind
    info.size = len(content) if size is None else size
    header = info.tobuf(tarfile.GNU_FORMAT)
    return header + content.ljust(-(-len(content) // 512) * 512, b"\0")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: crafted(b"x", b"", size=1 << 40), id="endless extended header"),
        pytest.param(lambda: crafted(b"L", b"", size=1 << 40), id="endless name"),
        pytest.param(lambda: crafted(b"x", b"19 path=a\n"), id="record longer than it is"),
        pytest.param(lambda: crafted(b"x", b"0 path=a\n"), id="record of no length"),
        pytest.param(lambda: crafted(b"x", b"12 size=12x\n") + crafted(b"0", b""), id="size that is none"),
        pytest.param(lambda: crafted(b"x", b"11 size=-5\n") + crafted(b"0", b""), id="negative size"),
        pytest.param(
            lambda: crafted(b"x", b"22 GNU.sparse.size=10\n24 GNU.sparse.map=5,2,4,2\n") + crafted(b"0", b""),
            id="regions that overlap",
        ),
        pytest.param(
            lambda: crafted(b"x", b"22 GNU.sparse.size=10\n22 GNU.sparse.map=9,2\n") + crafted(b"0", b""),
            id="region beyond the end",
        ),
    ],
)
def test_numbers_from_strangers_are_bounded(make: Callable[[], bytes]) -> None:
    with pytest.raises(StreamError):
        skim(make())


def test_a_sparse_map_without_an_end_is_refused() -> None:
    head = b"22 GNU.sparse.major=1\n30 GNU.sparse.realsize=1000000\n"
    with pytest.raises(StreamError):
        walk(crafted(b"x", head) + crafted(b"0", b"9" * 5000))


@given(st.binary(max_size=600), st.integers(0, 1500), st.binary(min_size=1, max_size=20))
def test_any_bytes_end_in_entries_or_an_error(junk: bytes, at: int, patch: bytes) -> None:
    data = bytearray(pack(member("a", b"1" * 700), member("n" * 200, b"2")))
    data[at : at + len(patch)] = patch
    for candidate in (junk, bytes(data), junk.ljust(512, b"\0") + bytes(data)):
        try:
            walk(candidate)
        except StreamError:
            continue
