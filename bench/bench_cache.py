"""What the index cache costs: `python bench/bench_cache.py [MILLIONS OF CHUNKS] [FOLDER]`; by default 1, /tmp.

It grows a cache as a run does (index files of 16,384 chunks in 8 packs).  At each power of ten and at the end
it prints bytes a chunk on disk, and of them in rows (the rest are free pages); seconds to insert a million;
microseconds a look-up of random ids, half of them known, 500 at a time; private memory.  Times are the
fastest tenth of many batches: the median tells more about what else the machine does.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dedupstore.cache import IndexCache
from dedupstore.records import Index, IndexedPack

PACKS, CHUNKS, BLOCK = 8, 2048, 64
LENGTHS = (16384).to_bytes(4, "little") * CHUNKS


def index_file(source: random.Random) -> Index:
    """Return an index file of random ids, with sealed keys of the true size."""
    packs = [
        IndexedPack(
            name=source.randbytes(32),
            kind="D",
            size=32 << 20,
            keys=[(source.randbytes(16), 1, source.randbytes(1168))],
            blocks=[(0, n, 1 << 19, BLOCK) for n in range(CHUNKS // BLOCK)],
            ids=source.randbytes(32 * CHUNKS),
            lengths=LENGTHS,
        )
        for _ in range(PACKS)
    ]
    return Index(run=bytes(16), domain="bench", time=1, packs=packs)


def microseconds(ask: Callable[[list[bytes]], object], ids: list[bytes]) -> float:
    """Return the time of one look-up."""
    times = []
    for _ in range(3):
        for at in range(0, len(ids), 500):
            began = time.perf_counter()
            ask(ids[at : at + 500])
            times.append((time.perf_counter() - began) / 500 * 1e6)
    return sorted(times)[len(times) // 10]


def private_memory() -> float:
    """Return this process's memory in MB, without pages of mapped files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1000


def main(chunks: int, folder: Path) -> None:
    """Grow a cache to so many chunks, and measure."""
    source = random.Random(1)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        cache = IndexCache(Path(temporary) / "cache", bytes(16))
        count, spent, last = 0, 0.0, 0
        sample: list[bytes] = []
        titles = ("chunks", "B/chunk", "in rows", "s/million", "known us", "locate us", "MB")
        print("".join(f"{title:>12}" for title in titles))
        while count < chunks:
            name, index = source.randbytes(32), index_file(source)
            began = time.perf_counter()
            cache.add_index(name, index)
            spent += time.perf_counter() - began
            step = max(1, chunks // 50_000)
            sample += [
                pack.ids[at : at + 32] for pack in index.packs for at in range(0, len(pack.ids), 32 * step)
            ]
            count += PACKS * CHUNKS
            if count >= chunks or len(str(count)) > len(str(count - PACKS * CHUNKS)):
                ids = sample + [source.randbytes(32) for _ in sample]
                source.shuffle(ids)
                size = (Path(temporary) / "cache" / "data.mdb").stat().st_size
                with cache._begin() as txn:
                    table = txn.stat(cache._chunks)
                rows = 4096 * (table["branch_pages"] + table["leaf_pages"])
                figures = (
                    size / count,
                    rows / count,
                    spent / (count - last) * 1e6,
                    microseconds(lambda ids: cache.known("bench", ids, 1 << 31, ()), ids),
                    microseconds(lambda ids: cache.locate("bench", ids), ids),
                    private_memory(),
                )
                print(f"{count:12,}" + "".join(f"{figure:12.2f}" for figure in figures), flush=True)
                spent, last = 0.0, count
        began = time.perf_counter()
        cache.drop_index(list(cache.index_files())[:1])
        print(f"dropping one index file: {time.perf_counter() - began:.1f} s")
        cache.close()


if __name__ == "__main__":
    main(
        int(float(sys.argv[1] if len(sys.argv) > 1 else 1) * 1e6),
        Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.gettempdir()),
    )
