"""`dedup get`, `ls`, `find`, `diff` and `extract` of a volume of a real cell, as an admin types them."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.afsdump import parse
from tests.e2e.conftest import Shell
from tests.e2e.stored_volumes import DATES, Day, first_day, make_days, put, put_days, second_day, third_day
from tests.pipelines.volumes import facts_of
from tests.servers.afs_cell import AfsCell

NAME = "user.alice"


@pytest.fixture(scope="module")
def days(afs_cell: AfsCell) -> list[Day]:
    return make_days(afs_cell, NAME, [first_day, second_day, third_day])


@pytest.fixture
def fulls(days: list[Day]) -> list[bytes]:
    """What the volume was on each day."""
    return [day.full for day in days]


@pytest.fixture
def browsing(shell: Shell, days: list[Day], tmp_path: Path) -> Shell:
    """A shell in which the volume is stored."""
    put_days(shell, NAME, days)
    shell.environ["TZ"] = "UTC"
    (tmp_path / "out").mkdir()
    shell.environ["OUT"] = str(tmp_path / "out")
    return shell


def lines(shell: Shell, command: str) -> list[str]:
    return shell(command).stdout.decode().splitlines()


def test_get_gives_one_full_dump_of_every_date(browsing: Shell, fulls: list[bytes]) -> None:
    for date, full in zip(DATES, fulls, strict=True):
        given = browsing(f"dedup get {date} {NAME}").stdout
        assert parse(full).vnodes == parse(given).vnodes
        assert 0 == parse(given).span[0]
    assert fulls[0] == browsing(f"dedup get {DATES[0]} {NAME} --raw").stdout


def test_get_of_everything_merges_each_volume(browsing: Shell, fulls: list[bytes]) -> None:
    raw = browsing(f"dedup get {DATES[2]} {NAME} --raw").stdout
    put(browsing, "another", fulls[0], day=2, facts=facts_of(fulls[0]))
    put(browsing, "orphan", raw, day=2)
    said = browsing(f"dedup get {DATES[2]} --all -o $OUT/all", status=3)
    out = Path(browsing.environ["OUT"]) / "all"
    assert ["another", NAME] == sorted(path.name for path in out.iterdir())
    assert fulls[0] == (out / "another").read_bytes()
    assert browsing(f"dedup get {DATES[2]} {NAME}").stdout == (out / NAME).read_bytes()
    assert (
        b"dedup: orphan: orphan of 2023.11.16T00:00 is an incremental dump, and nothing says" in said.stderr
    )

    browsing(f"dedup get {DATES[2]} --all --raw -o $OUT/raw")
    assert raw == (out.parent / "raw" / NAME).read_bytes() == (out.parent / "raw" / "orphan").read_bytes()


def test_get_raw_gives_what_was_stored(browsing: Shell, fulls: list[bytes]) -> None:
    raw = browsing(f"dedup get {DATES[2]} {NAME} --raw").stdout
    assert 0 < parse(raw).span[0]
    assert len(raw) < len(fulls[2])


def test_get_of_an_incremental_on_its_own_needs_raw(browsing: Shell, tmp_path: Path) -> None:
    raw = browsing(f"dedup get {DATES[1]} {NAME} --raw").stdout
    put(browsing, "alone", raw, day=3)
    said = browsing("dedup get latest alone", status=1)
    assert b"" == said.stdout
    assert b"nothing says what it builds on; give it as it was stored with --raw" in said.stderr
    put(browsing, "orphan", raw, day=3, facts=facts_of(raw, b"\xab" * 32))
    said = browsing("dedup get latest orphan -o $OUT/file", status=1)
    assert b"that is not stored any more; take another date" in said.stderr
    assert [] == os.listdir(tmp_path / "out")
    assert raw == browsing("dedup get latest orphan --raw").stdout


def test_ls_shows_the_volume_of_the_date(browsing: Shell) -> None:
    assert ["big", "docs/", "empty", "mount"] == lines(browsing, f"dedup ls {DATES[1]} {NAME}")
    assert ["big", "docs/", "mount", "moved"] == lines(browsing, f"dedup ls {DATES[2]} {NAME}")
    docs = ["link", "new", r"notes \xff\x1b[31m", "second name", "thesis.tex"]
    assert docs == lines(browsing, f"dedup ls {DATES[1]} {NAME} docs")
    shown = lines(browsing, f"dedup ls {DATES[1]} {NAME} docs -l")
    assert ["lrwxr-xr-x", *["rw-r--r--"] * 4] == [line[:10].lstrip("-h") for line in shown]
    assert shown[0].endswith(" link -> thesis.tex")
    assert "14300" in shown[4]
    (big,) = lines(browsing, f"dedup ls {DATES[2]} {NAME} big -l")
    assert big.startswith("-rw-------      77       0      5120000 ")


def test_ls_of_everything_as_json_is_exact(browsing: Shell) -> None:
    rows = json.loads(browsing(f"dedup ls {DATES[1]} {NAME} -R --json").stdout)
    by_path = {row["path"]: row for row in rows}
    assert by_path["docs/thesis.tex"]["size"] == 13 * 1100
    names = {"docs/notes \udcff\x1b[31m", "docs/second name"}
    (hard,) = (name for name in names if by_path[name]["kind"] == "hardlink")
    assert names - {hard} == {by_path[hard]["target"]}
    assert ("mount", "#root.cell.") == (by_path["mount"]["kind"], by_path["mount"]["target"])
    assert "system:anyuser rlidwka" in by_path["docs"]["acl"]


def test_ls_of_what_is_not_there_says_so(browsing: Shell) -> None:
    said = browsing(f"dedup ls {DATES[0]} {NAME} docs/new", status=1)
    what, _, command = said.stderr.decode().strip().partition("see what there is: ")
    assert what.startswith(f"dedup: there is no docs/new in {NAME} of {DATES[0]}")
    assert "docs/thesis.tex" in lines(browsing, command)


def test_diff_says_what_changed(browsing: Shell) -> None:
    assert [
        "+                  3 B  docs/new",
        "~   12.0 kB -> 14.3 kB  docs/thesis.tex (contents)",
    ] == lines(browsing, f"dedup diff {DATES[0]} {DATES[1]} {NAME}")
    said = browsing(f"dedup diff {DATES[1]} {DATES[2]} {NAME} --json")
    found = [
        (row["change"], (row.get("new") or row["old"])["path"], row.get("what"))
        for row in json.loads(said.stdout)
    ]
    assert [
        ("changed", "big", ["mode", "owner"]),
        ("removed", "docs/new", None),
        ("removed", "empty", None),
        ("added", "moved", None),
    ] == found
    assert b"1 added, 2 removed, 1 changed" in said.stderr


def test_find_says_which_dates_hold_which_version(browsing: Shell) -> None:
    rows = json.loads(browsing("dedup find '*.tex' --json").stdout)
    assert [
        ("docs/thesis.tex", "2023-11-14", "2023-11-14", 1, 12 * 1000),
        ("docs/thesis.tex", "2023-11-15", "2023-11-16", 2, 13 * 1100),
    ] == [(row["path"], row["first"][:10], row["last"][:10], row["dates"], row["size"]) for row in rows]
    shown = lines(browsing, f"dedup find new --volume 'user.*' --since {DATES[1]} --until {DATES[2]}")
    assert 2 == len(shown)
    assert shown[1].startswith("2023.11.15T00:00  2023.11.15T00:00      1   3 B")
    assert [] == lines(browsing, f"dedup find new --until {DATES[0]}")
    said = browsing(f"dedup find new --volume 'proj.*' --since {DATES[1]}", status=1).stderr
    assert (
        f"dedup: no backup matches --since {DATES[1]} --volume proj.*; see what there is: dedup list\n"
        == said.decode()
    )


def test_find_goes_on_where_one_dump_cannot_be_read(browsing: Shell) -> None:
    raw = browsing(f"dedup get {DATES[1]} {NAME} --raw").stdout
    put(browsing, "orphan", raw, day=3, facts=facts_of(raw, b"\xab" * 32))
    said = browsing("dedup find new", status=1)
    assert 2 == len(said.stdout.splitlines())
    assert b"dedup: 1 of 4 could not be read; see above\n" in said.stderr


def test_extract_brings_back_files_and_trees(browsing: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = browsing(f"dedup extract {DATES[1]} {NAME} docs -C $OUT")
    assert b"second draft\n" * 1100 == (out / "docs/thesis.tex").read_bytes()
    assert "thesis.tex" == os.readlink(out / "docs/link")
    assert (out / "docs/second name").samefile(out / "docs" / os.fsdecode(b"notes \xff\x1b[31m"))
    assert {"docs", "user.alice.acls"} == set(os.listdir(out))
    acls = (out / "user.alice.acls").read_text()
    assert "# access lists and mount points of user.alice of 2023.11.15T00:00\ndocs\n    system:admin" in acls
    assert b"user.alice.acls" in said.stderr


def test_extract_of_an_older_date_has_the_older_file(browsing: Shell, tmp_path: Path) -> None:
    browsing(f"dedup -q extract {DATES[0]} {NAME} docs/thesis.tex -C $OUT")
    assert b"first draft\n" * 1000 == (tmp_path / "out/docs/thesis.tex").read_bytes()
    again = browsing(f"dedup -q extract {DATES[1]} {NAME} docs/thesis.tex -C $OUT", status=1)
    assert b"docs/thesis.tex exists already; extract into an empty folder: -C FOLDER" in again.stderr
    assert b"first draft\n" * 1000 == (tmp_path / "out/docs/thesis.tex").read_bytes()


def test_extract_as_a_tar_that_other_programs_read(browsing: Shell, tmp_path: Path) -> None:
    data = browsing(f"dedup -q extract {DATES[2]} {NAME} . --tar").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
        thesis = archive.extractfile("docs/thesis.tex")
        assert thesis is not None
        assert b"second draft\n" * 1100 == thesis.read()
    assert "system:anyuser rlidwka" in members["docs"].pax_headers["SCHILY.xattr.user.afs.acl"]
    browsing(f"dedup -q extract {DATES[2]} {NAME} . --tar | tar -C $OUT -xp --numeric-owner")
    assert bytes(range(256)) * 20_000 == (tmp_path / "out/big").read_bytes()
    assert 77 == (tmp_path / "out/big").stat().st_uid


def test_a_tar_is_browsed_as_a_volume_is(browsing: Shell, tmp_path: Path) -> None:
    browsing(f"dedup -q extract {DATES[2]} {NAME} . --tar | dedup -q put etc --date 2023.11.20")
    assert ["big", "docs/", "mount", "moved"] == lines(browsing, "dedup ls latest etc")
    browsing("dedup -q extract latest etc docs/thesis.tex -C $OUT")
    assert b"second draft\n" * 1100 == (tmp_path / "out/docs/thesis.tex").read_bytes()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ls latest user.alice ../etc", b"inside a volume, no path has .. in it"),
        ("extract latest user.alice a/../b", b"inside a volume, no path has .. in it"),
        ("extract latest user.alice . --tar -C .", b"are not for --tar"),
        ("find x --since latest", b"latest cannot be a bound"),
    ],
)
def test_wrong_usage_is_told(shell: Shell, line: str, why: bytes) -> None:
    said = shell(f"dedup {line}", status=2)
    assert why in said.stderr
