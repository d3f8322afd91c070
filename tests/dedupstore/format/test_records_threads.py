"""Records are read by several threads at once."""

import subprocess
import sys

SCRIPT = """
import sys, threading
import msgspec
from dedupstore.format import records

sys.setswitchinterval(1e-6)
for number in range(300):
    inner = msgspec.defstruct(f"Inner{number}", [(f"field{i}", list[tuple[int, bytes]]) for i in range(10)])
    kind = msgspec.defstruct(f"Kind{number}", [("one", inner), ("two", list[inner])])
    empty = inner(*[[] for _ in range(10)])
    data = records.encode(kind(empty, [empty]))
    gate = threading.Barrier(4)

    def work():
        gate.wait()
        assert records.decode(data, kind, "x") == kind(empty, [empty])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_are_the_first_to_read_a_kind_of_record_do_not_disturb_each_other() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=False)
    assert (0, b"") == (done.returncode, done.stderr)
