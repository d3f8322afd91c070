"""Extraction, above all of what strangers made: nothing outside the folder, nothing replaced, nothing silent."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupstore.errors import DedupError, NotStoredError
from pipelines.formats.acl import Acl, Grant
from pipelines.formats.afs import tree as afs_tree
from pipelines.formats.entries import Contents, Entries, Entry, Hole, Kind
from pipelines.formats.stream import FileStream
from pipelines.formats.tar import reader
from pipelines.output.new_tree import ALL_BITS, PLAIN_BITS, NewTree
from pipelines.output.safe_paths import leads_out
from pipelines.restore.extract import Choice, LeftOut, Notes, Walk, plan, to_folder, to_tar
from pipelines.restore.neighbours import Neighbours
from tests.afsdump import make_dump
from tests.pipelines.contents import whole

SAMPLES = Path(__file__).parents[2] / "data" / "afs"

Item = tuple[Entry, bytes]


def entry(path: bytes, kind: Kind = "file", **fields: Any) -> Entry:
    made = Entry(path, kind, 0o755 if kind == "dir" else 0o644, os.getuid(), os.getgid(), 1_600_000_000, 0)
    return made._replace(**fields)


def file(path: bytes, content: bytes = b"", **fields: Any) -> Item:
    return entry(path, size=len(content), **fields), content


def other(path: bytes, kind: Kind, target: bytes = b"", **fields: Any) -> Item:
    return entry(path, kind, target=target, **fields), b""


def walk_of(*items: Item) -> Walk:
    @contextmanager
    def walk() -> Iterator[Entries]:
        def entries() -> Iterator[tuple[Entry, Contents | None]]:
            for item, content in items:
                yield item, partial(iter, [content]) if item.kind == "file" else None

        yield entries()

    return walk


def walk_of_stream(data: bytes, entries: Callable[[FileStream], Entries]) -> Walk:
    @contextmanager
    def walk() -> Iterator[Entries]:
        yield entries(FileStream(io.BytesIO(data)))

    return walk


def beside(*paths: bytes) -> Neighbours:
    return Neighbours(paths, "v of 2026.11.01T03:15", "dedup ls 2026.11.01T03:15:20 v -R")


class Folder:
    """A folder to extract into, in another one where nothing may change."""

    def __init__(self, path: Path) -> None:
        self.outside = path
        self.path = path / "inside"
        self.path.mkdir()
        (path / "secret").write_bytes(b"secret")
        self.warned: list[str] = []

    def extract(
        self,
        walk: Walk,
        *paths: bytes,
        bits: int = PLAIN_BITS,
        links_out: bool = False,
        owners: bool = False,
    ) -> str:
        """Extract, by default everything; return the name of the notes."""
        choice = Choice(paths or (b"",))
        left_out = LeftOut(self.warned.append)
        with (
            NewTree(self.path, bits=bits, owners=owners, links_out=links_out) as tree,
            Notes() as notes,
        ):
            found = plan(walk, choice, tree, beside(*paths))
            to_folder(walk, choice, found, tree, notes, left_out, lambda done: None)
            name = notes.save(tree, "v.acls", "title")
        left_out.close()
        return name

    def extract_damaged(self, walk: Walk, *paths: bytes) -> Exception | None:
        """Extract what comes before the damage; return it."""
        choice, left_out = Choice(paths or (b"",)), LeftOut(self.warned.append)
        with NewTree(self.path, bits=PLAIN_BITS, owners=False, links_out=False) as tree, Notes() as notes:
            found = plan(walk, choice, tree, beside(*paths))
            to_folder(walk, choice, found, tree, notes, left_out, lambda done: None)
        left_out.close()
        return found.damage

    def refuses(self, walk: Walk, *paths: bytes, why: str) -> None:
        """Extract what leaves something out for that reason; nothing outside has changed then."""
        with pytest.raises(DedupError, match="left out"):
            self.extract(walk, *paths)
        assert any(why in line for line in self.warned), self.warned
        self.check_outside()

    def check_outside(self) -> None:
        assert ["inside", "secret"] == sorted(os.listdir(self.outside))
        assert b"secret" == (self.outside / "secret").read_bytes()
        assert 1 == (self.outside / "secret").stat().st_nlink

    def names(self) -> list[str]:
        """Return the paths of everything inside."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# -- what is as it should be


