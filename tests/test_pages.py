"""The pages for those who work on the code are true: what they name is there."""

import re
from pathlib import Path

import pytest

from tools.architecture_picture import IMAGES, draw, read

ROOT = Path(__file__).parents[1]
PAGES = ["CONTRIBUTING.md", "docs/architecture.md", "docs/style.md"]
PICTURE = (IMAGES / "architecture.txt").read_text()
_PATH = re.compile(r"`((?:dedupstore|keys|pipelines|tests|tools|docs)(?:/\w+)*(?:\.\w+)?)(?:/)?`")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_TERMS = (  # noqa: SIM905 - a list is hard to read
    "stream content skeleton layout chunk block pack recipe span stretch column hint domain roster slot run head facts "
    "snapshot closing done epoch suite pin checkpoint"
).split()


def is_there(path: str) -> bool:
    return any((ROOT / f"{path}{ending}").exists() for ending in ("", ".py"))


def test_the_picture_is_the_one_that_its_text_describes() -> None:
    assert draw(PICTURE) == (IMAGES / "architecture.svg").read_text(), "run tools/architecture_picture.py"


def test_each_box_of_a_package_in_the_picture_is_a_module() -> None:
    bands, _ = read(PICTURE)
    named = [
        f"{band.title[0]}/{name}"
        for band in bands
        if is_there(band.title[0])
        for row in band.rows
        for name, _ in row
        if name
    ]
    assert {"dedupstore", "keys", "pipelines"} == {path.split("/")[0] for path in named}
    assert [] == [path for path in named if not is_there(path)]


@pytest.mark.parametrize("page", PAGES)
def test_each_path_that_a_page_names_is_there(page: str) -> None:
    found = _PATH.findall((ROOT / page).read_text())
    assert [] == [path for path in found if not is_there(path)]


@pytest.mark.parametrize("page", PAGES)
def test_each_link_of_a_page_leads_to_a_file(page: str) -> None:
    found = _LINK.findall((ROOT / page).read_text())
    assert [] == [link for link in found if not ((ROOT / page).parent / link).exists()]


def test_the_glossary_explains_what_a_newcomer_meets() -> None:
    glossary = (ROOT / "docs/architecture.md").read_text().partition("## Glossary")[2]
    explained = re.findall(r"\w+", " ".join(re.findall(r"^\| \*\*(.+?)\*\*", glossary, re.MULTILINE)))
    assert [] == [term for term in _TERMS if term not in explained]
