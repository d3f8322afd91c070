"""The C cores give on a big-endian machine, s390x, byte for byte what they give here.

Debian's cross compiler builds the drivers, and qemu runs them.
"""

import subprocess
from pathlib import Path

import pytest

from tests.fuzz import seeds

TESTS = Path(__file__).parent
CORES = [TESTS.parent / "dedupstore", TESTS.parent / "pipelines/formats"]
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
    sources, arguments = [TESTS / f"dedupstore/{core}_driver.c"], list[str]()
    if core == "identify":
        sources += WITH_BLAKE3
        arguments = ["10"]
    elif core == "splitters":
        sources = [TESTS / "fuzz/driver.c"]
        arguments = ["50", *map(str, seeds.write(tmp_path))]
    here = run("cc", [], tmp_path / "here", sources, arguments)
    there = run("s390x-linux-gnu-gcc", ["qemu-s390x-static"], tmp_path / "there", sources, arguments)
    assert here == there