def test_files_folders_and_links_come_out_as_they_were(folder: Folder) -> None:
    walk = walk_of(
        other(b"", "dir"),
        other(b"d", "dir", mode=0o550, mtime=1_500_000_000),
        file(b"d/f", b"content", mode=0o640, mtime=1_400_000_000),
        other(b"d/link", "symlink", b"../d/f"),
        other(b"second", "hardlink", b"d/f"),
        file(b"odd \xff\n\x1b[31m", b"odd"),
        file(b"empty"),
    )
    assert "" == folder.extract(walk)
    inside = folder.path
    assert b"content" == (inside / "d/f").read_bytes()
    assert (0o640, 1_400_000_000) == (
        stat.S_IMODE((inside / "d/f").stat().st_mode),
        (inside / "d/f").stat().st_mtime,
    )
    assert (0o550, 1_500_000_000) == (
        stat.S_IMODE((inside / "d").stat().st_mode),
        (inside / "d").stat().st_mtime,
    )
    assert "../d/f" == os.readlink(inside / "d/link")
    assert (inside / "second").samefile(inside / "d/f")
    assert b"odd" == (inside / os.fsdecode(b"odd \xff\n\x1b[31m")).read_bytes()
    assert b"" == (inside / "empty").read_bytes()
    assert [] == folder.warned
    folder.check_outside()


def test_only_what_was_asked_for_comes_out_with_its_path(folder: Folder) -> None:
    walk = walk_of(
        other(b"a", "dir"), other(b"a/b", "dir"), file(b"a/b/c", b"1"), file(b"a/b.c", b"2"), file(b"d", b"3")
    )
    folder.extract(walk, b"a/b", b"d")
    assert ["a", "a/b", "a/b/c", "d"] == folder.names()


def test_a_path_that_is_not_there_is_told_before_anything_is_made(folder: Folder) -> None:
    with pytest.raises(NotStoredError, match="no a/no and no zzz"):
        folder.extract(walk_of(file(b"a/b")), b"a/no", b"a", b"zzz")
    assert [] == folder.names()


def test_of_several_names_of_a_file_any_can_be_chosen(folder: Folder) -> None:
    walk = walk_of(
        file(b"first", b"data"),
        other(b"d/second", "hardlink", b"first"),
        other(b"d/third", "hardlink", b"first"),
    )
    folder.extract(walk, b"d")
    assert ["d", "d/second", "d/third"] == folder.names()
    assert b"data" == (folder.path / "d/second").read_bytes()
    assert (folder.path / "d/second").samefile(folder.path / "d/third")


@pytest.mark.parametrize(("bits", "mode"), [(PLAIN_BITS, 0o755), (ALL_BITS, 0o6755)])
def test_setuid_is_dropped_unless_asked_for(folder: Folder, bits: int, mode: int) -> None:
    folder.extract(walk_of(file(b"f", b"#!", mode=0o6755)), bits=bits)
    assert mode == stat.S_IMODE((folder.path / "f").stat().st_mode)


def test_root_sets_owners_and_others_cannot(folder: Folder) -> None:
    walk = walk_of(
        other(b"d", "dir", owner=11, group=12),
        file(b"d/f", owner=1000, group=2**32 - 1, mode=0o4755),
        other(b"d/l", "symlink", b"f", owner=13),
        file(b"beyond", owner=2**63 - 1),
    )
    folder.extract(walk, owners=True, bits=ALL_BITS)
    found = {name: (folder.path / name).lstat() for name in ("d", "d/f", "d/l", "beyond")}
    if os.geteuid() != 0:
        assert ["owners or permissions could not all be set here"] == folder.warned
        return
    assert (11, 12) == (found["d"].st_uid, found["d"].st_gid)
    assert (1000, 0) == (found["d/f"].st_uid, found["d/f"].st_gid)
    assert 0o4755 == stat.S_IMODE(found["d/f"].st_mode)
    assert 13 == found["d/l"].st_uid
    assert 0 == found["beyond"].st_uid


