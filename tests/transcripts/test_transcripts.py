"""The transcripts, and the pages whose command blocks are transcripts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transcripts.runner import FILES, PAGES, Runner
from tests.transcripts.script import fences, unfenced
from tests.transcripts.world import ROOT

CELL = "needs an AFS cell"
NOT_RUN = {  # the blocks of commands that are marked `sh`, by how they begin
    "README.md": {
        "vos dump -id user.alice.backup | gzip | ccrypt": "what was done before",
        "root@fs1# dedup run": CELL,
        "make build": "the project's own verbs, which take minutes",
    },
    "docs/guide-admin.md": {
        "apt-get install git gcc": "installs packages of the system",
        "root@fs1# mkdir -p /etc/dedup": "writes into /etc",
        "root@fs1# vos backup user.alice": CELL,
        "root@fs1# dedup put db.members": "needs a database, and reads /etc",
        "root@fs1# dedup config example": "writes into /etc; needs an AFS cell",
        "alice@laptop$ dedup restore": CELL,
        "for folder in runs ledgers": "needs rsync on another host",
    },
    "docs/guide-restore.md": {
        "dedup restore 2026.11.01 user.alice user.alice.r": CELL,
        "fs mkm user.alice.r": CELL,
        "dedup restore 2026.11.01 user.alice user.alice --overwrite": CELL,
        "vos dump -id user.alice.backup": CELL,
        "for dump in back/user.*": CELL,
    },
    "docs/guide-storage.md": {
        "mkdir -p /srv/backup/storage": "is for root on the storage server",
    },
}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_program_prints_what_the_transcript_says(runner: Runner, path: Path) -> None:
    for step, printed, status in runner.run(path):
        where = f"{path.name}, line {step.first}: {step.typed}"
        expected = "\n".join([where, *step.output, f"[exit {step.status}]"])
        actual = f"{where}\n{printed}[exit {status}]"
        assert expected == actual or step.matches(printed, status)


@pytest.mark.parametrize("name", PAGES)
def test_a_block_of_commands_of_a_page_runs_or_has_a_reason_not_to(name: str) -> None:
    blocks = list(fences((ROOT / name).read_text()))
    assert {"console", "sh", "text"} >= {language for language, _ in blocks}
    left = [block[0][1] for language, block in blocks if language == "sh"]
    assert list(NOT_RUN[name]) == [
        next((start for start in NOT_RUN[name] if line.startswith(start)), line) for line in left
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_block_that_is_only_indented(name: str) -> None:
    assert [] == [line for line in unfenced((ROOT / name).read_text()) if line.startswith("    ")]
