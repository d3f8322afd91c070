"""One set of checks, wherever they run."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_commit_is_checked_as_make_lint_checks() -> None:
    lint = ["make", "--dry-run", "--no-print-directory", "--old-file", ".venv/developed", "lint"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=True)
    hooks = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert done.stdout.splitlines() == hooks
