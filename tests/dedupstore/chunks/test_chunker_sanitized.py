"""The chunker's C core under AddressSanitizer and UndefinedBehaviorSanitizer, without Python around it."""

import subprocess
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("chunker_driver.c")
CORE = Path(__file__).parents[3] / "dedupstore/chunks"


@pytest.mark.parametrize("optimised", ["-O1", "-O3"])
def test_reads_no_byte_outside_and_does_nothing_undefined(optimised: str, tmp_path: Path) -> None:
    program = tmp_path / "driver"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    command = ["cc", "-std=c11", optimised, *warnings, *sanitizers, f"-I{CORE}"]
    subprocess.run([*command, "-o", program, DRIVER], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    expected = (0, "")
    assert expected == (done.returncode, done.stderr)
