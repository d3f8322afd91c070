"""What is in a stored volume or tar, without its contents being fetched."""

import io
import json
import shlex
import tarfile
from pathlib import Path

import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.errors import NotStoredError, StreamError
from dedupstore.repository import SnapshotInfo
from pipelines.formats.acl import Acl, Grant
from pipelines.formats.entries import Entry, Kind
from pipelines.output.file_names import shown
from pipelines.restore import browse
from pipelines.restore.browse import UpToDamage, json_line, listing, long_line, short_line
from pipelines.restore.differences import difference_line, difference_row, differences
from pipelines.restore.neighbours import Neighbours
from pipelines.restore.versions import Versions, matcher, versions_rows, versions_table
from pipelines.streams import dates
from pipelines.streams.chains import chain
from pipelines.streams.dates import Dated
from tests.afsdump import make_dump
from tests.pipelines.volumes import facts_of, link_to, put, put_chain, sample
from tests.store import World, noise


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entries_of(world: World, snapshot: SnapshotInfo, name: str = "user.samp") -> list[Entry]:
    with world.open(world.admin) as repository:
        links = chain(repository, *link_to(repository, snapshot, name))
        with browse.opened(repository, links) as entries:
            return [entry for entry, _ in entries]


def entry(path: bytes, kind: Kind = "file", **fields: object) -> Entry:
    return Entry(path, kind, 0o644, 0, 0, 0, 0)._replace(**fields)  # type: ignore[arg-type]


def listed(*entries: Entry, path: bytes = b"", deep: bool = False) -> list[str]:
    return listing(UpToDamage((one, None) for one in entries), path, short_line, beside(path), deep=deep)


def beside(path: bytes) -> Neighbours:
    return Neighbours([path], "v of 2026.11.01T03:15", "dedup ls 2026.11.01T03:15:20 v -R")


class CountingBackend(LocalBackend):
    """Counts the bytes that are read of data packs: contents and skeletons."""

    data = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        found = super().read(name, offset, length)
        if name.startswith("data/"):
            self.data += len(found)
        return found


@pytest.mark.parametrize("form", ["dump", "tar"])
def test_looking_fetches_no_contents(world: World, form: str) -> None:
    content = noise(20_000_000)
    files = {f"d/f{i}": content[i * 100_000 : (i + 1) * 100_000] for i in range(200)}
    if form == "dump":
        data = make_dump("v", 1, files)
    else:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, part in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(part)
                archive.addfile(info, io.BytesIO(part))
        data = out.getvalue()
    snapshot = put(world, {"v": data})
    backend = CountingBackend(world.path)
    with world.open(world.admin, backend=backend) as repository:
        links = chain(repository, *link_to(repository, snapshot, "v"))
        with browse.opened(repository, links) as entries:
            lines = listing(UpToDamage(entries), b"d", short_line, beside(b"d"), deep=False)
        assert sorted(name[2:] for name in files) == lines
        assert backend.data < 500_000
        with browse.opened(repository, links, contents=True) as entries:
            for _, contents in entries:
                for _ in contents() if contents else ():
                    pass
        assert backend.data > len(content)


def test_an_incremental_shows_as_the_whole_volume_of_its_date(world: World) -> None:
    snapshots = put_chain(world)
    whole = put(world, {"other": sample(6)}, {"other": facts_of(sample(6))}, day=4)
    assert entries_of(world, whole, "other") == entries_of(world, snapshots[2])
    assert entries_of(world, snapshots[0]) != entries_of(world, snapshots[2])


def test_an_incremental_without_its_parent_shows_nothing(world: World) -> None:
    alone = put(world, {"user.samp": sample(3)}, {"user.samp": {}})
    with pytest.raises(StreamError, match="has nothing to build on"):
        entries_of(world, alone)


def test_what_has_no_files_inside_says_so(world: World) -> None:
    snapshot = put(world, {"s": b"text"})
    with pytest.raises(StreamError, match=r"s of 2023.11.14T00:00 is neither a volume dump nor a tar"):
        entries_of(world, snapshot, "s")


# -- ls


