"""Files that appear whole or not at all."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dedupstore.errors import DedupError
from pipelines.output import pipes
from pipelines.restore import get


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, data: bytes, *, force: bool = False) -> None:
    with get.output_file(path, force=force) as descriptor:
        get.write_pieces([data[:3], memoryview(data)[3:]], descriptor, str(path), lambda done: None)


@contextmanager
def size_limit(size: int) -> Iterator[None]:
    """Let every file end at `size` bytes, as a full disk would."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_appears_at_the_end_with_all_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with get.output_file(path, force=False) as descriptor:
        pipes.write_all(descriptor, b"abc", str(path))
        assert not path.exists()
    assert b"abc" == path.read_bytes()
    assert ["out"] == names(tmp_path)


def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    os.umask(0o022)
    write(tmp_path / "out", b"secret")
    assert 0o100600 == (tmp_path / "out").stat().st_mode


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyError

    with pytest.raises(KeyError), get.output_file(tmp_path / "out", force=False) as descriptor:
        get.write_pieces(pieces(), descriptor, "out", lambda done: None)
    assert [] == names(tmp_path)


def test_a_failure_leaves_the_old_file_even_when_forced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), get.output_file(path, force=True):
        raise KeyError
    assert b"old" == path.read_bytes()
    assert ["out"] == names(tmp_path)


def test_refuses_to_overwrite_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(
        DedupError, match="out exists already; choose another name, or replace it with --force"
    ):
        write(path, b"new")
    assert b"old" == path.read_bytes()


def test_refuses_a_file_that_appeared_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(DedupError, match="out exists already"), get.output_file(path, force=False):
        path.write_bytes(b"another")
    assert b"another" == path.read_bytes()
    assert ["out"] == names(tmp_path)


def test_force_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    write(path, b"newer", force=True)
    assert b"newer" == path.read_bytes()


@pytest.mark.parametrize("force", [False, True])
def test_never_replaces_what_is_no_plain_file(tmp_path: Path, force: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    for path in (Path("/dev/null"), tmp_path, tmp_path / "fifo", tmp_path / "link"):
        with pytest.raises(DedupError, match="exists and is not a plain file"):
            write(path, b"x", force=force)
    assert ["fifo", "link"] == names(tmp_path)
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DedupError, match=r"cannot write .*/no/out: No such file or directory"):
        write(tmp_path / "no/out", b"x")


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with size_limit(10), pytest.raises(DedupError, match=r"cannot write .*/out: File too large"):
        write(tmp_path / "out", bytes(100))
    assert [] == names(tmp_path)


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)  # there is no FAT to try it on
    write(tmp_path / "out", b"abc")
    assert b"abc" == (tmp_path / "out").read_bytes()
    with (
        pytest.raises(DedupError, match="two exists already"),
        get.output_file(tmp_path / "two", force=False),
    ):
        (tmp_path / "two").write_bytes(b"another")
    assert b"another" == (tmp_path / "two").read_bytes()
    assert ["out", "two"] == names(tmp_path)


def test_writes_everything_to_a_pipe_that_takes_little_at_a_time() -> None:
    reader, writer = os.pipe()
    data = os.urandom(3_000_000)
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.set_blocking(writer, False)
        pipes.prepare(writer)
        pipes.write_all(writer, data, "pipe")
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        assert data == file.read()
    assert 0 == os.waitpid(child, 0)[1]


def test_a_pipe_that_nobody_reads_any_more_is_told_apart() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(pipes.ReaderGoneError):
        pipes.write_all(writer, b"x", "standard output")
    os.close(writer)


def test_progress_is_told_every_now_and_then_and_at_the_end() -> None:
    told: list[int] = []
    descriptor = os.open(os.devnull, os.O_WRONLY)
    get.write_pieces([bytes(100), b"", bytes(1 << 20), b"de"], descriptor, "null", told.append)
    os.close(descriptor)
    assert [100 + (1 << 20), 102 + (1 << 20)] == told


def test_many_small_and_large_pieces_come_out_in_order_through_a_slow_pipe() -> None:
    reader, writer = os.pipe()
    pieces = [os.urandom(size) for size in (0, 1, 70_000, *[7] * 3000, 300_000, 0, 5, 200_000, 100_000)]
    child = os.fork()
    if child == 0:
        os.close(reader)
        get.write_pieces(pieces, writer, "pipe", lambda done: None)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        assert b"".join(pieces) == file.read()
    assert 0 == os.waitpid(child, 0)[1]


def test_part_of_a_write_is_followed_by_the_rest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pieces = [b"one", b"", b"three", b"four", b"five5"]
    whole = b"".join(pieces)
    writev = os.writev
    for taken in range(len(whole) + 1):

        def some(descriptor: int, pieces: list[bytes], taken: int = taken) -> int:
            return writev(descriptor, [b"".join(pieces)[:taken]])

        monkeypatch.setattr(os, "writev", some)  # as a signal that comes in between would have it
        with open(tmp_path / "x", "wb") as file:
            pipes.write_many(file.fileno(), pieces, "x")
        assert whole == (tmp_path / "x").read_bytes()
