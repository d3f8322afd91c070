"""Archives as GNU tar, bsdtar and Python write them, extracted as GNU tar does."""

import hashlib
import io
import os
import shutil
import stat
import subprocess
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.errors import DedupError, StreamError
from pipelines.formats.entries import Entries, Entry
from pipelines.formats.stream import FileStream
from pipelines.formats.tar import reader
from tests.pipelines.contents import whole
from tests.pipelines.restore.test_extract import Folder, walk_of_stream

STDLIB = Path(sysconfig.get_path("stdlib"))
LONG = "n" * 97  # with the slash behind it, 98 bytes: that of a file in `d/` is the 100th

GNU = ["tar", "--sort=name", "-C"]
WRITERS = {
    **{f"gnu-{form}": [*GNU, "{tree}", f"--format={form}", "-cf"] for form in ("oldgnu", "gnu", "posix")},
    **{
        f"gnu-sparse-{version}": [
            *GNU,
            "{tree}",
            "--format=posix",
            "-S",
            f"--sparse-version={version}",
            "-cf",
        ]
        for version in ("0.0", "0.1", "1.0")
    },
    "gnu-sparse-old": [*GNU, "{tree}", "--format=gnu", "-S", "-cf"],
    **{f"bsd-{form}": ["bsdtar", "-C", "{tree}", f"--format={form}", "-cf"] for form in ("pax", "gnutar")},
}


def odd_tree(path: Path) -> None:
    """Make a tree of all that a tar can say in more than one way."""
    (path / "d" / LONG).mkdir(parents=True)
    (path / "d" / LONG / "file").write_bytes(b"behind a long name")
    (path / LONG / ("m" * 200)).mkdir(parents=True)
    (path / LONG / ("m" * 200) / ("k" * 250)).write_bytes(b"longer")
    (path / "empty").mkdir(mode=0o711)
    (path / "program").write_bytes(b"#!/bin/sh\n")
    (path / "program").chmod(0o755)
    os.utime(path / "program", ns=(10**18 + 123456789, 10**18 + 123456789))
    os.link(path / "program", path / "second name")
    os.symlink("t" * 180, path / "far")
    os.symlink("program", path / "near")
    with (path / "holes").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 20)
        file.write(b"end")
        file.truncate(3 << 20)
    (path / "caf\xe9 \n").write_bytes(b"")


def python_tree(path: Path) -> None:
    """Take some of what Debian or Python's own packages hold."""
    for name in ("email", "json", "encodings", "collections"):
        shutil.copytree(STDLIB / name, path / name, symlinks=True)


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what is at each path: contents, modes, dates, and which are the same file."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        status, name = path.lstat(), str(path.relative_to(root))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path))
            continue
        what: object = "folder"
        if stat.S_ISREG(status.st_mode):
            what = hashlib.sha256(path.read_bytes()).digest(), first.setdefault(status.st_ino, name)
        # GNU tar itself forgets the dates of folders where bsdtar wrote these before all files
        date = 0 if what == "folder" else int(status.st_mtime)
        found[name] = what, stat.S_IMODE(status.st_mode), date
    return found