def test_a_folder_is_listed_by_name() -> None:
    entries = (entry(b"", "dir"), entry(b"z"), entry(b"a", "dir"), entry(b"a/x"), entry(b"a/y/z"))
    assert ["a/", "z"] == listed(*entries)
    assert ["x", "y/"] == listed(*entries, path=b"a")
    assert ["a/", "a/x", "a/y/z", "z"] == [line for line in listed(*entries, deep=True) if line != "/"]
    assert ["a/x"] == listed(*entries, path=b"a/x")


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(NotStoredError, match=r"there is no a/no in v of 2026\.11\.01T03:15"):
        listed(entry(b"a", "dir"), entry(b"a/nose"), path=b"a/no")
    assert [] == listed(entry(b"a", "dir"), path=b"a")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (b"docs/thesi", b"docs/thesis.tex"),
        (b"doc/thesis.tex", b"docs"),
        (b"docs/caf\xe8", b"docs/caf\xe9"),
        (b"docs/thesis.tex/chapter", None),
        (b"docs/nothing", None),
    ],
)
def test_what_is_like_it_is_named(asked: bytes, meant: bytes | None) -> None:
    there = [entry(b"docs", "dir"), *(entry(b"docs/" + name) for name in (b"thesis.tex", b"caf\xe9", b"b"))]
    with pytest.raises(NotStoredError) as caught:
        listed(*there, path=asked)
    hint = f"did you mean {shown(meant)}? " if meant else ""
    assert f"{hint}see what there is: dedup ls 2026.11.01T03:15:20 v -R" == caught.value.hint


def test_the_command_that_is_named_lists_that_backup_and_no_other(world: World) -> None:
    snapshot = put(world, {"a b": sample(2)})
    with world.open(world.admin) as repository:
        link = link_to(repository, snapshot, "a b")
    date = f"{dates.local(snapshot):%Y.%m.%dT%H:%M:%S}"
    assert ["dedup", "ls", date, "a b", "-R"] == shlex.split(link.listing_command())


def test_of_two_entries_with_one_path_the_last_is_listed() -> None:
    lines = listing(
        UpToDamage((entry(b"a", size=n), None) for n in (1, 2)), b"", long_line, beside(b""), deep=False
    )
    assert 1 == len(lines)
    assert " 2 " in lines[0]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", b""),
        (".", b""),
        ("/", b""),
        ("a/b/", b"a/b"),
        ("./a//b", b"a/b"),
        ("/a", b"a"),
        ("\udcff", b"\xff"),
    ],
)
def test_paths_as_people_type_them(text: str, path: bytes) -> None:
    assert path == browse.inner_path(text)


def test_a_path_with_dots_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no path has \.\. in it"):
        browse.inner_path("a/../b")


def test_long_lines_show_all_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        long_line(one, one.path)
        for one in (
            entry(b"a\n\xff", owner=1000, group=100, mode=0o4640, size=12, mtime=1_700_000_000),
            entry(b"l", "symlink", target=b"\x1b[31m", mode=0o777, mtime=2**62),
            entry(b"m", "mount", target=b"#user.bob."),
            entry(b"h", "hardlink", target=b"a"),
            entry(b"d", "dir", mode=0o1755, mtime=-(2**62)),
        )
    ]
    clock = browse.clock(1_700_000_000)
    epoch = browse.clock(0)
    assert [
        rf"-rwSr-----    1000     100           12 {clock} a\n\xff",
        rf"lrwxrwxrwx       0       0            0 {browse.clock(2**62)} l -> \x1b[31m",
        f"mrw-r--r--       0       0            0 {epoch} m -> #user.bob.",
        f"hrw-r--r--       0       0            0 {epoch} h = a",
        f"drwxr-xr-t       0       0            0 {'?':>16} d",
    ] == lines


def test_json_has_exact_names_and_all_that_is_known() -> None:
    acl = Acl([Grant(-101, 9)], [])
    found = json.loads(json_line(entry(b"a\n\xff", "dir", ident=(1, 2, 3), acl=acl, mode=0o2755), b""))
    assert {
        "path": "a\n\udcff",
        "kind": "dir",
        "mode": "2755",
        "owner": 0,
        "group": 0,
        "size": 0,
        "mtime": 0,
        "vnode": 1,
        "uniquifier": 2,
        "version": 3,
        "acl": ["system:anyuser rl"],
    } == found


# -- find


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("*.tex", b"docs/a.tex", True),
        ("*.tex", b"docs.tex/a", False),
        ("docs/*.tex", b"docs/sub/a.tex", True),
        ("docs/*.tex", b"other/docs/a.tex", False),
        ("a?c", "aéc".encode(), True),
        ("/a", b"x/a", True),
        ("A", b"a", False),
        ("[ab]", b"x/b", True),
        ("*", b"odd\n\xff", True),
        ("odd\udcff", b"odd\xff", True),
    ],
)
def test_patterns(pattern: str, path: bytes, matched: bool) -> None:
    assert matched == matcher(pattern)(path)


