"""How a command uses memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import World

COUNTING = """
import ctypes, sys
from pipelines.cli.entry import main

class File(ctypes.Structure):
    pass

libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.POINTER(File)
libc.malloc_info.argtypes = ctypes.c_int, ctypes.POINTER(File)
libc.fclose.argtypes = (ctypes.POINTER(File),)
file = sys.argv.pop(1)
try:
    main()
finally:
    stream = libc.fopen(file.encode(), b"w")
    libc.malloc_info(0, stream)
    libc.fclose(stream)
"""


@pytest.mark.parametrize(
    "line", ["put y", "get latest x -o out", "get latest --all -o all", "check --read-data"]
)
def test_all_threads_of_a_command_share_one_heap(world: World, tmp_path: Path, line: str) -> None:
    """Each thread's own would keep what it once needed."""
    world.wendy.does("put x", os.urandom(5_000_000))
    host = world.wendy if line.startswith("put") else world.alice
    _, _, _, *rest = host.command(line)
    subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path / "heaps"), *rest],
        input=os.urandom(5_000_000),
        env=host.environ,
        cwd=host.folder,
        check=True,
        capture_output=True,
    )
    assert 1 == (tmp_path / "heaps").read_text().count("<heap nr=")
