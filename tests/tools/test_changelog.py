"""Changes are joined into the changelog, none is lost, and none appears twice."""

from datetime import date
from pathlib import Path

import pytest

from tools.changelog import changes, release, section

TODAY = date(2027, 3, 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one release and three changes since."""
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [0.1.0] - 2027-01-01\n\n### Added\n\n- All.\n")
    folder = tmp_path / "changelog"
    folder.mkdir()
    (folder / "README.md").write_text("How to.\n")
    (folder / "fixed-tars.md").write_text("Empty tars\nare stored.\n")
    (folder / "added-s3.md").write_text("S3.\n")
    (folder / "added-b2.md").write_text("B2.\n")
    return tmp_path


def test_changes_are_listed_by_kind_and_name(root: Path) -> None:
    expected = "### Added\n\n- B2.\n- S3.\n\n### Fixed\n\n- Empty tars\n  are stored.\n"
    assert expected == section(changes(root / "changelog"))


def test_a_release_stands_above_the_one_before_and_uses_the_files_up(root: Path) -> None:
    release(root, "0.2.0", TODAY)
    text = (root / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n\n## [0.2.0] - 2027-03-04\n\n### Added\n\n- B2.\n")
    assert text.endswith("  are stored.\n\n## [0.1.0] - 2027-01-01\n\n### Added\n\n- All.\n")
    assert ["README.md"] == [path.name for path in (root / "changelog").iterdir()]


@pytest.mark.parametrize(
    ("version", "why"),
    [("0.1.0", "has version 0.1.0 already"), ("two", "two: not a version such as 0.2.0")],
)
def test_a_release_that_cannot_be_leaves_everything_as_it_was(root: Path, version: str, why: str) -> None:
    before = (root / "CHANGELOG.md").read_text()
    with pytest.raises(SystemExit, match=why):
        release(root, version, TODAY)
    assert before == (root / "CHANGELOG.md").read_text()
    assert 4 == len(list((root / "changelog").iterdir()))


def test_a_release_of_nothing_is_refused(root: Path) -> None:
    release(root, "0.2.0", TODAY)
    with pytest.raises(SystemExit, match="no changes to release"):
        release(root, "0.2.1", TODAY)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("new-s3.md", "S3.", "begins with none of added, changed,"),
        ("added-x.md", " \n", "the file is empty"),
    ],
)
def test_a_file_that_says_nothing_usable_is_named(root: Path, name: str, text: str, why: str) -> None:
    (root / "changelog" / name).write_text(text)
    with pytest.raises(SystemExit, match=f"{name}.*{why}"):
        changes(root / "changelog")


def test_the_project_s_own_changes_can_be_joined() -> None:
    folder = Path(__file__).parents[2] / "changelog"
    assert (folder / "README.md").is_file()
    section(changes(folder))