def test_holes_stay_holes(folder: Folder) -> None:
    size = 64 << 16

    @contextmanager
    def walk() -> Iterator[Entries]:
        yield iter([(entry(b"f", size=size), lambda: iter([b"x" * (1 << 16), Hole(63 << 16)]))])

    folder.extract(walk)
    status = (folder.path / "f").stat()
    assert size == status.st_size
    assert status.st_blocks * 512 < size / 4


def test_access_lists_and_mount_points_are_noted_beside(folder: Folder) -> None:
    acl = Acl([Grant(-101, 9)], [Grant(77, 1)])
    walk = walk_of(
        other(b"", "dir", acl=acl), other(b"d\n", "dir", acl=acl), other(b"m", "mount", b"#user.bob.")
    )
    assert "v.acls" == folder.extract(walk)
    rights = "    system:anyuser rl\n    77 r (negative)\n"
    expected = f"# title\n.\n{rights}d\\n\n{rights}m\n    mount point #user.bob.\n"
    assert expected == (folder.path / "v.acls").read_text()
    assert "v.acls.2" == folder.extract(walk, b"m")
    assert "# title\nm\n    mount point #user.bob.\n" == (folder.path / "v.acls.2").read_text()


def test_every_entry_of_a_real_volume_comes_out(folder: Folder) -> None:
    data = (SAMPLES / "2-full.dump").read_bytes()
    folder.extract(walk_of_stream(data, afs_tree.entries), links_out=True)
    paths = {found.path: found for found, _ in afs_tree.entries(FileStream(io.BytesIO(data)))}
    made = {os.fsencode(name) for name in folder.names()}
    expected = {path for path, found in paths.items() if path and found.kind != "mount"} | {b"v.acls"}
    assert expected == made
    for path, found in paths.items():
        if found.kind == "file":
            assert found.size == (folder.path / os.fsdecode(path)).stat().st_size


def test_more_folders_than_are_held_open(folder: Folder) -> None:
    names = [b"%d/%d" % (i, j) for j in range(3) for i in range(100)]
    folder.extract(walk_of(*(file(name, name) for name in names)))
    assert 400 == len(folder.names())


def test_a_very_deep_path(folder: Folder) -> None:
    depth = 1500  # more than Python nests calls; the folder is removed by a program that can
    path = b"/".join([b"d"] * depth)
    try:
        folder.extract(walk_of(file(path + b"/f", b"deep"), other(path + b"/l", "hardlink", path + b"/f")))
        assert len(os.listdir("/proc/self/fd")) < 50
        here = os.open(folder.path, os.O_RDONLY)
        for _ in range(depth):
            above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(above)
        assert ["f", "l"] == sorted(os.listdir(here))
        os.close(here)
    finally:
        subprocess.run(["rm", "-r", folder.path / "d"], check=True)


# -- what is in the way


def test_nothing_is_made_if_anything_is_in_the_way(folder: Folder) -> None:
    (folder.path / "d").mkdir(mode=0o700)
    (folder.path / "d/f").write_bytes(b"mine")
    walk = walk_of(file(b"a", b"1"), other(b"d", "dir"), file(b"d/f", b"2"))
    with pytest.raises(DedupError, match="d/f exists already; extract into an empty folder"):
        folder.extract(walk)
    assert ["d", "d/f"] == folder.names()
    assert b"mine" == (folder.path / "d/f").read_bytes()