@pytest.mark.parametrize("make", [odd_tree, python_tree])
@pytest.mark.parametrize("writer", WRITERS)
def test_what_others_pack_comes_out_as_gnu_tar_unpacks_it(
    folder: Folder, writer: str, make: Callable[[Path], None]
) -> None:
    outside = folder.outside.parent / f"{folder.outside.name} packed"
    tree, theirs, archive = outside / "tree", outside / "theirs", outside / "a.tar"
    tree.mkdir(parents=True)
    theirs.mkdir()
    make(tree)
    command = [part.format(tree=tree) for part in WRITERS[writer]]
    subprocess.run([*command, str(archive), "."], check=True)
    subprocess.run(["tar", "-C", theirs, "--no-same-owner", "-xpf", archive], check=True)
    folder.extract(walk_of_stream(archive.read_bytes(), reader.entries), links_out=True)
    assert state(theirs) == state(folder.path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    inner = tmp_path / "world"
    inner.mkdir()
    return Folder(inner)


def tar(*members: tuple[str, bytes, str | bytes], **headers: str) -> bytes:
    """Return a tar of (name, type, target or contents), each with these extended headers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, what in members:
            info = tarfile.TarInfo(name)
            info.type, info.pax_headers = kind, dict(headers)
            contents = what if isinstance(what, bytes) else b""
            info.size, info.linkname = len(contents), what if isinstance(what, str) else ""
            archive.addfile(info, io.BytesIO(contents))
    return out.getvalue()


def entries(data: bytes, warned: list[str] | None = None) -> list[Entry]:
    warn = list[str]().append if warned is None else warned.append
    return [entry for entry, _ in reader.entries(FileStream(io.BytesIO(data)), warn)]


# -- fields that are no numbers


def resummed(block: bytes) -> bytes:
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


@pytest.mark.parametrize(("at", "field"), [(100, "mode"), (108, "owner"), (116, "group"), (136, "date")])
def test_a_field_that_carries_no_structure_stops_nothing(at: int, field: str) -> None:
    data = tar(("a", tarfile.REGTYPE, b"1"), ("b", tarfile.REGTYPE, b"2"))
    data = resummed(data[:at] + b"letters" + data[at + 7 : 512]) + data[512:]
    warned: list[str] = []
    assert [b"a", b"b"] == [entry.path for entry in entries(data, warned)]
    assert [f"a: its {field} is not a number, so it is taken for 0"] == warned


@pytest.mark.parametrize("value", ["nan", "1e9", "9" * 30, "0x5", "1,5"])
@pytest.mark.parametrize("key", ["mtime", "uid", "gid"])
def test_a_strange_number_in_an_extended_header_stops_nothing(key: str, value: str) -> None:
    warned: list[str] = []
    (entry,) = entries(tar(("a", tarfile.REGTYPE, b"1"), **{key: value}), warned)
    assert (b"a", 1) == (entry.path, entry.size)
    assert [f"a: its {key} is not a number, so it is taken for 0"] == warned


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", (7, 0)),
        ("7.25", (7, 250_000_000)),
        ("-1.25", (-2, 750_000_000)),
        ("1.1234567899", (1, 123_456_789)),
    ],
)
def test_the_fraction_of_a_date_is_kept(value: str, expected: tuple[int, int]) -> None:
    (entry,) = entries(tar(("a", tarfile.REGTYPE, b"1"), mtime=value))
    assert expected == (entry.mtime, entry.nanoseconds)


def test_a_sparse_file_whose_header_gives_the_size_of_the_file_for_that_of_its_data_is_read() -> None:
    listed = b"1\n4096\n4\n".ljust(512, b"\0") + b"data"
    size = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": "8192",
        "GNU.sparse.name": "s",
    }
    data = tar(("x", tarfile.REGTYPE, listed), ("y", tarfile.REGTYPE, b""), **size)
    changed = bytearray(data)
    changed[:] = tar(("x", tarfile.REGTYPE, listed), size="8192", **size)
    found = [
        (e.path, whole(c()) if c else b"") for e, c in reader.entries(FileStream(io.BytesIO(bytes(changed))))
    ]
    assert [(b"s", bytes(4096) + b"data" + bytes(4092))] == found


def test_a_volume_label_is_no_member(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    command = ["tar", "-C", str(tmp_path), "--label=weekly", "-cf", "-", "f"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    folder.extract(walk_of_stream(data, reader.entries))
    assert ["f"] == folder.names()


# -- an archive that is cut short


def test_all_before_the_cut_is_extracted_and_the_cut_is_an_error(folder: Folder) -> None:
    data = tar(("f1", tarfile.REGTYPE, b"1" * 600), ("f2", tarfile.REGTYPE, b"2" * 5000))
    cut = walk_of_stream(data[: len(data) - 10240 + 3072], reader.entries)
    for paths in ((b"f1",), ()):
        found = folder.extract_damaged(cut, *paths)
        assert isinstance(found, StreamError)
        assert ["f1"] == folder.names()
        assert b"1" * 600 == (folder.path / "f1").read_bytes()
        (folder.path / "f1").unlink()


def test_a_sparse_file_that_contradicts_itself_costs_that_file_alone_and_is_reported(folder: Folder) -> None:
    listed = b"1\n4096\n9\n".ljust(512, b"\0") + b"data"  # nine bytes are announced, four are there
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "8192"}
    whole = tar(("s", tarfile.REGTYPE, listed), **sparse)
    data = whole[: whole.rindex(b"data") // 512 * 512 + 512] + tar(("after", tarfile.REGTYPE, b"1"))
    folder.refuses(walk_of_stream(data, reader.entries), why="s is left out: the tar's sparse file")
    assert ["after"] == folder.names()


def test_damage_that_only_the_second_walk_meets_is_an_error(folder: Folder) -> None:
    whole = tar(("f1", tarfile.REGTYPE, b"1"), ("f2", tarfile.REGTYPE, b"2"))
    walks = iter((whole, whole[: 512 * 3 - 10]))

    @contextmanager
    def walk() -> Iterator[Entries]:
        yield reader.entries(FileStream(io.BytesIO(next(walks))))

    assert isinstance(folder.extract_damaged(walk), StreamError)


# -- links, and names that come again


def test_a_chain_of_hard_links_comes_out_whole_by_any_of_its_names(folder: Folder) -> None:
    data = tar(("a", tarfile.REGTYPE, b"data"), ("b", tarfile.LNKTYPE, "a"), ("c", tarfile.LNKTYPE, "b"))
    folder.extract(walk_of_stream(data, reader.entries), b"c")
    assert {"c": b"data"} == {name: (folder.path / name).read_bytes() for name in folder.names()}


def test_a_hard_link_is_a_name_of_the_file_before_it(folder: Folder) -> None:
    data = tar(
        ("a", tarfile.REGTYPE, b"old"),
        ("c", tarfile.LNKTYPE, "a"),
        ("a", tarfile.REGTYPE, b"new"),
        ("d", tarfile.LNKTYPE, "a"),
    )
    folder.extract(walk_of_stream(data, reader.entries), b"c", b"d")
    assert {"c": b"old", "d": b"new"} == {name: (folder.path / name).read_bytes() for name in folder.names()}


def test_a_hard_linked_symbolic_link_is_made_where_it_leads_nowhere_else(folder: Folder) -> None:
    data = tar(("l", tarfile.SYMTYPE, "x"), ("m", tarfile.LNKTYPE, "l"), ("a/b/up", tarfile.SYMTYPE, "../x"))
    folder.extract(walk_of_stream(data, reader.entries))
    assert ["x", "x"] == [os.readlink(folder.path / name) for name in ("l", "m")]
    again = tar(("e/f/up", tarfile.SYMTYPE, "../../x"), ("g", tarfile.LNKTYPE, "e/f/up"))
    folder.refuses(walk_of_stream(again, reader.entries), why="leads out")


def test_a_hard_link_to_itself_is_an_error(folder: Folder) -> None:
    folder.refuses(walk_of_stream(tar(("c", tarfile.LNKTYPE, "c")), reader.entries), b"c", why="missing")


@pytest.mark.parametrize("later", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
@pytest.mark.parametrize("sooner", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_of_two_kinds_with_one_name_the_later_counts(folder: Folder, sooner: bytes, later: bytes) -> None:
    what = {tarfile.REGTYPE: b"data", tarfile.DIRTYPE: b"", tarfile.SYMTYPE: "elsewhere"}
    data = tar(("x", sooner, what[sooner]), ("x", later, what[later]))  # type: ignore[arg-type]
    folder.extract(walk_of_stream(data, reader.entries))
    kind = stat.S_IFMT((folder.path / "x").lstat().st_mode)
    assert {tarfile.REGTYPE: stat.S_IFREG, tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK}[
        later
    ] == kind


def test_a_folder_that_holds_something_stays(folder: Folder) -> None:
    data = tar(("x/f", tarfile.REGTYPE, b"1"), ("x", tarfile.REGTYPE, b"2"))
    folder.refuses(walk_of_stream(data, reader.entries), why="x is left out")
    assert ["x", "x/f"] == folder.names()


def test_a_zero_byte_in_a_target_costs_that_link_alone(folder: Folder) -> None:
    data = tar(("l", tarfile.SYMTYPE, "here"), ("f", tarfile.REGTYPE, b"1"), linkpath="to\0here")
    folder.refuses(walk_of_stream(data, reader.entries), why="l is left out")
    assert ["f"] == folder.names()


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b"])
MEMBERS = st.lists(
    st.one_of(
        st.tuples(NAMES, st.just(tarfile.REGTYPE), st.binary(min_size=1, max_size=3)),
        st.tuples(NAMES, st.just(tarfile.LNKTYPE), NAMES),
        st.tuples(NAMES, st.just(tarfile.SYMTYPE), st.sampled_from(["p", "q"])),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=150)
@given(members=MEMBERS, chosen=st.sets(NAMES, min_size=1))
def test_some_paths_come_out_as_they_do_with_all_others(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, str | bytes]], chosen: set[str]
) -> None:
    whole, part = (Folder(tmp_path_factory.mktemp("x")) for _ in range(2))
    walk = walk_of_stream(tar(*members), reader.entries)
    there = sorted(chosen & {name for name, *_ in members})
    if not there:
        return
    with suppress(DedupError):
        whole.extract(walk)
    if whole.warned:  # a link leads nowhere: then it is not clear what others through it mean
        return
    with suppress(DedupError):
        part.extract(walk, *(os.fsencode(name) for name in there))
    left_out = {line.split(" is left out")[0] for line in part.warned}
    made = [name for name in there if name not in left_out]
    assert [seen(whole, name) for name in made] == [seen(part, name) for name in made]


def seen(folder: Folder, name: str) -> object:
    path = folder.path / name
    if path.is_symlink():
        return os.readlink(path)
    return path.read_bytes() if path.exists() else None


# -- what plain files keep, and what is reported


def test_attributes_that_are_not_kept_are_reported(folder: Folder) -> None:
    data = tar(
        ("f", tarfile.REGTYPE, b"1"), **{"SCHILY.acl.access": "user::rw-", "SCHILY.xattr.user.note": "hello"}
    )
    folder.extract(walk_of_stream(data, reader.entries))
    assert ["extended attributes or access lists were not kept: 1 file"] == folder.warned
    with suppress(OSError):
        assert b"hello" == os.getxattr(folder.path / "f", "user.note")


def test_a_hole_of_a_tebibyte_is_one_piece(folder: Folder, tmp_path: Path) -> None:
    """A small one, too, stays one."""
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.seek(1 << 40)
        file.write(b"end" * 2000)
        file.seek(12288, os.SEEK_CUR)
        file.write(b"more")
    command = ["tar", "-C", str(tmp_path), "-S", "--hole-detection=seek", "-cf", "-", "holes"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    _, contents = next(reader.entries(FileStream(io.BytesIO(data))))
    assert contents is not None
    assert 4 == len([*contents()])
    folder.extract(walk_of_stream(data, reader.entries))
    made = (folder.path / "holes").stat()
    assert (path.stat().st_size, path.stat().st_blocks) == (made.st_size, made.st_blocks)
