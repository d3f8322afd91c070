"""Streams of files, plain ones and pipes, against slices of the same bytes."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats.stream import FileStream

DATA = random.Random(1).randbytes(700_000)


@contextmanager
def plain_file(data: bytes) -> Iterator[BinaryIO]:
    with TemporaryFile(buffering=0) as file:
        file.write(b"before" + data)
        file.seek(6)
        yield file


@contextmanager
def pipe(data: bytes) -> Iterator[BinaryIO]:
    reading, writing = os.pipe()

    def fill() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=fill)
    thread.start()
    with os.fdopen(reading, "rb", buffering=0) as file:
        yield file
        while file.read(1 << 20):
            pass
    thread.join()


kinds = pytest.mark.parametrize("opened", [plain_file, pipe])


@kinds
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["peek", "read", "skip", "copy"]),
            st.one_of(st.integers(0, 100), st.integers(0, 300_000)),
        )
    )
)
def test_any_calls_give_the_bytes_of_the_file_in_order(
    opened: Callable[[bytes], AbstractContextManager[BinaryIO]], calls: list[tuple[str, int]]
) -> None:
    at = 0
    with opened(DATA) as file:
        stream = FileStream(file)
        for call, count in calls:
            expected = DATA[at : at + count]
            if call == "peek":
                assert expected == stream.peek(count)
                continue
            if call == "read":
                assert expected == stream.read(count)
            elif at + count > len(DATA):
                with pytest.raises(StreamError, match=f"ends after {len(DATA)} bytes"):
                    stream.skip(count) if call == "skip" else list(stream.copy(count))
                break
            elif call == "skip":
                stream.skip(count)
            else:
                assert expected == b"".join(stream.copy(count))
            at += len(expected)
            assert at == stream.position


def test_skipping_in_a_plain_file_reads_nothing(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    with huge.open("rb") as file:
        stream = FileStream(file)
        assert bytes(3) == stream.peek(3)
        stream.skip(1 << 40)
        assert b"end" == stream.read(10)
