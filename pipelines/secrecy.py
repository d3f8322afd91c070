"""Keeps the keys that are in this process's memory out of core dumps, and from the user's other processes.

Invariant: after `keep_secret` the kernel writes no memory of this process anywhere.
"""

import contextlib
import ctypes
import resource

_PR_SET_DUMPABLE = 4  # prctl(2)


def keep_secret() -> None:
    """Have no core dump made; and no other process of this user read the memory, or trace this one.

    The limit is for files, and for children.  A program that dumps are piped to (core(5)) gets them whatever the limit
    is: only what is not dumpable is safe from that.  A child that runs another program is dumpable again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
