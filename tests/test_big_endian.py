"""A big-endian machine, s390x, finds byte for byte what is found here; qemu is the machine.

Debian's cross compiler builds the drivers of the C cores.  The program itself runs in a Python that
`tools/s390x-python` puts together.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.store import World

TESTS = Path(__file__).parent
CORES = [TESTS.parent / "dedupstore/chunks", TESTS.parent / "pipelines/formats"]
BLAKE3 = max(Path("/usr/share/cargo/registry").glob("blake3-*/c"))
WITH_BLAKE3 = [BLAKE3 / f"blake3{part}.c" for part in ("", "_dispatch", "_portable")]
PORTABLE = [
    f"-DBLAKE3_NO_{feature}" for feature in ("SSE2", "SSE41", "AVX2", "AVX512")
]  # no assembler is linked


def run(compiler: str, emulator: list[str], program: Path, sources: list[Path], arguments: list[str]) -> str:
    """Return what a driver prints that was built by a compiler."""
    includes = [f"-I{folder}" for folder in (*CORES, BLAKE3)]
    flags = ["-std=c11", "-O2", "-static", *PORTABLE, *includes]
    subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
    done = subprocess.run([*emulator, program, *arguments], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)
    assert 17 == len(done.stdout)
    return done.stdout


@pytest.mark.parametrize("core", ["chunker", "divide", "identify", "splitters"])
def test_a_core_gives_the_same_bytes_on_a_big_endian_machine(core: str, tmp_path: Path) -> None:
    sources, arguments = [TESTS / f"dedupstore/chunks/{core}_driver.c"], list[str]()
    if core == "identify":
        sources += WITH_BLAKE3
        arguments = ["10"]
    elif core == "splitters":
        sources = [TESTS / "fuzz/driver.c"]
        arguments = ["50", *map(str, seeds.write(tmp_path))]
    here = run("cc", [], tmp_path / "here", sources, arguments)
    there = run("s390x-linux-gnu-gcc", ["qemu-s390x-static"], tmp_path / "there", sources, arguments)
    assert here == there


@pytest.mark.long
def test_a_big_endian_machine_finds_a_repository_sound_and_cuts_the_same_chunks(tmp_path: Path) -> None:
    world = World(tmp_path)
    data = random.Random(1).randbytes(3_000_000)
    world.put(data)
    world.put(data[:2_000_000] + b"x" + data[2_000_000:], "t")
    given = {
        "repository": world.base.repository.hex(),
        "id_key": world.base.id_key.hex(),
        "chunker_key": world.base.chunker_key.hex(),
        "catalogue_key": world.base.catalogue_keys[1].hex(),
        "signers": {
            key.hex(): [who.name, who.role, who.domain, who.key.hex()] for key, who in world.signers.items()
        },
    }
    (tmp_path / "access.json").write_text(json.dumps(given))
    there = tmp_path / "s390x"
    subprocess.run([TESTS.parent / "tools/s390x-python", there], check=True)
    root = there / "root"
    (python,) = (root / "usr/bin").glob("python3.*[0-9]")
    path = f"{there / 'site'}:{root / 'usr/lib/python3/dist-packages'}"
    libraries = f"LD_LIBRARY_PATH={root / 'usr/lib/s390x-linux-gnu'}"
    emulated = ["qemu-s390x-static", "-L", str(root), "-E", libraries, str(python)]
    printed = {
        machine: subprocess.run(
            [*command, TESTS / "big_endian_check.py", tmp_path],
            env={**os.environ, "PYTHONPATH": path_there},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for machine, command, path_there in (
            ("here", [sys.executable], str(TESTS.parent)),
            ("there", emulated, path),
        )
    }
    assert "TREE" in printed["here"]
    assert printed["here"] == printed["there"]
