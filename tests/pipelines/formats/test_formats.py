"""What a stream is, and whether it is whole."""

import io
import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import StreamError
from pipelines.formats import detect, wholeness
from tests.afsdump import make_dump

DUMP = bytes.fromhex("01b3a11322 00000001") + b"v\0\0\0\1" + bytes(2000) + bytes.fromhex("043a214b6e")


def tar(form: int, name: str = "a") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


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


REAL = make_dump("user.alice", 7, {"file": b"content" * 1000})
UNKNOWN = REAL.replace(b"b\x01\xa4", b"\x05\x01\xa4", 1)  # a tag that nobody knows, in the middle


def findings(data: bytes, splitter: wholeness.Judge, size: int) -> list[str]:
    for at in range(0, len(data), size):
        splitter.split(memoryview(data)[at : at + size], at + size >= len(data))
    return splitter.findings("user.alice")


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 512, 100_000])
def test_a_whole_dump_passes_in_pieces_of_any_size(size: int) -> None:
    assert [] == findings(REAL, wholeness.DumpSplitter(), size)


@pytest.mark.parametrize("dump", [REAL, UNKNOWN])
@pytest.mark.parametrize("missing", [1, 2, 4, 5, 6, 1000])
def test_a_dump_without_its_end_mark_is_refused(dump: bytes, missing: int) -> None:
    with pytest.raises(
        StreamError,
        match=rf"the volume dump for user\.alice is cut short: it has no end mark after {len(dump) - missing} bytes; "
        "no backup was recorded; dump it again, or keep it as it is with --format raw",
    ):
        findings(dump[:-missing], wholeness.DumpSplitter(), 100)


def test_a_dump_that_is_not_understood_to_its_end_mark_is_odd() -> None:
    (found,) = findings(UNKNOWN, wholeness.DumpSplitter(), 100)
    assert re.match(
        rf"the volume dump for user\.alice is not understood from byte \d+ of {len(UNKNOWN)} on: ", found
    )


def test_what_follows_the_end_mark_of_a_dump_is_odd() -> None:
    found = findings(REAL + b"\0\0", wholeness.DumpSplitter(), 100)
    assert ["2 bytes follow the end mark of the volume dump for user.alice"] == found


TAR = tar(tarfile.PAX_FORMAT)


@pytest.mark.parametrize("data", [TAR, TAR[:-512], bytes(10240)])
def test_a_tar_that_ends_as_one_passes(data: bytes) -> None:
    assert [] == findings(data, wholeness.WholeTarSplitter(must_end=True), 300)


@pytest.mark.parametrize("data", [TAR[:1024], TAR[:700], TAR[:1536]])
def test_a_tar_without_its_end_is_odd_or_refused(data: bytes) -> None:
    says = (
        rf"the tar for user\.alice does not end as a tar does: it may be cut short, after {len(data)} bytes; "
    )
    with pytest.raises(StreamError, match=f"{says}no backup was recorded; to keep it as it is: --format raw"):
        findings(data, wholeness.WholeTarSplitter(must_end=True), 300)
    (found,) = findings(data, wholeness.WholeTarSplitter(must_end=False), 300)
    assert re.match(f"{says}it is stored all the same, --format tar would refuse it", found)


def test_what_follows_the_end_of_a_tar_is_odd() -> None:
    (found,) = findings(TAR + b"x" * 512, wholeness.WholeTarSplitter(must_end=True), 300)
    assert f"is not understood from byte {len(TAR)} of {len(TAR) + 512} on: " in found
