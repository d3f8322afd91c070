"""A plain file as a source: of one moment, or refused."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dedupstore.errors import StreamError
from pipelines.sources.plain_file import PlainFile

Opened = Callable[[Path], PlainFile]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Return what opens a path; it is closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(PlainFile(str(path))))


def read(file: PlainFile) -> bytes:
    buffer = memoryview(bytearray(1000))
    return bytes(buffer[: file.readinto(buffer)])


def read_all(file: PlainFile) -> None:
    while read(file):
        pass


def why(path: Path) -> str:
    with pytest.raises(StreamError) as caught:
        PlainFile(str(path))
    return str(caught.value)


def test_all_bytes_come_and_then_the_end(tmp_path: Path, opened: Opened) -> None:
    data = os.urandom(2500)
    (tmp_path / "x").write_bytes(data)
    file = opened(tmp_path / "x")
    assert 2500 == file.size
    assert [data[:1000], data[1000:2000], data[2000:], b""] == [read(file) for _ in range(4)]
    file.close()
    file.close()


def test_an_empty_file_is_just_the_end(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "x").touch()
    assert b"" == read(opened(tmp_path / "x"))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, (1, 1))  # whatever the granularity of its clock


@pytest.mark.parametrize(
    ("change", "after"),
    [(append, 2004), (overwrite, 2000), (lambda path: os.truncate(path, 500), 500)],
)
def test_a_file_that_changes_while_it_is_read_has_no_end(
    tmp_path: Path, opened: Opened, change: Callable[[Path], None], after: int
) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(2000))
    file = opened(path)
    read(file)
    change(path)
    with pytest.raises(StreamError) as caught:
        read_all(file)
    assert str(caught.value).startswith(
        f"{path} changed while it was read (2000 bytes before, {after} after); make its program write to "
    )


def test_a_file_that_is_replaced_or_removed_while_it_is_read_is_still_the_old_one(
    tmp_path: Path, opened: Opened
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    file = opened(path)
    (tmp_path / "new").write_bytes(b"newer")
    (tmp_path / "new").rename(path)
    path.unlink()
    assert [b"old", b""] == [read(file), read(file)]


def test_only_plain_files_are_opened_and_nothing_waits(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    (tmp_path / "link").symlink_to("plain")
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.close()
    only = "only plain files are stored"
    assert f"{tmp_path}/link is a symbolic link: {only}" == why(tmp_path / "link")
    assert f"{tmp_path}/fifo is a named pipe: {only}" == why(tmp_path / "fifo")
    assert f"{tmp_path} is a folder: {only}" == why(tmp_path)
    assert f"/dev/null is a device: {only}" == why(Path("/dev/null"))
    assert f"cannot read {tmp_path}/socket: No such device or address" == why(tmp_path / "socket")


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    assert f"no such file: {tmp_path}/x; check the program that writes it" in why(tmp_path / "x")


def test_a_file_that_may_not_be_read_says_who_may_not(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"secret")
    path.chmod(0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            PlainFile(str(path))
        except StreamError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as said:
        who, _, rest = said.read().partition(" ")
    os.waitpid(child, 0)
    assert f"may not read {path}; let {who} read it, and enter every folder above it" in rest
    assert who == ("nobody" if os.geteuid() == 0 else path.owner())


def test_a_file_that_cannot_be_read_to_its_end_is_an_error(opened: Opened) -> None:
    file = opened(Path("/proc/self/mem"))  # nothing is at its first address
    with pytest.raises(StreamError, match="cannot read /proc/self/mem: Input/output error"):
        read(file)
