"""Ways to damage a file of the cache."""

import os
import random
from pathlib import Path


def damage_page(folder: Path, number: int) -> None:
    """Fill a page with other bytes."""
    with (folder / "data.mdb").open("r+b") as file:
        file.seek(number * 4096, os.SEEK_END if number < 0 else os.SEEK_SET)
        file.write(b"\xee" * 4096)


def cut(data: bytearray, source: random.Random) -> None:
    """Lose the file's end."""
    del data[source.randrange(len(data)) :]


def nothing(data: bytearray, source: random.Random) -> None:
    """Lose everything."""
    data.clear()


def noise(data: bytearray, source: random.Random) -> None:
    """Put random bytes everywhere."""
    data[:] = source.randbytes(len(data))


def zeros(data: bytearray, source: random.Random) -> None:
    """Lose half of the pages."""
    for at in range(0, len(data), 4096):
        if source.random() < 0.5:
            data[at : at + 4096] = bytes(4096)


def lost_pages(data: bytearray, source: random.Random) -> None:
    """Put random bytes into every page, most of them into its header."""
    for at in range(8192, len(data), 4096):
        data[at + source.randrange(64)] = source.randrange(256)
        data[at + source.randrange(4096)] = source.randrange(256)


def heads(data: bytearray, source: random.Random) -> None:
    """Put random bytes into the two pages that say where all others are."""
    for _ in range(10):
        data[source.choice((0, 4096)) + source.randrange(160)] = source.randrange(256)


def blank(data: bytearray) -> None:
    """Lose every byte, but not the size."""
    data[:] = bytes(len(data))


def endless(data: bytearray) -> None:
    """Say of each bucket that more is in the next."""
    data[511::512] = b"\1" * len(data[511::512])
