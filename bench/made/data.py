"""Data to measure with: seeded, partly compressible, with little repetition.

40 % is bytes that do not compress and 60 % is text, as home volumes have them.  As a program it writes to
standard output:  python bench/made/data.py MEGABYTES [SEED]
"""

import random
import string
import sys
from collections.abc import Iterator
from pathlib import Path

PIECE = 4 << 20


def pieces(size: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `size` bytes in all; the same for the same seed."""
    source = random.Random(seed)
    words = ["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 11))) for _ in range(20_000)]
    phrases = [" ".join(source.choices(words, k=source.randint(2, 9))).encode() for _ in range(30_000)]
    texts = [b"\n".join(source.choices(phrases, k=PIECE // 30))[:PIECE] for _ in range(4)]
    letters = list(string.ascii_lowercase)
    while size > 0:
        if source.random() < 0.4:
            piece = source.randbytes(PIECE)
        else:  # the same text in another cipher: new to deduplication, alike to compression
            source.shuffle(letters)
            cipher = bytes.maketrans(string.ascii_lowercase.encode(), "".join(letters).encode())
            piece = source.choice(texts).translate(cipher)
        yield piece[:size]
        size -= len(piece[:size])


def make(path: Path, size: int, seed: int = 1) -> None:
    """Write `size` bytes to a file."""
    with path.open("wb") as file:
        file.writelines(pieces(size, seed))


if __name__ == "__main__":
    for part in pieces(int(sys.argv[1]) * 1_000_000, *map(int, sys.argv[2:3])):
        sys.stdout.buffer.write(part)
