"""What people read is plain English: no message, help text or config key has a wording that was replaced."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(path for top in ("dedupstore", "keys", "pipelines") for path in (ROOT / top).rglob("*.py"))
EXAMPLE = ROOT / "pipelines/data/dedup.toml"

REPLACED = {
    "say what to do": "missing command",
    r"is out \(roster": "removed admin Carol (roster 3)",
    r"\bput (a member|someone|somebody|\{?\w+\}?) out\b|\bput out of\b": "remove a member, by fingerprint or user ID",
    "has never met": "unknown repository: not yet accepted on this host",
    r"this host (now )?believes|believe a repository": "this host now trusts repository",
    "went back": "rollback detected: backups seen before are gone",
    "nothing was listed": "no backup was recorded",
    r"\bails\b": "check the storage server",
    "does not believe": "refused FILE: only root may have write permission",
    "only looked for": "all files present; contents not read (use --read-data)",
    "what was made of": "the half-restored volume X was removed",
    r"is not a date$|is not a date[;:.]": "DATE comes first: dedup get latest user.alice",
    r"[Tt]aken up|takes? up": "resumed: kept 22 streams",
    "see to what makes": "check the program that writes it",
    "is an alarm": "if no mail arrives, something is wrong",
    r"\b(is|are|was) told\b": "findings are reported",
    r"\bwhoever\b": "name who does it",
    r"\banew\b": "again",
}
OLD_KEYS = {"take", "leave", "at_once"}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the string literals of a module that people may read, with their lines.

    Docstrings count only where they are the help of a command.
    """
    tree = ast.parse(path.read_text())
    prose = set()
    for node in ast.walk(tree):
        is_help = any("command" in ast.unparse(each) for each in getattr(node, "decorator_list", ()))
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node)
            and not is_help
        ):
            prose.add(id(node.body[0].value))  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, " ".join(node.value.split())


@pytest.mark.parametrize("phrase", REPLACED)
def test_no_message_has_a_wording_that_was_replaced(phrase: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}; better: {REPLACED[phrase]}"
        for path in PRODUCT
        for line, text in texts(path)
        if re.search(phrase, text)
    ]
    assert [] == found
    assert not re.search(phrase, EXAMPLE.read_text())


def test_the_config_file_has_no_key_that_was_replaced() -> None:
    uncommented = re.sub(r"^# (?=\w+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    keys = set(re.findall(r"^(\w+) = ", uncommented, flags=re.MULTILINE))
    assert set() == keys & OLD_KEYS
    assert tomllib.loads(EXAMPLE.read_text())["source"][0].keys().isdisjoint(OLD_KEYS)
