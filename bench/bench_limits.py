"""The limits that the stages of `bench_stages.py` stand beside: each kind of work alone, on the same bytes."""

if __name__ == "__main__":  # before what may not be installed
    import sys

    sys.exit(
        f"this is no program by itself: python -m pytest {sys.argv[0]} --benchmark-only -o timeout=0, with what "
        "pip install -e '.[dev]' installs (make bench does both)"
    )

import hashlib
import os
import subprocess
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.conftest import Stage
from bench.stage_parts import AES, BLAKE3, COPY, FILE, KEY, LEVEL, SHA256, SIZE, UNZSTD, ZSTD
from dedupstore.writing.sequence_writer import BLOCK_SIZE


def test_memory_copy(stage: Stage, stream: bytes) -> None:
    """Every byte read and written once."""
    target = memoryview(bytearray(SIZE))

    def copy() -> None:
        target[:] = stream

    stage(COPY, SIZE, copy)


def test_blake3_alone(stage: Stage, stream: bytes) -> None:
    """One hash of all bytes."""
    stage(BLAKE3, SIZE, lambda: blake3(stream, key=KEY).digest())


def test_zstd_alone(stage: Stage, pieces: list[memoryview]) -> None:
    """Blocks of 1 MiB, at the level itself."""
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    stage(ZSTD, SIZE, lambda: [compressor.compress(piece) for piece in pieces])


def test_zstd_program(stage: Stage, stream: bytes, tmp_path: Path) -> None:
    """One thread, and one frame: matches may lie further back."""
    (tmp_path / "stream").write_bytes(stream)
    command = ("zstd", "-q", f"-{LEVEL}", "--single-thread", "-c", str(tmp_path / "stream"))
    stage(
        f"zstd -{LEVEL}, the program", SIZE, lambda: subprocess.run(command, capture_output=True, check=True)
    )


def test_zstd_decompression_alone(stage: Stage, pieces: list[memoryview]) -> None:
    """Of the same blocks."""
    compressor, decompressor = zstandard.ZstdCompressor(level=LEVEL), zstandard.ZstdDecompressor()
    frames = [compressor.compress(piece) for piece in pieces]
    stage(UNZSTD, SIZE, lambda: [decompressor.decompress(frame) for frame in frames])


def test_aes_alone(stage: Stage, pieces: list[memoryview]) -> None:
    """AES-256-GCM, into a buffer that is there."""
    cipher, target = AESGCM(KEY), memoryview(bytearray(BLOCK_SIZE + 16))
    stage(AES, SIZE, lambda: [cipher.encrypt_into(bytes(12), piece, b"", target) for piece in pieces])


def test_sha256_alone(stage: Stage, stream: bytes) -> None:
    """One hash of all bytes."""
    stage(SHA256, SIZE, lambda: hashlib.sha256(stream).digest())


def test_plain_file(stage: Stage, stream: bytes, tmp_path: Path) -> None:
    """A file written, and known to be on the disk."""
    packs = [memoryview(stream)[: SIZE // 2], memoryview(stream)[SIZE // 2 :]]

    def write() -> None:
        for number, pack in enumerate(packs):
            descriptor = os.open(tmp_path / str(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, pack)
            os.fsync(descriptor)
            os.close(descriptor)

    stage(FILE, SIZE, write)
