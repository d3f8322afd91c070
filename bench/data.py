"""Data to measure with: seeded, quick to make, partly compressible, with little repetition.

`make(path, size)` writes 40 % bytes that do not compress and 60 % text, as home volumes have them.
"""

import random
import string
from pathlib import Path

PIECE = 4 << 20


def make(path: Path, size: int, seed: int = 1) -> None:
    """Write `size` bytes; the same for the same seed."""
    source = random.Random(seed)
    words = ["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 11))) for _ in range(20_000)]
    phrases = [" ".join(source.choices(words, k=source.randint(2, 9))).encode() for _ in range(30_000)]
    with path.open("wb") as file:
        left = size
        while left > 0:
            if source.random() < 0.4:
                piece = source.randbytes(PIECE)
            else:
                piece = b"\n".join(source.choices(phrases, k=PIECE // 30))
            file.write(piece[: min(left, PIECE)])
            left -= min(left, len(piece), PIECE)
