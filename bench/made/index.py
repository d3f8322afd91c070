"""Index files as the local index takes them, with ids that are as good as random."""

import random
from array import array

from dedupstore.cache.index_cache import DescribedIndex
from dedupstore.format import layout
from dedupstore.format.pack_records import Index, IndexedPack, SignedTable
from dedupstore.format.packs import Described, DescribedBlock

_STORED = 1 << 19


def described_index(number: int, columns: list[bytes], block: int, domain: str) -> DescribedIndex:
    """Return index file `number` with a pack for each column of ids (32 bytes each).

    A block has so many chunks of 16 KiB.
    Sealed keys have their true size.
    """
    source = random.Random(f"index {number}")
    packs, described = [], []
    for ids in columns:
        chunks = len(ids) // layout.ID_SIZE
        blocks = [
            DescribedBlock(
                0, n, _STORED, layout.HEADER_SIZE + n * _STORED, block << 14, block, source.randbytes(16)
            )
            for n in range(chunks // block)
        ]
        short = b"".join(ids[at : at + layout.SHORT_ID] for at in range(0, len(ids), layout.ID_SIZE))
        described.append(Described(blocks, short, array("I", [1 << 14] * chunks)))
        packs.append(
            IndexedPack(
                name=source.randbytes(32),
                kind="D",
                size=layout.MAX_FILE,
                keys=[(source.randbytes(16), ((1, source.randbytes(1168)),))],
                blocks=b"",
                tables=[SignedTable(bytes(32), bytes(64), b"")],
            )
        )
    said = Index(run=bytes(16), domain=domain, time=number, packs=packs)
    return DescribedIndex(bytes(32), said, described)