def test_a_folder_that_exists_stays_as_it_is_and_is_filled(folder: Folder) -> None:
    (folder.path / "d").mkdir(mode=0o700)
    folder.extract(walk_of(other(b"d", "dir", mode=0o777), file(b"d/f")))
    assert 0o700 == stat.S_IMODE((folder.path / "d").stat().st_mode)
    assert ["d", "d/f"] == folder.names()


@pytest.mark.parametrize("target", ["..", "nowhere", "real"])
def test_a_link_that_was_there_is_never_followed(folder: Folder, target: str) -> None:
    (folder.path / "real").mkdir()
    (folder.path / "d").symlink_to(target)
    with pytest.raises(DedupError, match="above d/f is there, and is no folder"):
        folder.extract(walk_of(file(b"d/f", b"evil")))
    with pytest.raises(DedupError, match="d exists already"):
        folder.extract(walk_of(other(b"d", "dir")))
    folder.check_outside()
    assert ["d", "real"] == folder.names()


def test_a_folder_that_is_not_there(folder: Folder) -> None:
    folder.path.rmdir()
    with pytest.raises(DedupError, match=r"cannot extract into .*inside: No such file"):
        folder.extract(walk_of(file(b"a")))


# -- attacks


@pytest.mark.parametrize(
    "path",
    [
        b"../secret",
        b"..",
        b"a/../../secret",
        b"a/..",
        b"/etc/passwd",
        b"a//b",
        b"a/",
        b"./a",
        b"a/./b",
        b"nul\0nul",
        b"x" * 300,
        b"y/" * 10_000 + b"z",
    ],
)
def test_a_path_that_leads_elsewhere_is_left_out(folder: Folder, path: bytes) -> None:
    folder.refuses(walk_of(file(path, b"evil"), file(b"good")), why="is left out")
    assert (folder.path / "good").exists()
    assert 1 == len(folder.warned)


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        (b"l", b"/etc/passwd", True),
        (b"l", b"..", True),
        (b"l", b"../secret", True),
        (b"d/l", b"../..", True),
        (b"d/l", b"x/../..", True),
        (b"d/l", b"./../x/../../y", True),
        (b"d/e/l", b"../../..", True),
        (b"d/l", b"..", False),
        (b"d/l", b"../x", False),
        (b"d/e/l", b"../.././x", False),
        (b"l", b"x//y/", False),
        (b"l", b"...", False),
        (b"l", b"..x/y", False),
    ],
)
def test_which_links_lead_out(path: bytes, target: bytes, out: bool) -> None:
    assert out == leads_out(path, target)


def test_a_link_that_leads_out_is_left_out_unless_asked_for(folder: Folder) -> None:
    walk = walk_of(other(b"l", "symlink", b"../secret"), file(b"good"))
    folder.refuses(walk, why="l is left out: it is a symbolic link that leads out, to ../secret")
    assert ["good"] == folder.names()
    (folder.path / "good").unlink()
    folder.extract(walk, links_out=True)
    assert "../secret" == os.readlink(folder.path / "l")


@pytest.mark.parametrize("links_out", [False, True])
@pytest.mark.parametrize("target", [b"..", b".", b"sub"])
def test_nothing_goes_through_a_link_that_was_just_made(
    folder: Folder, target: bytes, links_out: bool
) -> None:
    walk = walk_of(
        other(b"sub", "dir"),
        other(b"l", "symlink", target),
        file(b"l/secret", b"evil"),
        other(b"l/new", "dir"),
        other(b"l/ln", "symlink", b"x"),
        other(b"l/hard", "hardlink", b"l/secret"),
    )
    with pytest.raises(DedupError, match="left out"):
        folder.extract(walk, links_out=links_out)
    folder.check_outside()
    if (folder.path / "l").is_symlink():
        assert ["l", "sub"] == folder.names()
    else:  # the link led out: then the others are in a folder of that name
        assert (b"..", False) == (target, links_out)
        assert ["l", "l/hard", "l/ln", "l/new", "l/secret", "sub"] == folder.names()


