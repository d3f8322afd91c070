"""Names of streams, which are relative paths: in which order they are shown, and which files they become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import DedupError
from dedupstore.format.layout import check_stream_name
from pipelines.streams.names import beside, files, order

SEGMENTS = st.sampled_from(["web", "web.d", "web.d.d", "a", "b.d"])
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    "name", ["web", "web/x", "a/b/c", ".hidden", "a/...", "-x", "a/-x", "ä/ö", "x" * 255]
)
def test_relative_paths_are_names(name: str) -> None:
    check_stream_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "./a",
        "a/.",
        "../a",
        "a/..",
        "a/../b",
        "a/./b",
        "a/b\n",
        "x/" * 127 + "xx",
    ],
)
def test_what_could_lead_elsewhere_is_no_name(name: str) -> None:
    with pytest.raises(DedupError):
        check_stream_name(name)


def test_folders_come_before_streams() -> None:
    shown = ["a/b/c", "a/b", "a/d", "web/x", "a", "b", "web", "web.d"]
    assert shown == sorted(shown, key=order)


def test_a_file_is_called_as_its_stream() -> None:
    names = {"web", "mail/x", "mail/y/z"}
    assert {name: name for name in names} == files(names)


def test_a_folder_that_is_a_stream_too_gets_another_name() -> None:
    assert {"web": "web", "web/x": "web.d/x"} == files(["web", "web/x"])
    assert {"web": "web", "web/x": "web.d/x", "web/x/y": "web.d/x.d/y"} == files(["web", "web/x", "web/x/y"])
    assert {"web": "web", "web.d": "web.d", "web/x": "web.d.d/x"} == files(["web", "web.d", "web/x"])
    assert {"web": "web", "web/x": "web.d.d/x", "web.d/x": "web.d/x"} == files(["web", "web/x", "web.d/x"])


@given(st.lists(NAMES, max_size=12))
def test_no_file_is_another_or_a_folder(names: list[str]) -> None:
    made = files(names)
    paths = list(made.values())
    assert set(names) == made.keys()
    assert len(set(paths)) == len(paths)
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    assert not folders & set(paths)
    for path in paths:
        check_stream_name(path)


def test_what_lies_beside_has_a_name_that_a_folder_can_hold() -> None:
    assert "a_b.acls" == beside("a/b", ".acls")
    assert "ä" * 100 + ".acls" == beside("ä" * 127, ".acls")
