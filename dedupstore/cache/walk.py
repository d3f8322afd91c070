"""Read every row of an LMDB file, in a process of its own: `python -P walk.py FOLDER`.

LMDB trusts the pages of its file: a damaged one can end the process by a signal.  Here that is an answer, not
an accident: only exit status 0 says that every row can be read, that keys ascend, and that none is missing.

This file imports nothing of the package, so that it can be run by its path.
"""

import os
import sys

import lmdb

GROWTH = 1 << 30  # bytes that others may add meanwhile


def is_sound(folder: str) -> bool:
    """Return whether all rows of all tables can be read; raises `lmdb.Error`, or ends by a signal, if not."""
    size = os.stat(os.path.join(folder, "data.mdb")).st_size  # noqa: PTH116, PTH118 - starts faster without pathlib
    environment = lmdb.open(folder, map_size=size + GROWTH, readonly=True, max_dbs=64)
    with environment.begin() as txn:
        names = [bytes(name) for name, _ in txn.cursor()]
    tables = [environment.open_db(name, create=False) for name in names]
    with environment.begin() as txn:
        for table in tables:
            expected, rows, last = txn.stat(table)["entries"], 0, b""
            for key, _ in txn.cursor(table):
                rows += 1
                if key < last or rows > expected:
                    return False
                last = key
            if rows != expected:
                return False
    return True


if __name__ == "__main__":
    sys.exit(0 if is_sound(sys.argv[1]) else 1)