def test_equal_versions_are_one_row_while_they_last(world: World) -> None:
    snapshots: list[Dated] = [put(world, {"s": b"x"}, day=day) for day in range(5)]
    found = Versions()
    one, two = entry(b"f", size=1, mtime=1), entry(b"f", size=2, mtime=2)
    for snapshot, holds in zip(snapshots, ([one], [one], [two], [], [two]), strict=True):
        found.add(snapshot, "v", holds)
    days = [
        (version.entry.size, snapshots.index(version.first), snapshots.index(version.last), version.dates)
        for version in found.all()
    ]
    assert [(1, 0, 1, 2), (2, 2, 2, 1), (2, 4, 4, 1)] == days
    rows = versions_rows(found.all())
    assert ("2023-11-14T00:00:00+00:00", "2023-11-15T00:00:00+00:00", 2, "f") == tuple(
        rows[0][key] for key in ("first", "last", "dates", "path")
    )
    shown = versions_table(found.all()).splitlines()
    assert ["FIRST", "LAST", "DATES", "SIZE", "CHANGED", "VOLUME", "PATH"] == shown[0].split()
    assert "2023.11.14T00:00  2023.11.15T00:00      2   1 B" == shown[1][:48].rstrip()


def test_versions_in_afs_differ_by_their_data_version(world: World) -> None:
    snapshots = put_chain(world)
    found = Versions()
    for snapshot in snapshots:
        found.add(snapshot, "v", [one for one in entries_of(world, snapshot) if one.kind == "file"])
    by_path: dict[bytes, int] = {}
    for version in found.all():
        by_path[version.entry.path] = by_path.get(version.entry.path, 0) + 1
    changed = {path for path, count in by_path.items() if count > 1}
    before, after = (
        {one.path: one.ident for one in entries_of(world, snapshots[n]) if one.kind == "file"} for n in (0, 1)
    )
    assert changed
    assert {path for path in before.keys() & after.keys() if before[path] != after[path]} == changed


# -- diff


def test_differences_say_what_changed() -> None:
    acl = Acl([Grant(-101, 9)], [])
    old = [
        entry(b"same", size=5),
        entry(b"gone", size=1500),
        entry(b"grown", size=1),
        entry(b"touched", ident=(1, 1, 1), mtime=1),
        entry(b"rewritten", mtime=1),
        entry(b"versioned", ident=(2, 2, 1)),
        entry(b"mode"),
        entry(b"link", "symlink", target=b"a"),
        entry(b"kind"),
        entry(b"dir", "dir", mtime=1, size=2048, ident=(1, 1, 1)),
        entry(b"acl", "dir"),
    ]
    new = [
        entry(b"same", size=5),
        entry(b"new", "dir"),
        entry(b"grown", size=2000),
        entry(b"touched", ident=(1, 1, 1), mtime=2),
        entry(b"rewritten", mtime=2),
        entry(b"versioned", ident=(2, 2, 2)),
        entry(b"mode", mode=0o600, owner=5),
        entry(b"link", "symlink", target=b"b"),
        entry(b"kind", "dir"),
        entry(b"dir", "dir", mtime=2, size=4096, ident=(1, 1, 2)),
        entry(b"acl", "dir", acl=acl),
    ]
    found = {one.path: (one.change, one.what) for one in differences(old, new)}
    assert {
        b"gone": ("removed", ()),
        b"new": ("added", ()),
        b"grown": ("changed", ("contents",)),
        b"touched": ("changed", ("date",)),
        b"rewritten": ("changed", ("contents",)),
        b"versioned": ("changed", ("contents",)),
        b"mode": ("changed", ("mode", "owner")),
        b"link": ("changed", ("target",)),
        b"kind": ("changed", ("kind",)),
        b"acl": ("changed", ("access list",)),
    } == found
    assert sorted(found) == [one.path for one in differences(old, new)]


def test_differences_are_shown_with_sizes() -> None:
    old = [entry(b"gone\n", size=1500), entry(b"grown", size=1)]
    new = [entry(b"new", "dir"), entry(b"grown", size=2000)]
    found = differences(old, new)
    assert [
        r"-               1.5 kB  gone\n",
        "~        1 B -> 2.0 kB  grown (contents)",
        "+                  0 B  new/",
    ] == [difference_line(one) for one in found]
    rows = [difference_row(one) for one in found]
    assert ["removed", "changed", "added"] == [row["change"] for row in rows]
    assert (1, 2000, ["contents"]) == (rows[1]["old"]["size"], rows[1]["new"]["size"], rows[1]["what"])
    assert {"old"} == rows[0].keys() & {"old", "new"}
