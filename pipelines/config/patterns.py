"""Names of volumes and files, selected by shell patterns.

Invariant: `exclude` wins: a name that both match is left out.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def wants(name: str, include: Iterable[str], exclude: Iterable[str], *, hidden: bool = True) -> bool:
    """Tell whether this name is selected.

    Without `hidden`, a name that begins with a dot needs a pattern that begins with one, as in a shell.
    """
    if not hidden and name.startswith("."):
        include = (pattern for pattern in include if pattern.startswith("."))
    return any(fnmatchcase(name, p) for p in include) and not any(fnmatchcase(name, p) for p in exclude)


def is_name(pattern: str) -> bool:
    """Tell whether the pattern can match only one name, which is the pattern itself."""
    return not any(special in pattern for special in "*?[")