def test_a_file_is_not_written_through_a_link_of_the_same_name(folder: Folder) -> None:
    walk = walk_of(other(b"l", "symlink", b"../secret"), file(b"l", b"evil"))
    folder.extract(walk, links_out=True)
    folder.check_outside()
    assert not (folder.path / "l").is_symlink()
    assert b"evil" == (folder.path / "l").read_bytes()


def test_a_folder_is_not_replaced_by_a_link(folder: Folder) -> None:
    walk = walk_of(
        other(b"d", "dir"), file(b"d/a", b"1"), other(b"d", "symlink", b".."), file(b"d/secret", b"evil")
    )
    with pytest.raises(DedupError, match="1 entry was left out"):
        folder.extract(walk, links_out=True)
    folder.check_outside()
    assert b"evil" == (folder.path / "d/secret").read_bytes()
    assert not (folder.path / "d").is_symlink()


def test_a_folder_that_comes_after_a_link_of_its_name_replaces_it(folder: Folder) -> None:
    """It does not take its mode to where the link leads."""
    os.chmod(folder.outside / "secret", 0o600)
    walk = walk_of(other(b"l", "symlink", b"../secret"), other(b"l", "dir", mode=0o777))
    folder.extract(walk, links_out=True)
    folder.check_outside()
    assert stat.S_ISDIR((folder.path / "l").lstat().st_mode)
    assert 0o600 == stat.S_IMODE((folder.outside / "secret").stat().st_mode)


@pytest.mark.parametrize("target", [b"../secret", b"/etc/passwd", b"theirs", b"", b"d"])
def test_a_hard_link_only_leads_to_a_file_made_here(folder: Folder, target: bytes) -> None:
    (folder.path / "theirs").write_bytes(b"theirs")
    walk = walk_of(other(b"d", "dir"), other(b"l", "symlink", b"../secret"), other(b"h", "hardlink", target))
    with pytest.raises(DedupError, match="left out"):
        folder.extract(walk, links_out=True)
    folder.check_outside()
    assert ["d", "l", "theirs"] == folder.names()
    assert 1 == (folder.path / "theirs").stat().st_nlink


def test_a_link_in_a_link_cannot_add_up_to_the_way_out(folder: Folder) -> None:
    """`a/b/c` leads to the top; a hard link to it, or a path through it, would climb from there."""
    walk = walk_of(
        other(b"a/b/c", "symlink", b"../.."),
        other(b"h", "hardlink", b"a/b/c"),
        other(b"x", "symlink", b"a/b/c/../secret"),
    )
    with pytest.raises(DedupError, match="2 entries were left out"):
        folder.extract(walk)
    assert ["a", "a/b", "a/b/c"] == folder.names()


@pytest.mark.parametrize("kind", ["other"])
def test_devices_and_pipes_are_left_out(folder: Folder, kind: Kind) -> None:
    folder.refuses(walk_of(other(b"null", kind)), why="null is left out: it is a device")
    assert [] == folder.names()


def test_warnings_do_nothing_to_a_terminal(folder: Folder) -> None:
    folder.refuses(walk_of(other(b"\x1b[2J\n\xff", "other")), why=r"\x1b[2J\n\xff is left out")


def test_in_a_tar_the_later_of_two_entries_counts(folder: Folder) -> None:
    walk = walk_of(
        file(b"f", b"old"),
        other(b"h", "hardlink", b"f"),
        file(b"f", b"new"),
        other(b"s", "symlink", b"1"),
        other(b"s", "symlink", b"2"),
        other(b"d", "dir", mode=0o700),
        other(b"d", "dir", mode=0o755),
    )
    folder.extract(walk)
    assert (b"new", b"old") == ((folder.path / "f").read_bytes(), (folder.path / "h").read_bytes())
    assert "2" == os.readlink(folder.path / "s")
    assert 0o755 == stat.S_IMODE((folder.path / "d").stat().st_mode)


