"""What every back end promises, asked of each of them."""

import hashlib
import os
import random
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dedupstore.backends.contract import MAX_FILE_SIZE, MAX_WHOLE, Backend, Entry, check_name
from dedupstore.errors import AlreadyExistsError, DamageError, NotFoundError
from tests.dedupstore.backends.conftest import Place

ROOT = Path(__file__).parents[3]
LARGE = 33 << 20

WRITER = """
import hashlib, random, sys
from dedupstore.backends import open_backend
backend = open_backend(sys.argv[1])
while True:
    data = random.randbytes(4 << 20)
    backend.create(f"packs/{hashlib.sha256(data).hexdigest()}", data)
"""


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that differ everywhere, so that a misplaced part shows."""
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 32 << 10, 255 << 10, (255 << 10) + 1, LARGE])
def test_gives_back_what_was_created(backend: Backend, size: int) -> None:
    data = noise(size)
    backend.create("packs/ab/abcd", data)
    assert size == backend.size("packs/ab/abcd")
    assert data == backend.read("packs/ab/abcd", 0, size)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_takes_any_buffer(backend: Backend, kind: type) -> None:
    data = b"some bytes"
    backend.create("config", kind(data))
    assert data == backend.read("config")


def test_reads_exact_ranges(backend: Backend) -> None:
    data = noise(1 << 20)
    backend.create("packs/x", data)
    for offset, length in [
        (0, 0),
        (0, 1),
        (1, 600_000),
        (1 << 20, 0),
        ((1 << 20) - 1, 1),
        (7, (1 << 20) - 7),
    ]:
        assert data[offset : offset + length] == backend.read("packs/x", offset, length)
    assert data[1000:] == backend.read("packs/x", 1000)
    assert not backend.read("packs/x", 1 << 20)


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (10, 1), (11, 1), (11, None), (4 << 20, 4 << 20)])
def test_calls_a_file_damaged_that_ends_before_the_range(
    backend: Backend, offset: int, length: int | None
) -> None:
    backend.create("packs/short", b"0123456789")
    with pytest.raises(DamageError, match=r"packs/short is too short"):
        backend.read("packs/short", offset, length)


def test_calls_a_file_damaged_that_is_larger_than_any(backend: Backend, place: Place) -> None:
    backend.create("config", b"")
    os.truncate(place.folder / "config", MAX_WHOLE + 1)
    with pytest.raises(DamageError, match="config has 9437185 bytes"):
        backend.read("config")


def test_says_so_when_a_file_is_missing(backend: Backend) -> None:
    for name in ["config", "packs/ab/abcd"]:
        with pytest.raises(NotFoundError, match=name):
            backend.read(name)
        with pytest.raises(NotFoundError, match=name):
            backend.size(name)


def test_refuses_to_overwrite_an_existing_file(backend: Backend, place: Place) -> None:
    first = b"first"
    backend.create("config", first)
    with pytest.raises(AlreadyExistsError, match="config exists already"):
        backend.create("config", b"second")
    assert first == backend.read("config")
    other = place.open()
    with pytest.raises(AlreadyExistsError):
        other.create("config", b"third")
    other.close()
    assert first == backend.read("config")


def test_lists_the_files_directly_in_a_folder(backend: Backend) -> None:
    for name in ["config", "packs/ab/1", "packs/ab/2", "packs/cd/3", "packs/4"]:
        backend.create(name, name.encode())
    assert [Entry("config", 6)] == sorted(backend.list(""))
    assert [Entry("packs/4", 7)] == sorted(backend.list("packs"))
    assert [Entry("packs/ab/1", 10), Entry("packs/ab/2", 10)] == sorted(backend.list("packs/ab"))
    assert ["packs/ab/1", "packs/ab/2"] == sorted(backend.names("packs/ab"))


def test_lists_a_folder_of_many_files(backend: Backend, place: Place) -> None:
    backend.create("runs/first", b"")
    names = {f"runs/{number:04}" for number in range(777)}
    for name in names:
        (place.folder / name).touch()
    assert names | {"runs/first"} == {entry.name for entry in backend.list("runs")}


def test_lists_nothing_where_there_is_nothing(backend: Backend) -> None:
    assert not list(backend.list(""))
    assert not list(backend.list("packs"))
    assert not list(backend.list("packs/ab"))


def test_leaves_out_what_is_not_a_file_of_a_repository(backend: Backend, place: Place) -> None:
    backend.create("packs/a", b"")
    (place.folder / "packs/Thumbs.DB").touch()
    (place.folder / "packs/folder").mkdir()
    (place.folder / "packs/link").symlink_to("a")
    assert [Entry("packs/a", 0)] == list(backend.list("packs"))
    assert ["packs/a"] == list(backend.names("packs"))


def test_shows_unfinished_files_only_in_the_folder_for_them(backend: Backend, place: Place) -> None:
    backend.create("config", b"")
    (place.folder / "tmp" / "0123").write_bytes(b"unfinished")
    assert {"config"} == {entry.name for entry in backend.list("")}
    assert Entry("tmp/0123", 10) in backend.list("tmp")


def test_keeps_everything_from_other_accounts(backend: Backend, place: Place) -> None:
    backend.create("packs/ab/1", b"x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in place.folder.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in [place.folder, *place.folder.rglob("*/")]}
    assert ({0o400}, {0o700}) == (modes, folders - modes)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/config",
        "config/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "A",
        "a_b",
        "a b",
        "a\nb",
        "a\0",
        "é",
        "x" * 256,
    ],
)
def test_refuses_names_that_could_mean_something_else(backend: Backend, name: str) -> None:
    for call in (backend.read, backend.size, lambda name: backend.create(name, b"")):
        with pytest.raises(ValueError, match="name"):
            call(name)
    if name:
        with pytest.raises(ValueError, match="name"):
            list(backend.list(name))


def test_takes_every_name_that_a_repository_has() -> None:
    for name in ["config", "packs/ab/" + 64 * "f", "runs/2026.11.01-x.done", "a/.b", "..."]:
        assert name == check_name(name)


def test_refuses_sizes_that_no_file_has(backend: Backend) -> None:
    with pytest.raises(ValueError, match="larger"):
        backend.create("config", bytes(MAX_FILE_SIZE + 1))
    for offset, length in [(-1, None), (0, -1), (MAX_FILE_SIZE + 1, None), (0, MAX_FILE_SIZE + 1)]:
        with pytest.raises(ValueError, match="range"):
            backend.read("config", offset, length)
    assert not list(backend.list(""))


def test_gives_a_contested_name_to_exactly_one_writer(backend: Backend) -> None:
    contents = [noise(300_000, seed) for seed in range(8)]
    barrier = threading.Barrier(len(contents))

    def create(data: bytes) -> bytes | None:
        barrier.wait()
        try:
            backend.create("runs/contested", data)
        except AlreadyExistsError:
            return None
        return data

    with ThreadPoolExecutor(len(contents)) as pool:
        winners = [data for data in pool.map(create, contents) if data is not None]
    assert [backend.read("runs/contested")] == winners


def test_serves_many_threads_at_once(backend: Backend) -> None:
    def work(seed: int) -> None:
        for turn in range(3):
            name, data = f"packs/{seed}/{turn}", noise(3 << 20, seed)
            backend.create(name, data)
            assert data[1 << 20 : 2 << 20] == backend.read(name, 1 << 20, 1 << 20)
            assert data == backend.read(name)
            assert Entry(name, 3 << 20) in backend.list(f"packs/{seed}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def test_stores_as_many_files_at_once_as_it_says_are_worth_while(backend: Backend, place: Place) -> None:
    _, many, remote = backend.properties
    assert (many > 1) == remote == place.url.startswith("sftp:")
    contents = {f"packs/{seed}": noise(4 << 20, seed) for seed in range(many)}
    barrier = threading.Barrier(many)

    def create(name: str) -> None:
        barrier.wait()
        backend.create(name, contents[name])

    with ThreadPoolExecutor(many) as pool:
        list(pool.map(create, contents))
    assert contents == {name: backend.read(name) for name in contents}


def test_a_killed_writer_leaves_only_whole_files(place: Place) -> None:
    for _ in range(2):
        reader = place.open()
        before = len(list(reader.list("packs")))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, place.url], cwd=ROOT)
        try:
            unfinished: list[Entry] = []
            # Not before at least one more file is whole, and another one has been begun.
            while len(list(reader.list("packs"))) == before or not unfinished:
                assert writer.poll() is None
                unfinished = list(reader.list("tmp"))
        finally:
            writer.kill()
            writer.wait()
        whole = list(reader.list("packs"))
        assert {4 << 20} == {entry.size for entry in whole}
        for entry in whole:
            assert entry.name == f"packs/{hashlib.sha256(reader.read(entry.name)).hexdigest()}"
        reader.close()
