"""Hand the pages of a mapped file back to the system before they are many.

Invariant: what is handed back stays in the system's page cache, and is mapped again when it is next read: it
costs time only.  The mapping is one that this process only reads; LMDB writes with `pwrite`.

A look-up of a random key maps 64 KiB around each page that it reads (Linux maps what is cached nearby, too), and
all that counts as this process's memory, up to the size of the file.  Where there is no Linux, nothing is done.
"""

import os
import weakref
from pathlib import Path

MOST = 12 << 20  # bytes mapped since
_STATM = "/proc/self/statm"
_MAPS = Path("/proc/self/maps")
_DONTNEED = 4  # MADV_DONTNEED, <asm-generic/mman-common.h>


class MappedPages:
    """The pages of `path`, which LMDB has mapped; threads may share this object."""

    def __init__(self, path: Path) -> None:
        self._path = os.path.realpath(path)
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._least = -1
        try:
            self._statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._statm = -1
            return
        weakref.finalize(self, os.close, self._statm)

    def limit(self) -> None:
        """Hand pages back if many came to be mapped since this was last done; quick if not."""
        if self._statm < 0:
            return
        mapped = self._mapped()
        if self._least < 0 or mapped < self._least:
            self._least = mapped
        elif mapped - self._least > MOST:
            self._hand_back()
            self._least = self._mapped()  # libraries may have been loaded meanwhile: they stay

    def _mapped(self) -> int:
        """Return the bytes of files that are mapped into this process and in memory (proc(5): `shared`)."""
        return int(os.pread(self._statm, 200, 0).split()[2]) * self._page

    def _hand_back(self) -> None:
        import ctypes  # slow to load, and a small cache never needs it

        system = ctypes.CDLL(None)
        for line in _MAPS.read_bytes().splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].removesuffix(b" (deleted)") == os.fsencode(self._path):
                start, end = (int(part, 16) for part in fields[0].split(b"-"))
                system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
