"""Paths and links of a stranger's choosing: which of them may be made.

Invariant: what `parts` returns leads to a place below the folder in which it is used; so does a link, unless it
`leads_out`.
"""

from dedupstore.errors import DedupError
from pipelines.output.file_names import shown

_LONGEST = 16 << 10  # bytes of a path; beyond 4096 most programs fail


class LeftOutError(DedupError):
    """One entry was not made, as that is unsafe or impossible; others may go on."""


def parts(path: bytes) -> list[bytes]:
    """Return the names that a path consists of; raises `LeftOutError` for one that is no plain relative path."""
    names = path.split(b"/")
    if len(path) > _LONGEST or any(name in (b"", b".", b"..") or b"\0" in name for name in names):
        raise LeftOutError(f"{shown(path)} is left out: no file can have that path here")
    return names


def not_made(path: bytes) -> LeftOutError:
    """Return the error for what is never made."""
    return LeftOutError(f"{shown(path)} is left out: it is a device, a pipe or something unknown")


def leads_out(path: bytes, target: bytes) -> bool:
    """Tell whether a symbolic link at `path` could lead out of the tree.

    `..` may only come first in the target: after a name it could climb from wherever another link leads.
    """
    steps = [step for step in target.split(b"/") if step not in (b"", b".")]
    climbs = next((i for i, step in enumerate(steps) if step != b".."), len(steps))
    return target.startswith(b"/") or climbs > path.count(b"/") or b".." in steps[climbs:]
