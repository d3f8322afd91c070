"""What the index cache costs at scale: `python bench/scale.py [--millions N ...] [--folder FOLDER]`.

It grows one cache, as a run or a rebuild does: index files of 8 packs of about a thousand chunks of 16 KiB, all
ids random.  At each of the sizes (by default 1, 10 and 100 million chunks) it prints

    build    wall and CPU microseconds a chunk since the last size: a rebuild without fetching
    opening  what each command pays: the file opened, index files listed, the next pack's number
    new      looking up chunks that are not there, 128 at once, as a run does for 2 MiB of new data
    stream   chunks in the order in which they were stored, as a run that finds everything unchanged
    random   chunks at random, all of them there: the worst order
    locate   their places, at random, and in the order of storing
    MiB      memory of the process that looks up: the most of its own, of mapped files, and in all

CPU microseconds for each look-up, each kind in a process of its own.  It needs some 60 bytes of disk a chunk: 6 GB for
100 million, which took 35 minutes on a busy machine.  The files are read through the page cache: on a disk that is
slower than memory, look-ups of a cache that is not in memory wait for it.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.made.index import described_index
from dedupstore.cache.index_cache import DescribedIndex, IndexCache

PACKS, CHUNKS, BLOCK, BATCH = 8, 1024, 64, 128
SAMPLE = 64_000  # look-ups of each kind
DOMAIN = "bench"


def ids_of(number: int) -> bytes:
    """Return the ids of pack `number`, always the same."""
    return random.Random(number).randbytes(32 * CHUNKS)


def index_file(number: int) -> DescribedIndex:
    """Return index file `number`: random ids, sealed keys of the true size."""
    return described_index(number, [ids_of(PACKS * number + n) for n in range(PACKS)], BLOCK, DOMAIN)


def asked(kind: str, packs: int) -> Iterator[list[bytes]]:
    """Yield the ids of each look-up of this kind."""
    source = random.Random(f"{kind} {packs}")
    for _ in range(SAMPLE // BATCH):
        if kind == "new":
            yield [source.randbytes(32) for _ in range(BATCH)]
        elif kind in ("stream", "locate in order"):
            ids, at = ids_of(source.randrange(packs)), 32 * BATCH * source.randrange(CHUNKS // BATCH)
            yield [ids[start : start + 32] for start in range(at, at + 32 * BATCH, 32)]
        else:
            chunks = ((ids_of(source.randrange(packs)), 32 * source.randrange(CHUNKS)) for _ in range(BATCH))
            yield [ids[at : at + 32] for ids, at in chunks]


def memory(field: str) -> float:
    """Return a line of this process's status, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def look_up(folder: Path, kind: str, packs: int) -> dict[str, float]:
    """Open the cache, look up, and say what it cost."""
    import dedupstore.format.compression  # noqa: F401 - what a run has loaded before counts for nothing here

    before = time.perf_counter()
    cache = IndexCache(folder, bytes(16))
    files, following = len(cache.index_files()), cache.next_pack()
    opening = time.perf_counter() - before
    assert (files, following) == (packs // PACKS, packs + 1)
    spent, own, mapped, least = [], 0.0, 0.0, memory("RssFile")
    for ids in asked(kind, packs):
        began = time.process_time()
        if kind.startswith("locate"):
            found = [bool(places) for places in cache.locate(DOMAIN, ids)]
        else:
            found = cache.known(DOMAIN, ids, following)
        spent.append((time.process_time() - began) / BATCH * 1e6)
        assert set(found) == {kind != "new"}
        own, mapped = max(own, memory("RssAnon")), max(mapped, memory("RssFile") - least)
    cache.close()
    peak = memory("VmHWM")
    middle = sorted(spent)[len(spent) // 2]
    return {"opening": opening * 1e3, "us": middle, "own": own, "mapped": mapped, "peak": peak}


def measure(folder: Path, kind: str, packs: int) -> dict[str, float]:
    """Do so in a process of its own."""
    command = [sys.executable, __file__, "--look-up", kind, "--packs", str(packs), "--folder", str(folder)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(result.stdout))


def grow(folder: Path, first: int, last: int) -> dict[str, float]:
    """Add index files of these numbers, in this process."""
    cache = IndexCache(folder, bytes(16))
    wall = cpu = longest = 0.0
    for number in range(first, last):
        index, name = index_file(number), random.Random(f"name {number}").randbytes(32)
        began, used = time.perf_counter(), time.process_time()
        cache.add_index(name, index)
        longest = max(longest, time.perf_counter() - began)
        wall += time.perf_counter() - began
        cpu += time.process_time() - used
    cache.close()
    chunks = (last - first) * PACKS * CHUNKS
    return {
        "wall": wall / chunks * 1e6,
        "cpu": cpu / chunks * 1e6,
        "longest": longest,
        "peak": memory("VmHWM"),
    }


def _size(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of millions")
    return value


KINDS = ("new", "stream", "random", "locate", "locate in order")


def main(sizes: list[float], parent: Path) -> None:
    """Grow a cache to each of these sizes, in millions of chunks, and measure."""
    with tempfile.TemporaryDirectory(dir=parent) as temporary:
        folder = Path(temporary) / "cache"
        first = 0
        for size in sorted(sizes):
            last = max(first + 1, round(size * 1e6 / PACKS / CHUNKS))
            built = grow(folder, first, last)
            chunks = last * PACKS * CHUNKS
            disk = {path.name.split(".")[0]: 0 for path in folder.iterdir()}
            for path in folder.iterdir():
                disk[path.name.split(".")[0]] += path.stat().st_blocks * 512
            files = len(list(folder.glob("hints.*")))
            print(f"\n{chunks:,} chunks in {last:,} index files, {last * PACKS:,} packs")
            print(
                f"  build {built['wall']:.2f} us wall, {built['cpu']:.2f} us CPU a chunk; "
                f"longest index file {built['longest']:.1f} s; peak so far {built['peak']:.0f} MiB"
            )
            print(
                f"  disk {sum(disk.values()) / chunks:.1f} bytes a chunk: data.mdb {disk['data'] / chunks:.1f}, "
                f"columns {disk['columns'] / chunks:.1f}, {files} files of hints {disk.get('hints', 0) / chunks:.1f}"
            )
            for kind in KINDS:
                cost = measure(folder, kind, last * PACKS)
                print(
                    f"  {kind:<15} {cost['us']:6.2f} us; opening {cost['opening']:4.0f} ms; MiB: own "
                    f"{cost['own']:.0f}, mapped {cost['mapped']:.0f}, peak {cost['peak']:.0f}",
                    flush=True,
                )
            first = last


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--millions",
        type=_size,
        nargs="+",
        default=[1, 10, 100],
        metavar="N",
        help="how many million chunks; by default 1 10 100",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where to make the cache, which is removed at the end; by default %(default)s",
    )
    parser.add_argument("--look-up", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--packs", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not chosen.folder.is_dir():
        parser.error(f"there is no folder {chosen.folder}")
    if chosen.look_up:
        print(json.dumps(look_up(chosen.folder, chosen.look_up, chosen.packs)))
    else:
        main(chosen.millions, chosen.folder)
