"""The fault-injecting wrapper has the faults that other tests count on."""

import subprocess
import sys
from pathlib import Path

import pytest

from dedupstore.backends.contract import Entry
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import BackendError, NoSpaceError, NotFoundError
from tests.dedupstore.backends.faulty import KILLED, Faulty, flip, truncate

ROOT = Path(__file__).parents[3]

VICTIM = """
import sys
from dedupstore.backends.local import LocalBackend
from tests.dedupstore.backends.faulty import Faulty
backend = Faulty(LocalBackend(sys.argv[1]), kill_at=2, after=sys.argv[2] == "after")
for name in "abc":
    backend.create(name, b"data")
"""


@pytest.mark.parametrize(("when", "left"), [("before", {"a"}), ("after", {"a", "b"})])
def test_kills_the_process_at_a_call(tmp_path: Path, when: str, left: set[str]) -> None:
    victim = subprocess.run([sys.executable, "-c", VICTIM, str(tmp_path), when], cwd=ROOT, check=False)
    assert victim.returncode == KILLED
    assert left == {entry.name for entry in LocalBackend(tmp_path).list("")}


@pytest.mark.parametrize("after", [False, True])
def test_fails_before_or_after_the_effect(tmp_path: Path, after: bool) -> None:
    faulty = Faulty(LocalBackend(tmp_path), fail_at={1}, after=after, error=BackendError)
    with pytest.raises(BackendError, match="fault at call 1, config"):
        faulty.create("config", b"")
    assert after == bool(list(faulty.list("")))


def test_gives_altered_bytes_in_every_range(tmp_path: Path) -> None:
    faulty = Faulty(LocalBackend(tmp_path))
    faulty.create("config", b"\0\0\0\0")
    faulty.change("config", flip(2))
    assert faulty.read("config") == b"\0\0\1\0"
    assert faulty.read("config", 2, 1) == b"\1"
    faulty.change("config", truncate(3))
    assert faulty.read("config", 1) == b"\0\0"


def test_loses_what_it_acknowledged(tmp_path: Path) -> None:
    faulty = Faulty(LocalBackend(tmp_path))
    for name in ("a", "b"):
        faulty.create(name, b"")
    faulty.lose("a")
    for call in (faulty.read, faulty.size):
        with pytest.raises(NotFoundError):
            call("a")
    assert {Entry("b", 0)} == set(faulty.list(""))


def test_is_full_after_so_many_bytes(tmp_path: Path) -> None:
    faulty = Faulty(LocalBackend(tmp_path), room=10)
    faulty.create("a", bytes(6))
    with pytest.raises(NoSpaceError):
        faulty.create("b", bytes(5))
    faulty.create("c", bytes(4))
    assert {Entry("a", 6), Entry("c", 4)} == set(faulty.list(""))
