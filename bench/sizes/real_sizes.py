"""What sizes of chunks and blocks cost and save on real data that change for five days.

    PYTHONPATH=. python bench/sizes/real_sizes.py WORK [--sets SET ...] [--dir FOLDER]

WORK keeps the data (`made/real_data.py`); what is not there is made.  Each setting gets a repository of its own,
all with the same keys.  The columns: average KiB of content chunks and of skeleton chunks, MiB of a block; MB of all
files of the repository after the first day and after all, the sum beside that of the standard; of the sum, data packs,
packs of list nodes, index files, all else; chunks stored; bytes for each beside its own: tables, index, nodes (as they
are before compression), padding, records of runs; CPU seconds.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from bench.made.real_data import SETS, START, days
from bench.options import existing_folder
from bench.sizes.chunk_sizes import opened, size_of
from dedupstore import malloc
from dedupstore.access import Access, BlockSizes
from dedupstore.backends.contract import Buffer
from dedupstore.chunks.chunker import ChunkSizes
from dedupstore.format.layout import Kind
from dedupstore.writing.pack_writer import Account, PackWriter
from dedupstore.writing.session import RunDetails
from pipelines.sources.put import store
from tests.store import World

DAY = 86_400


class Setting(NamedTuple):
    """Average content and skeleton chunks in KiB, blocks in MiB."""

    content: int = 16
    skeleton: int = 8
    block: int = 1


STANDARD = Setting()
SETTINGS = {
    "raw": [STANDARD, *(Setting(size, block=block) for size in (8, 4) for block in (1, 2, 4))],
    "tar": [
        STANDARD,
        Setting(8),
        *(Setting(skeleton=size) for size in (4, 16)),
        *(Setting(block=size) for size in (2, 4)),
    ],
}


class Counts:
    """What the sessions stored: chunks, and bytes of list nodes."""

    def __init__(self) -> None:
        self.chunks = self.nodes = 0

    def take(
        self, writer: PackWriter, kind: Kind, data: Buffer, ids: bytes, lengths: bytes, account: Account
    ) -> None:
        """Count a block, and pass it on."""
        if kind is Kind.TREE:
            self.nodes += len(data)
        else:
            self.chunks += len(lengths) // 4
        _submit(writer, kind, data, ids, lengths, account)


_submit = PackWriter.submit


def run(world: World, access: Access, day: int, source: Path, form: str) -> int:
    """Store a day's stream; return the bytes that it added to packs."""
    details = RunDetails("host", "real_sizes", START + day * DAY, 0)
    with world.open(access) as repository, repository.session(details) as session:
        with opened(source)() as file:
            stream = store(session, "stream", file, form=form, warn=print)
        session.finish()
    return stream.stored


def measure(world: World, setting: Setting, files: list[Path], form: str) -> list[float]:
    """Store all days in a new repository; return a row's figures."""

    content, skeleton = setting.content << 10, setting.skeleton << 10
    access = replace(
        world.writer,
        content_sizes=ChunkSizes(content // 4, content, content * 4),
        raw_sizes=ChunkSizes(content // 4, content, content * 4),
        skeleton_sizes=ChunkSizes(max(skeleton // 4, 2048), skeleton, skeleton * 4),
        block_sizes=BlockSizes(content=setting.block << 20, raw=setting.block << 20),
    )
    counts, first, stored, began = Counts(), 0, 0, time.process_time()
    with mock.patch.object(PackWriter, "submit", lambda *arguments: counts.take(*arguments)):
        for day, file in enumerate(files):
            stored += run(world, access, day, file, form)
            first = first or world.stored()
    busy = time.process_time() - began
    parts = [size_of(world.path / kind.folder) for kind in (Kind.DATA, Kind.TREE, Kind.INDEX)]
    whole = world.stored()
    shutil.rmtree(world.path)
    shutil.rmtree(world.folder / "state")
    beside = (whole - stored + counts.nodes) / counts.chunks
    return [first, whole, *parts, whole - sum(parts), counts.chunks, beside, busy]


def line(setting: Setting, row: list[float], standard: list[float]) -> str:
    """Return a row of the table."""
    first, whole, data, tree, index, rest, chunks, beside, busy = row
    cells = [
        *map(str, setting),
        f"{first / 1e6:.2f}",
        f"{first / standard[0]:.3f}",
        f"{whole / 1e6:.2f}",
        f"{whole / standard[1]:.3f}",
        *(f"{part / 1e6:.2f}" for part in (data, tree, index, rest)),
        f"{chunks:.0f}",
        f"{beside:.0f}",
        f"{busy:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=existing_folder, help="for the data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument(
        "--dir", type=existing_folder, default="/dev/shm", help="where to store; in memory by default"
    )
    arguments = parser.parse_args()
    malloc.reuse_buffers()
    with tempfile.TemporaryDirectory(prefix="dedup-bench-", dir=arguments.dir) as folder:
        world = World(Path(folder))
        for name in arguments.sets:
            files, form = days(arguments.work, name), SETS[name][1]
            size = sum(file.stat().st_size for file in files)
            print(f"### {name}: {len(files)} days, {size / 1e6:.0f} MB\n")
            print("| content | skeleton | block | first | | all | | data | nodes | index | else ", end="")
            print("| chunks | beside | CPU s |")
            print("|--:" * 14 + "|", flush=True)
            standard: list[float] = []
            for setting in SETTINGS[form]:
                row = measure(world, setting, files, form)
                standard = standard or row
                print(line(setting, row, standard), flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
