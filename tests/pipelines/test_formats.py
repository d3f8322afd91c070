"""What a stream is, and whether it is whole."""

import io
import random
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats import detect, wholeness

DUMP = bytes.fromhex("01b3a11322 00000001") + b"v\0\0\0\1" + bytes(2000) + bytes.fromhex("043a214b6e")


def tar(form: int, name: str = "a") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def drain(source: wholeness.TailCheck, size: int) -> bytes:
    out = bytearray()
    buffer = memoryview(bytearray(size))
    while count := source.readinto(buffer):
        out += buffer[:count]
    return bytes(out)


class InPieces(io.RawIOBase):
    """Gives its bytes in pieces of odd sizes, as a pipe does."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._data = data
        self._random = random.Random(seed)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), len(self._data), self._random.choice([1, 2, 7, 1000, 5000]))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_knows_every_tar(form: int) -> None:
    assert "tar" == detect.detect(tar(form)[: detect.HEAD])
    assert "tar" == detect.detect(tar(form, "ü" * 40)[: detect.HEAD])


def test_knows_a_tar_of_unix_v7_without_any_magic() -> None:
    header = bytearray(512)
    header[:1] = b"a"
    header[100:148] = b"000644 \x00000000 \x00000000 \x0000000000003 00000000000 "
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert b"ustar" not in header
    assert "tar" == detect.detect(bytes(header))


def test_knows_a_tar_whose_checksum_was_made_of_signed_bytes() -> None:
    header = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    header[:2] = b"\xfc\xfc"
    header[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % signed
    assert "tar" == detect.detect(bytes(header))


def test_knows_a_volume_dump() -> None:
    assert "afs" == detect.detect(DUMP[: detect.HEAD])


@pytest.mark.parametrize(
    "head",
    [b"", b"x", DUMP[:4], bytes(512), tar(tarfile.USTAR_FORMAT)[:511], b"7" * 512, b"PGDMP" + bytes(600)],
)
def test_everything_else_is_raw(head: bytes) -> None:
    assert "raw" == detect.detect(head)


def test_a_tar_header_with_one_bit_changed_is_raw() -> None:
    head = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    head[10] ^= 1
    assert "raw" == detect.detect(bytes(head))


@given(st.binary(max_size=600))
def test_detection_takes_any_bytes(head: bytes) -> None:
    assert detect.detect(head) in ("afs", "tar", "raw")


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 512, 100_000])
def test_a_whole_dump_passes_in_pieces_of_any_size(size: int) -> None:
    for seed in range(3):
        assert DUMP == drain(wholeness.whole_dump(InPieces(DUMP, seed), "user.alice"), size)


@pytest.mark.parametrize("missing", [1, 2, 4, 5, 6, 1000, len(DUMP)])
def test_a_dump_without_its_end_mark_is_refused(missing: int) -> None:
    source = wholeness.whole_dump(InPieces(DUMP[:-missing], 1), "user.alice")
    with pytest.raises(
        StreamError,
        match=rf"the volume dump for user\.alice is cut short: it has no end mark after {len(DUMP) - missing} bytes; "
        "nothing was listed; dump it again, or keep it as it is with --format raw",
    ):
        drain(source, 100)


def test_a_dump_with_something_after_its_end_mark_is_refused() -> None:
    with pytest.raises(StreamError):
        drain(wholeness.whole_dump(InPieces(DUMP + b"\0", 1), "user.alice"), 100)


def test_only_a_tar_that_does_not_end_as_one_is_complained_of() -> None:
    whole = tar(tarfile.PAX_FORMAT)
    complaints: list[int] = []
    for data in (whole, whole[:-512], whole[: 512 + 512], whole[:700], whole + b"\0"):
        drain(wholeness.whole_tar(InPieces(data, 2), complaints.append), 300)
    assert [1024, 700, len(whole) + 1] == complaints
