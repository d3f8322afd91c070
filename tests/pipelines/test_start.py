"""What starting the command costs, and what it is called."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pipelines

ROOT = Path(pipelines.__file__).parent.parent


def imported_by(*arguments: str) -> set[str]:
    """Return the modules that `dedup ARGUMENTS` has imported when it ends."""
    script = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    script += f"sys.argv = ['dedup', *{arguments!r}]; from pipelines.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return set(done.stderr.split())


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == pipelines.VERSION


def test_the_version_costs_next_to_nothing() -> None:
    loaded = imported_by("--version")
    heavy = {
        "click",
        "msgspec",
        "json",
        "cryptography",
        "zstandard",
        "blake3",
        "lmdb",
        "gnupg",
        "rich",
        "paramiko",
    }
    assert set() == loaded & heavy


def test_help_loads_no_command() -> None:
    loaded = imported_by("--help")
    assert "click" in loaded
    assert set() == {
        name
        for name in loaded
        if name.startswith(("pipelines.cli.put", "pipelines.cli.list", "keys", "rich"))
    }
