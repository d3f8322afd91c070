"""What starting the command costs, and what it is called."""

import os
import signal
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


KEPT_SECRET = """
import atexit, ctypes, os, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
def end():
    print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3), file=sys.stderr, flush=True)
    os.abort()
atexit.register(end)
sys.argv = ["dedup", "--help"]
from pipelines.cli import main
main()
"""


def test_no_memory_of_a_command_gets_into_a_core_dump(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEPT_SECRET],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (-signal.SIGABRT, "(0, 0) 0") == (done.returncode, done.stderr.splitlines()[0])
    assert [] == list(tmp_path.iterdir())


def test_help_loads_no_command() -> None:
    loaded = imported_by("--help")
    assert "click" in loaded
    assert set() == {
        name
        for name in loaded
        if name.startswith(
            ("pipelines.cli.commands.backup.put", "pipelines.cli.commands.look.list", "keys", "rich")
        )
    }
