"""Each stage of a backup and of a restore, on one core, beside what bounds it.

    pytest bench/bench_limits.py bench/bench_stages.py

A table at the end (`conftest.py`) gives MB/s, and the ratio to the limit that was measured in the same run.  Where a
stage handles chunks, not bytes (look-up, recipe), the MB/s are those of the chunks' bytes, 16 KiB on average, and
BLAKE3 of these bytes is what it stands beside: it is the one cost for each byte that no design saves.

On a machine that does other things too, `--benchmark-timer=time.process_time` is steadier; but for files, and for
the program `zstd`, that is not what they take.
"""

if __name__ == "__main__":  # before what may not be installed
    import sys

    sys.exit(
        f"this is no program by itself: python -m pytest {sys.argv[0]} --benchmark-only -o timeout=0, with what "
        "pip install -e '.[dev]' installs (make bench does both)"
    )

import hashlib
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import RLock

import pytest
from blake3 import blake3

from bench.conftest import Stage
from bench.stage_parts import (
    AES,
    BLAKE3,
    COPY,
    DOMAIN,
    FILE,
    KEY,
    LEVEL,
    SHA256,
    SIZE,
    SIZES,
    UNZSTD,
    ZSTD,
    Nowhere,
    Told,
    batches,
    block_key,
    files,
    ids,
    index,
    make_tar,
    sequence,
)
from dedupstore.cache.index_cache import IndexCache
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.chunks.splitting import Divider, Splitter
from dedupstore.format import blocks, compression, layout
from dedupstore.format.layout import Kind
from dedupstore.format.packs import PackBuilder, pack_buffer
from dedupstore.format.recipes import ListWriter
from dedupstore.reading.stream_reader import StreamReader
from dedupstore.writing.pack_writer import Account, PackWriter
from dedupstore.writing.read_ahead import READ_SIZE
from dedupstore.writing.sequence_writer import BLOCK_SIZE, BlockWriter, KnownChunks
from pipelines.formats.splitters import AfsSplitter, TarSplitter
from tests.afsdump import make_dump
from tests.store import World


@pytest.fixture(scope="module")
def cuts(stream: bytes) -> list[int]:
    """Where its chunks end, as the default sizes cut them."""
    return Chunker(KEY, SIZES).cuts(stream, final=True)


# --- a backup --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "splitter", "make"),
    [
        ("afs", AfsSplitter, lambda found: make_dump("bench", 7, found)),
        ("tar", TarSplitter, make_tar),
    ],
    ids=["afs", "tar"],
)
def test_split(
    stage: Stage,
    stream: bytes,
    name: str,
    splitter: Callable[[], Splitter],
    make: Callable[[dict[str, bytes]], bytes],
) -> None:
    """Which bytes are files."""
    view = memoryview(make(files(stream)))

    def split() -> None:
        one = splitter()
        for at in range(0, len(view), READ_SIZE):
            one.split(view[at : at + READ_SIZE], at + READ_SIZE >= len(view))

    stage(f"split ({name})", len(view), split, limit=BLAKE3)


def test_divide(stage: Stage, stream: bytes) -> None:
    """Files moved together, without what it takes to find them."""
    dump = make_dump("bench", 7, files(stream))
    starts = range(0, len(dump), READ_SIZE)
    splitter = AfsSplitter()
    ranges = [
        splitter.split(memoryview(dump)[at : at + READ_SIZE], at + READ_SIZE >= len(dump)) for at in starts
    ]
    buffer = memoryview(bytearray(dump))

    def restore() -> None:
        buffer[:] = dump

    def divide() -> None:
        divider = Divider(Told(ranges))
        for at in starts:
            part = buffer[at : at + READ_SIZE]
            divider.divide(part, 0, len(part), ended=at + READ_SIZE >= len(dump))

    stage("divide", len(dump), divide, limit=COPY, setup=restore)


