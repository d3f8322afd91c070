"""Peak memory of put and get for a stream of any size, and proof that it came back.

    python bench/memory.py [--size MB] [--dir FOLDER]

The stream comes from a pipe and is never on disk as a whole; its SHA-256 is compared with that of what `get` gives.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from bench.made import data
from bench.options import existing_folder
from bench.throughput import Bench


def finish(child: subprocess.Popen[bytes], name: str, size: int, began: float) -> None:
    """Wait for a command, which must succeed, and print its figures."""
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{name} failed")
    seconds = time.monotonic() - began
    print(
        f"{name}: peak {usage.ru_maxrss / 1024:.0f} MiB, {size / 1e6 / seconds:.0f} MB/s, {seconds:.0f} s",
        flush=True,
    )


def feed(target: IO[bytes], size: int, digest: "hashlib._Hash") -> None:
    """Write the data to a pipe, and hash it."""
    with target:
        for piece in data.pieces(size):
            digest.update(piece)
            target.write(piece)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="MB of data")
    parser.add_argument("--dir", type=existing_folder, help="where to work; the temporary folder by default")
    arguments = parser.parse_args()
    size = arguments.size * 1_000_000
    with tempfile.TemporaryDirectory(prefix="dedup-bench-", dir=arguments.dir) as folder:
        bench = Bench(Path(folder))
        dedup = str(Path(sys.executable).parent / "dedup")
        env = bench.env | {"DEDUP_REPOSITORY": f"{folder}/r", "DEDUP_STATE_DIR": f"{folder}/state/r"}
        bench.call(dedup, "init", "--writer", "writer", "--admin", "admin", repository="r")
        given, got = hashlib.sha256(), hashlib.sha256()
        began = time.monotonic()
        put = subprocess.Popen([dedup, "-q", "put", "stream"], stdin=subprocess.PIPE, env=env)
        assert put.stdin is not None
        feeding = threading.Thread(target=feed, args=(put.stdin, size, given))
        feeding.start()
        finish(put, "put", size, began)
        feeding.join()
        stored = sum(path.stat().st_size for path in Path(folder, "r").rglob("*") if path.is_file())
        print(f"repository: {stored / size:.3f} of the stream")
        began = time.monotonic()
        get = subprocess.Popen([dedup, "-q", "get", "latest", "stream"], stdout=subprocess.PIPE, env=env)
        assert get.stdout is not None
        while piece := get.stdout.read(1 << 20):
            got.update(piece)
        finish(get, "get", size, began)
        if given.digest() != got.digest():
            sys.exit("what came back is not what was stored")
        print("every byte came back")
        subprocess.run(["gpgconf", "--kill", "all"], env=bench.env, check=False)


if __name__ == "__main__":
    main()
