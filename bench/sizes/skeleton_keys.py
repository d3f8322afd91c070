"""How far the number of a skeleton's chunks depends on the repository's key, with either hash of the chunker.

    PYTHONPATH=. python bench/sizes/skeleton_keys.py WORK [--keys N] [FILE ...]

WORK keeps the data of `made/real_data.py`; FILEs are tars and volume dumps besides.  The columns: MB of the skeleton,
least and greatest hundredth of the counts, their median and extremes, and how many are within a tenth of the median.
"""

import argparse
import hashlib
import time
from pathlib import Path

from bench.made.real_data import days
from bench.options import existing_folder
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.chunks.splitting import Divider
from pipelines.formats.wholeness import DumpSplitter, WholeTarSplitter

RULES = (("narrow", ChunkSizes(1024, 4096, 16384), False), ("wide", ChunkSizes(2048, 8192, 32768), True))
READ = 2 << 20


def skeleton(path: Path) -> bytes:
    """Return what a stream's splitter leaves when contents are taken out."""
    divider = Divider(DumpSplitter() if path.suffix == ".dump" else WholeTarSplitter(must_end=False))
    found, buffer = bytearray(), memoryview(bytearray(READ))
    with path.open("rb") as file:
        while True:
            count = file.readinto(buffer)
            found += divider.divide(buffer, 0, count, ended=count < READ).skeleton
            if count < READ:
                return bytes(found)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=existing_folder, help="for the data")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--keys", type=int, default=300)
    arguments = parser.parse_args()
    files = [days(arguments.work, "source")[-1], days(arguments.work, "mail")[-1], *arguments.files]
    keys = [hashlib.sha256(b"key %d" % number).digest() for number in range(arguments.keys)]
    print("| skeleton | MB | hash | least | 1 % | median | 99 % | greatest | within a tenth | MB/s |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for path in files:
        data = skeleton(path)
        for rule, sizes, wide in RULES:
            began = time.process_time()
            counts = sorted(len(Chunker(key, sizes, wide=wide).cuts(data, final=True)) for key in keys)
            speed = len(data) * len(keys) / (time.process_time() - began) / 1e6
            last = len(counts) - 1
            low, middle, high = (counts[round(last * part)] for part in (0.01, 0.5, 0.99))
            near = sum(abs(count - middle) <= middle / 10 for count in counts) / len(counts)
            figures = (counts[0], low, middle, high, counts[-1], f"{near:.1%}", f"{speed:.0f}")
            print(
                f"| {path.name} | {len(data) / 1e6:.2f} | {rule} | {' | '.join(map(str, figures))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
