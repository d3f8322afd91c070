"""Make the heap reuse the buffers of streams, rather than grow or ask the system for each.

Blocks of a megabyte pass through several threads.  Left alone, glibc serves them from a heap for each thread, which
leave holes; mapped one by one, the kernel clears every page of each.  From one heap for all threads they are
reused; only packs, which are larger, are mapped.  Measured in docs/decisions/0015-memory.md.

Invariant: one heap, if `reuse_buffers` comes before the first thread.  glibc makes no more of them afterwards, but
shares out to new threads those that there are.
"""

import contextlib

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt(3)
_LARGE = 8 << 20  # between a block and a pack


def reuse_buffers() -> None:
    """Set up the heap for work on streams; do nothing without glibc."""
    import ctypes  # slow to load, and `--version` needs none of this

    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)
