"""The splitters' C core under AddressSanitizer and UndefinedBehaviorSanitizer, on sound and on damaged streams."""

import subprocess
from pathlib import Path

import pytest

from tests.fuzz import seeds

FUZZ = Path(seeds.__file__).parent
CORE = FUZZ.parents[1] / "pipelines" / "formats"


@pytest.mark.parametrize("optimised", ["-O1", "-O3"])
def test_reads_no_byte_outside_and_does_nothing_undefined(optimised: str, tmp_path: Path) -> None:
    program = tmp_path / "driver"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    command = ["cc", "-std=c11", optimised, *warnings, *sanitizers, f"-I{CORE}"]
    subprocess.run([*command, "-o", program, FUZZ / "driver.c"], check=True)
    done = subprocess.run([program, "150", *seeds.write(tmp_path)], capture_output=True, text=True)
    expected = (0, "")
    assert expected == (done.returncode, done.stderr)
