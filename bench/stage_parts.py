"""What `bench_stages.py` works on, and what stands in the places of the stages beside the one that is measured."""

import hashlib
import io
import random
import tarfile
from collections.abc import Iterator

from bench.made.index import described_index
from dedupstore.cache.index_cache import DescribedIndex
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.format.blocks import BlockKey
from dedupstore.format.layout import Kind
from dedupstore.writing.read_ahead import READ_SIZE
from dedupstore.writing.sequence_writer import SequenceWriter

SIZE = 24 << 20
LEVEL = 3
KEY = bytes(range(32))
SIZES = ChunkSizes(4096, 16384, 65536)
DOMAIN = "bench"

# the limits, by the names in the table
COPY, BLAKE3, ZSTD, UNZSTD, AES, SHA256, FILE = (
    "memory copy",
    "BLAKE3 alone",
    "zstd alone",
    "zstd -d alone",
    "AES-GCM alone",
    "SHA-256 alone",
    "plain file",
)


def batches(cuts: list[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield start, end and cuts (from the start) of the chunks of about one read."""
    start, here = 0, list[int]()
    for cut in cuts:
        here.append(cut - start)
        if cut - start >= READ_SIZE or cut == cuts[-1]:
            yield start, cut, here
            start, here = cut, []


def files(stream: bytes) -> dict[str, bytes]:
    """Return files of 100 bytes to 100 KiB, which are small mostly, by path."""
    source, at = random.Random(2), 0
    found: dict[str, bytes] = {}
    while at < len(stream):
        size = min(int(source.lognormvariate(9, 1.2)) + 100, 100 << 10)
        found[f"folder{len(found) // 100}/file{len(found)}"] = stream[at : at + size]
        at += size
    return found


def make_tar(found: dict[str, bytes]) -> bytes:
    """Return the files as a tar."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in found.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


class Told:
    """A splitter that says again what another has said."""

    def __init__(self, ranges: list[bytes]) -> None:
        self._ranges = iter(ranges)

    def split(self, data: memoryview, ended: bool) -> bytes:
        """See `Splitter`."""
        return next(self._ranges)


class Nowhere:
    """Stands for the recipe and the blocks of a sequence: takes everything, does nothing."""

    def extend(self, *_: object) -> None:
        """See `ListWriter`."""

    def store(self, *_: object) -> None:
        """See `BlockWriter`."""

    def submit(self, *_: object) -> None:
        """See `PackWriter`."""


def sequence(blocks_: object, recipe: object) -> SequenceWriter:
    """Return the writer of a sequence, with these in the places of the real ones."""
    return SequenceWriter(KEY, Chunker(KEY, SIZES), blocks_, recipe)  # type: ignore[arg-type]


def index(number: int) -> DescribedIndex:
    """Return an index file of 8 packs of 2,048 chunks each, whose ids are as good as random."""
    return described_index(number, [ids(number, pack) for pack in range(8)], 64, DOMAIN)


def ids(number: int, pack: int) -> bytes:
    """Return the column of a pack's ids."""
    return hashlib.shake_128(b"%d %d" % (number, pack)).digest(32 * 2048)


def block_key() -> BlockKey:
    """Return a key for blocks."""
    return BlockKey(Kind.DATA, bytes(16), bytes(16), KEY)