def test_what_fails_in_the_middle_leaves_no_half_file(folder: Folder) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise DedupError("gone")

    @contextmanager
    def walk() -> Iterator[Entries]:
        yield iter([(entry(b"f", size=8), broken)])

    with pytest.raises(DedupError, match="gone"):
        folder.extract(walk)
    assert [] == folder.names()


NAMES = st.sampled_from([b"a", b"b", b"..", b".", b"", b"secret", b"inside", b"\xff"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
KINDS: list[Kind] = ["file", "dir", "symlink", "hardlink", "other", "mount"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(PATHS, st.sampled_from(KINDS), PATHS | PATHS.map(lambda p: b"/" + p)), max_size=8),
    st.booleans(),
)
def test_whatever_comes_nothing_outside_changes(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[bytes, Kind, bytes]], links_out: bool
) -> None:
    folder = Folder(tmp_path_factory.mktemp("hostile"))
    walk = walk_of(
        *(
            file(path, b"evil") if kind == "file" else other(path, kind, target)
            for path, kind, target in items
        )
    )
    with suppress(DedupError):
        folder.extract(walk, links_out=links_out)
    folder.check_outside()
    for path in folder.path.rglob("*"):
        if path.is_symlink() and not links_out:
            with suppress(OSError):  # it may lead nowhere, or to itself
                assert Path(os.path.realpath(path, strict=True)).is_relative_to(folder.path)


# -- as a tar


def tar_of(walk: Walk, *paths: bytes, warned: list[str] | None = None) -> bytes:
    choice = Choice(paths or (b"",))
    left_out = LeftOut((warned if warned is not None else []).append)
    return b"".join(to_tar(walk, choice, plan(walk, choice, None, beside(*paths)), left_out))


def test_a_tar_holds_the_same_entries() -> None:
    items = [
        other(b"", "dir", mode=0o750),
        other(b"d", "dir", mode=0o2755),
        file(b"d/f" + b"x" * 200, b"1" * 513, mode=0o4755, owner=2**31, group=5),
        other(b"l", "symlink", b"../x\xff"),
        other(b"h", "hardlink", b"d/f" + b"x" * 200),
        file(b"odd\n\xff", b"2"),
    ]
    data = tar_of(walk_of(*items))
    found = [
        (found, b"" if contents is None else whole(contents()))
        for found, contents in reader.entries(FileStream(io.BytesIO(data)))
    ]
    expected = [
        (item._replace(size=len(item.target)) if item.kind == "symlink" else item, content)
        for item, content in items
    ]
    assert expected == found


def test_access_lists_are_attributes_in_a_tar() -> None:
    walk = walk_of(
        other(b"d", "dir", acl=Acl([Grant(-101, 9), Grant(5, 127)], [])), other(b"m", "mount", b"#v.")
    )
    with tarfile.open(fileobj=io.BytesIO(tar_of(walk))) as archive:
        d, m = archive.getmembers()
    assert "system:anyuser rl\n5 rlidwka" == d.pax_headers["SCHILY.xattr.user.afs.acl"]
    assert (True, "#v.") == (m.issym(), m.linkname)


def test_a_tar_of_some_paths_keeps_hard_links_whole() -> None:
    walk = walk_of(file(b"a", b"data"), other(b"b", "hardlink", b"a"), other(b"c", "hardlink", b"a"))
    found = [
        (e.path, e.kind, e.target)
        for e, _ in reader.entries(FileStream(io.BytesIO(tar_of(walk, b"b", b"c"))))
    ]
    assert [(b"b", "file", b""), (b"c", "hardlink", b"b")] == found


def test_hostile_names_stay_out_of_a_tar() -> None:
    warned: list[str] = []
    data = tar_of(walk_of(file(b"../up", b"1"), other(b"dev", "other"), file(b"good")), warned=warned)
    assert [b"good"] == [found.path for found, _ in reader.entries(FileStream(io.BytesIO(data)))]
    assert 2 == len(warned)


