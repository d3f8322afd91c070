"""The exit statuses of `dedup`."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ended; what a signal N stopped ends with 128 + N."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3  # some streams failed, the others are stored or restored
    DAMAGE = 4  # a check found damage, or backups that were seen before are gone
