"""The other process of some tests of the cache: `python -m tests.dedupstore.cache.other_process WHAT FOLDER ...`."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from dedupstore.cache.index_cache import IndexCache
from dedupstore.errors import StateError
from tests.dedupstore.cache.caches import (
    MANY,
    REPOSITORY,
    SMALL,
    chunk_ids,
    known,
    numbered,
)


def start(what: str, folder: Path, *arguments: int) -> "subprocess.Popen[str]":
    """Start another process."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, __file__, what, str(folder), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return a process's status and output."""
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def run(what: str, folder: Path, *arguments: int) -> tuple[int, str]:
    """Run another process to its end."""
    return finish(start(what, folder, *arguments))


def add(folder: Path, *seeds: int) -> None:
    """Add index files."""
    cache = IndexCache(folder, REPOSITORY)
    for seed in seeds:
        name, index, ids = numbered(seed)
        cache.add_index(name, index)
        assert all(known(cache, "here", ids))
        print("added", flush=True)
    cache.close()


def main(what: str, folder: Path, *numbers: int) -> None:
    """Be the other process."""
    for module, setting, value in SMALL:
        setattr(module, setting, value)
    if what == "add":
        add(folder, *numbers)
        print("done")
    elif what == "add and die":
        cache = IndexCache(folder, REPOSITORY)
        name, index, _ = numbered(numbers[0])
        cache.add_index(name, index)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "add and drop":
        cache = IndexCache(folder, REPOSITORY)
        for seed in numbers:
            name, index, _ = numbered(seed)
            cache.add_index(name, index)
            print("added", flush=True)
            if seed % 2:
                cache.mark_lost([number for number, _ in cache.packs_of({name})])
            cache.drop_index({name})
        cache.close()
        print("done")
    elif what == "look":
        cache = IndexCache(folder, REPOSITORY)
        files = [numbered(seed) for seed in numbers]
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            listed = cache.index_files()
            for name, _, ids in files:
                assert name not in listed or all(known(cache, "here", ids))
            if listed.issuperset(name for name, _, _ in files):
                print("saw all")
                break
            time.sleep(0.02)
        cache.close()
    elif what == "add under a limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (numbers[0], numbers[0]))
        try:
            add(folder, *range(10))
        except StateError as error:
            print(error)
    elif what == "add in a small address space":
        resource.setrlimit(resource.RLIMIT_AS, (numbers[0], numbers[0]))
        cache = IndexCache(folder, REPOSITORY)
        name, index, ids = numbered(1)
        cache.add_index(name, index)
        print("known" if all(known(cache, "here", ids)) else "lost")
    elif what == "damage in use":
        cache = IndexCache(folder, REPOSITORY)
        data = bytes((folder / "data.mdb").stat().st_size - 8192)
        with (folder / "data.mdb").open("r+b") as file:
            file.seek(8192)
            file.write(data)
        try:
            known(cache, "here", chunk_ids(1, MANY))
        except StateError as error:
            print(error)
    elif what == "use everything":
        cache = IndexCache(folder, REPOSITORY)
        try:
            right = True
            for seed in numbers:
                name, index, ids = numbered(seed)
                if name not in cache.index_files():
                    cache.add_index(name, index)
                right = right and all(known(cache, "here", ids)) and all(cache.locate("here", ids))
                right = right and [index.record.packs[0].name] == [
                    pack.name for _, pack in cache.packs_of({name})
                ]
            print("right" if right and len(cache.index_files()) == len(numbers) else "forgot")
        except StateError as error:
            print(error)
        cache.close()
    elif what == "renew":
        cache = IndexCache(folder, REPOSITORY)
        cache.renew()
        print("full" if cache.index_files() else "empty")
        name, index, ids = numbered(numbers[0])
        cache.add_index(name, index)
        print("full" if all(known(cache, "here", ids)) else "empty")
        cache.close()
    elif what == "take for another repository":
        cache = IndexCache(folder, bytes(16))
        print("new" if not cache.index_files() else "old")
        cache.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