def test_a_file_of_a_made_volume(folder: Folder) -> None:
    data = make_dump("v", 1, {"d/a": b"A" * 5000, "d/b": b"B", "c": b""})
    folder.extract(walk_of_stream(data, afs_tree.entries), b"d/a")
    assert b"A" * 5000 == (folder.path / "d/a").read_bytes()
    assert ["d", "d/a"] == folder.names()


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        (b"a", []),
        (b"a/b", [b"a/b"]),
        (b"a/b/c", [b"a/b/c", b"a/b"]),
        (b"a/b/c/d/e", [b"a/b/c", b"a/b"]),
        (b"a/bc", []),
        (b"a/b.c/d", []),
        (b"long name", [b"long name"]),
        (b"long name/x", [b"long name"]),
        (b"long names", []),
        (b"", []),
    ],
)
def test_a_path_chooses_itself_and_all_below(path: bytes, chosen: list[bytes]) -> None:
    assert chosen == Choice([b"a/b", b"a/b/c", b"long name"]).chosen_by(path)
    assert [b"", *chosen] == Choice([b"a/b", b"", b"a/b/c", b"long name"]).chosen_by(path)


@pytest.mark.parametrize("name", [b"..", b".", b"/", b"../../secret", b"/etc/passwd", b"a/../../secret"])
@pytest.mark.parametrize("links_out", [False, True])
def test_names_in_a_hostile_dump_lead_nowhere(folder: Folder, name: bytes, links_out: bool) -> None:
    plain = b"x" * len(name)
    dump = make_dump("v", 1, {plain.decode(): b"evil", "good": b"good"}).replace(plain + b"\0", name + b"\0")
    folder.extract(walk_of_stream(dump, afs_tree.entries), links_out=links_out)
    folder.check_outside()
    assert ["__lost__", "__lost__/2.2", "good", "v.acls"] == folder.names()


def tar_of_members(*members: tuple[str, bytes, str]) -> bytes:
    """Return a tar of (name, type, link's target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o755
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"evil"))
    return out.getvalue()


@pytest.mark.parametrize("links_out", [False, True])
@pytest.mark.parametrize(
    "members",
    [
        [("d", tarfile.SYMTYPE, ".."), ("d/secret", tarfile.REGTYPE, "")],
        [("d/", tarfile.DIRTYPE, ""), ("d", tarfile.SYMTYPE, ".."), ("d/secret", tarfile.REGTYPE, "")],
        [("h", tarfile.LNKTYPE, "../secret"), ("h", tarfile.REGTYPE, "")],
        [("s", tarfile.SYMTYPE, "../secret"), ("s/x", tarfile.REGTYPE, ""), ("h", tarfile.LNKTYPE, "s/x")],
        [("../secret", tarfile.REGTYPE, "")],
        [("a/../../secret", tarfile.REGTYPE, "")],
        [("n", tarfile.CHRTYPE, ""), ("b", tarfile.BLKTYPE, ""), ("f", tarfile.FIFOTYPE, "")],
    ],
)
def test_a_hostile_tar_leads_nowhere(
    folder: Folder, members: list[tuple[str, bytes, str]], links_out: bool
) -> None:
    with pytest.raises(DedupError, match="left out"):
        folder.extract(walk_of_stream(tar_of_members(*members), reader.entries), links_out=links_out)
    folder.check_outside()
    for path in folder.path.rglob("*"):
        assert path.is_symlink() or path.is_dir() or path.read_bytes() == b"evil"


def test_an_absolute_name_in_a_tar_lies_in_the_folder(folder: Folder) -> None:
    path = folder.outside / "secret"
    data = tar_of_members((str(path), tarfile.REGTYPE, ""))
    folder.extract(walk_of_stream(data, reader.entries))
    folder.check_outside()
    assert b"evil" == (folder.path / str(path).lstrip("/")).read_bytes()
