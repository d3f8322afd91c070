"""Give back the memory through which a mapped file was read.

LMDB reads its file through a mapping, and every page read stays counted as this process's memory until the
kernel wants it: a program that looks up much seems to grow with its cache.  Invariant: nothing but that count
changes; the pages stay in the system's page cache and are mapped again when they are read.
"""

import contextlib
import os
from pathlib import Path

_DONT_NEED = 4  # MADV_DONTNEED of madvise(2), which on a shared mapping of a file only unmaps its pages


def release(path: Path) -> None:
    """Unmap the pages of this file that were read; does nothing where that is not possible."""
    import ctypes  # slow to load, and only long runs come here

    name = os.path.realpath(path)
    with contextlib.suppress(OSError, AttributeError):
        advise = ctypes.CDLL(None).madvise
        for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5] == name:
                start, end = (int(part, 16) for part in fields[0].split("-"))
                advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)