@pytest.mark.parametrize("average", [4, 16, 64])
def test_chunk(stage: Stage, stream: bytes, average: int) -> None:
    """Cut points, buffer by buffer."""
    size = average << 10
    chunker = Chunker(KEY, ChunkSizes(size // 4, size, size * 4))
    view = memoryview(stream)

    def cut() -> None:
        for at in range(0, SIZE, READ_SIZE):
            chunker.cuts(view[at : at + READ_SIZE], final=True)

    stage(f"chunk ({average} KiB)", SIZE, cut, limit=COPY)


def test_hash(stage: Stage, stream: bytes, cuts: list[int]) -> None:
    """Each chunk's id, as `sequences` makes it."""
    reads = [(memoryview(stream)[start:end], here) for start, end, here in batches(cuts)]

    def store() -> None:
        writer = sequence(Nowhere(), Nowhere())
        for view, here in reads:
            writer.store(view, here)

    stage("hash", SIZE, store, limit=BLAKE3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexCache]:
    """An index of 131,072 chunks."""
    cache = IndexCache(tmp_path_factory.mktemp("cache") / "cache", bytes(16))
    for number in range(8):
        cache.add_index(number.to_bytes(32, "big"), index(number))
    yield cache
    cache.close()


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_look_up(stage: Stage, cache: IndexCache, known: bool) -> None:
    """Batches of one read: in the order in which they were stored, or random and not there."""
    column = b"".join(ids(4, pack + (0 if known else 100)) for pack in range(4))
    asked = [
        [column[at : at + 32] for at in range(start, start + 4096, 32)]
        for start in range(0, len(column), 4096)
    ]
    assert {known} == {found for batch in asked for found in cache.known(DOMAIN, batch)}
    size = len(column) // 32 * 16384
    name = f"look up ({'known' if known else 'new'})"
    stage(name, size, lambda: [cache.known(DOMAIN, batch) for batch in asked], limit=BLAKE3)


def test_recipe(stage: Stage, stream: bytes, cuts: list[int]) -> None:
    """Lists of chunks."""
    view = memoryview(stream)
    reads = []
    for start, _, here in batches(cuts):
        edges = list(pairwise([0, *here]))
        named = [blake3(view[start + one : start + other], key=KEY).digest() for one, other in edges]
        reads.append((named, [other - one for one, other in edges]))

    def write() -> None:
        recipe = ListWriter(KEY, lambda _id, _node: None)
        for named, lengths in reads:
            recipe.extend(named, lengths)
        recipe.finish()

    stage("recipe", SIZE, write, limit=BLAKE3)


def test_join(stage: Stage, stream: bytes, cuts: list[int]) -> None:
    """Chunks of which none is known, hashed and joined in blocks."""
    reads = [(memoryview(stream)[start:end], here) for start, end, here in batches(cuts)]

    def store() -> None:
        nothing: PackWriter = Nowhere()  # type: ignore[assignment]
        known = KnownChunks(lambda asked: [False] * len(asked))
        writer = sequence(BlockWriter(nothing, known, RLock(), Kind.DATA, Account()), Nowhere())
        for view, here in reads:
            writer.store(view, here)

    stage("hash and join", SIZE, store, limit=BLAKE3)


def test_compress(stage: Stage, pieces: list[memoryview]) -> None:
    """Blocks of 1 MiB."""
    stage("compress", SIZE, lambda: [compression.pack(piece, LEVEL) for piece in pieces], limit=ZSTD)


def test_encrypt(stage: Stage, pieces: list[memoryview]) -> None:
    """The same blocks."""
    key, target = block_key(), memoryview(bytearray(BLOCK_SIZE + 16))
    plain = [bytes(piece) for piece in pieces]

    def seal() -> None:
        for number, piece in enumerate(plain):
            blocks.seal_block(key, number, piece, target)

    stage("encrypt", SIZE, seal, limit=AES)


def test_pack(stage: Stage, pieces: list[memoryview], tmp_path: Path) -> None:
    """Blocks encrypted and hashed, with the table: two packs."""
    access = World(tmp_path).writer
    buffers = [pack_buffer(SIZE // 2) for _ in range(2)]
    plain = [bytes(piece) for piece in pieces]
    column, lengths = ids(0, 0)[: 16 * 64], struct.pack("<I", 16384) * 64

    def pack() -> None:
        for half, buffer in enumerate(buffers):
            builder = PackBuilder(access, Kind.DATA, buffer)
            for piece in plain[half::2]:
                builder.add(piece, column, lengths)
            builder.finish()

    stage("encrypt and pack", SIZE, pack, limit=SHA256)


def test_write(stage: Stage, stream: bytes, tmp_path: Path) -> None:
    """Two files of the repository."""
    world = World(tmp_path)
    backend = world.backend()
    packs = [memoryview(stream)[: SIZE // 2], memoryview(stream)[SIZE // 2 :]]
    names = [layout.content_file(Kind.DATA, hashlib.sha256(pack).digest()) for pack in packs]

    def remove() -> None:
        for path in world.files("data"):
            path.unlink()

    def write() -> None:
        for name, pack in zip(names, packs, strict=True):
            backend.create(name, pack)

    stage("write", SIZE, write, limit=FILE, setup=remove)


# --- a restore -------------------------------------------------------------------------------------------------


def test_decode(stage: Stage, pieces: list[memoryview]) -> None:
    """Blocks decrypted and decompressed."""
    key, sealed = block_key(), []
    for number, piece in enumerate(pieces):
        plain = blocks.compress_block(piece, LEVEL)
        target = bytearray(len(plain) + 16)
        blocks.seal_block(key, number, plain, memoryview(target))
        sealed.append(bytes(target))

    def decode() -> None:
        for number, one in enumerate(sealed):
            blocks.open_block(key, number, one, len(pieces[number]), "a pack")

    stage("decrypt and decompress", SIZE, decode, limit=UNZSTD)


def test_verify_chunks(stage: Stage, stream: bytes, tmp_path: Path) -> None:
    """Chunks of blocks that are open, each against its id."""
    world = World(tmp_path)
    part = 6 << 20
    snapshot = world.put(stream[:part])
    with world.open(world.admin) as repository:
        ((listed,),) = [repository.streams(one) for one in repository.snapshots()]
        b"".join(repository.read(snapshot, listed))  # what the index lists is known now
        reader = StreamReader(repository, snapshot.domain)
        chunks = reader.recipes(listed).content.chunks()
        stretches = [stretch for batch in reader.stretches(chunks) for stretch in batch]
        stage("verify chunks", part, lambda: reader.data.read(stretches), limit=BLAKE3)
