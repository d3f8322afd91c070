"""The transcripts, and the pages whose command blocks are transcripts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transcripts.runner import FILES, PAGES, Runner
from tests.transcripts.script import fences, page, rewritten, transcript, unfenced
from tests.transcripts.world import ROOT

NOT_RUN = {  # blocks of commands in pages, by their first line, and why they are not run
}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_program_prints_what_the_transcript_says(runner: Runner, path: Path) -> None:
    for step, printed, status in runner.run(path):
        expected = f"{step.typed}\n" + "".join(f"{line}\n" for line in step.output) + f"[exit {step.status}]"
        actual = f"{step.typed}\n{printed}[exit {status}]"
        assert expected == actual or step.matches(printed, status), f"{path.name}, line {step.first}"


@pytest.mark.parametrize("name", PAGES)
def test_each_block_of_commands_of_a_page_runs_or_says_why_not(name: str) -> None:
    text = (ROOT / name).read_text()
    assert [] == [line for line in unfenced(text) if re.match(r"    (\S+[$#] )?(dedup|gpg|vos|make) ", line)]
    assert [] == [block[0][1] for language, block in fences(text) if language in ("", "bash", "shell")]
    assert all(prompt for _, block in fences(text, "console") for prompt in page(_fenced(block)))


def test_only_blocks_that_need_another_machine_are_not_run() -> None:
    listed = [
        (name, block[0][1]) for name in PAGES for _, block in fences((ROOT / name).read_text(), "sh")
    ]
    assert sorted(NOT_RUN) == sorted(listed)
