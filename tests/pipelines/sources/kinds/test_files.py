"""The files of a folder as sources: which are stored, and how the others are reported."""

import os
from pathlib import Path

import pytest

from dedupstore.errors import StreamError
from pipelines.sources.kinds.files import Files, FilesSettings


def files(folder: Path, include: tuple[str, ...] = ("*",), exclude: tuple[str, ...] = ()) -> Files:
    return Files(FilesSettings("d", str(folder), include, exclude))


def fill(folder: Path, *names: str) -> None:
    for size, name in enumerate(names):
        (folder / name).write_bytes(bytes(size))


def names(source: Files, done: set[str] | None = None) -> list[str]:
    return [job.line.name for job in source.listing(done or set()).jobs]


def why(source: Files) -> str:
    with pytest.raises(StreamError) as caught:
        source.listing(set())
    return str(caught.value)


def test_each_file_is_a_stream_and_the_largest_comes_first(tmp_path: Path) -> None:
    fill(tmp_path, "a.sql", "b.tar", "c d")
    assert ["d.c d", "d.b.tar", "d.a.sql"] == names(files(tmp_path))


def test_patterns_include_and_exclude(tmp_path: Path) -> None:
    fill(tmp_path, "a.sql", "b.sql", "b.sql.part", "c.tar")
    assert ["d.c.tar", "d.a.sql"] == names(files(tmp_path, ("*.sql", "c*"), ("b*",)))


def test_a_hidden_file_needs_a_pattern_with_a_dot(tmp_path: Path) -> None:
    fill(tmp_path, ".x.sql", "y.sql")
    assert ["d.y.sql"] == names(files(tmp_path, ("*", "?x.sql", "[.]x*")))
    assert ["d.y.sql", "d..x.sql"] == names(files(tmp_path, ("*", ".x*")))


def test_what_is_stored_already_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    assert ["d.b"] == names(files(tmp_path), {"d.a"})


def test_what_is_no_plain_file_is_a_warning_until_it_is_left(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    found = files(tmp_path).listing(set())
    assert ["d.a"] == [job.line.name for job in found.jobs]
    assert [] == found.lines
    assert [
        "d: skipped folder (a folder), link (a symbolic link): not plain files; add them to exclude"
    ] == found.warnings
    assert [] == files(tmp_path, exclude=("folder", "link")).listing(set()).warnings


def test_of_many_that_are_no_plain_files_a_few_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "x")
    for number in range(100):
        os.mkfifo(tmp_path / f"{number:02}")
    (warning,) = files(tmp_path).listing(set()).warnings
    assert "04 (a named pipe), and 95 more: " in warning


def test_a_name_in_include_must_be_there_and_plain(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a.sql")
    source = files(tmp_path, ("*.sql", "gone.dump", "link", "left"), ("left",))
    found = source.listing(set())
    assert ["d.a.sql"] == [job.line.name for job in found.jobs]
    assert [] == found.warnings
    after = f"in {tmp_path}; check the program that writes it, or correct include"
    expected = [
        ("d.gone.dump", "failed", f"gone.dump does not exist {after}"),
        ("d.link", "failed", f"link is a symbolic link {after}"),
    ]
    assert expected == [(line.name, line.state, line.error) for line in found.lines]
    assert [*expected, ("d.a.sql", "planned", "")] == sorted(
        ((line.name, line.state, line.error) for line in source.plan()), key=lambda row: row[1]
    )


def test_names_that_are_excluded_do_not_make_a_run_of_nothing_well(tmp_path: Path) -> None:
    fill(tmp_path, "b.c")
    assert f"no file in {tmp_path} matches include and exclude of d; " in why(
        files(tmp_path, ("b.c",), ("b.*",))
    )


def test_a_plan_tells_what_a_run_will_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "empty", "good", "secret")
    may = os.access
    monkeypatch.setattr(  # root may read everything
        os, "access", lambda path, mode, **how: not path.endswith("secret") and may(path, mode, **how)
    )
    lines = {line.name: (line.state, line.error) for line in files(tmp_path).plan()}
    assert ("planned", "") == lines["d.good"]
    assert ("failed", "the file is empty; allow_empty = true stores it anyway") == lines["d.empty"]
    assert "failed" == lines["d.secret"][0]
    assert f" may not read {tmp_path}/secret; let " in lines["d.secret"][1]


def test_a_name_alone_that_is_not_there_fails_by_its_name(tmp_path: Path) -> None:
    found = files(tmp_path, ("x.sql",)).listing(set())
    assert [("d.x.sql", "failed")] == [(line.name, line.state) for line in found.lines]


def test_a_name_that_no_stream_may_have_fails_alone(tmp_path: Path) -> None:
    fill(tmp_path, "good", "b\x07ad", os.fsdecode(b"caf\xe9"), "x" * 255)
    found = files(tmp_path).listing(set())
    assert ["d.good"] == [job.line.name for job in found.jobs]
    assert ["d." + "x" * 255, "d.caf\udce9", "d.b\x07ad"] == [line.name for line in found.lines]
    assert {"failed"} == {line.state for line in found.lines}


@pytest.mark.parametrize("exclude", [("*",), ("a",)])
def test_a_folder_with_nothing_to_take_is_a_failure(tmp_path: Path, exclude: tuple[str, ...]) -> None:
    fill(tmp_path, "a")
    said = why(files(tmp_path, exclude=exclude))
    assert f"no file in {tmp_path} matches include and exclude of d; check the program" in said


def test_a_folder_that_is_not_there_or_none_is_a_failure(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    assert f"no such file: {tmp_path}/no; " in why(files(tmp_path / "no"))
    assert f"cannot read {tmp_path}/a: Not a directory" == why(files(tmp_path / "a"))
