"""The kinds of source that the config file can name: each module here is one, called as in `kind = "…"`.

Each module calls only those below it:

| module | what for |
|---|---|
| `afs`, `command`, `files` | AFS volumes; what programs write; the files of a folder |

A kind is found by its name, and loaded only when the config file names it; all that is known of it is its `KIND`.
Nothing else lists the kinds.  How to add one: see `pipelines.sources`.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.config.run_settings import RunConfig, SourceSettings
    from pipelines.sources.kind import RunContext, SourceKind
    from pipelines.sources.protocol import Source


def names() -> Sequence[str]:
    """Return the names of all kinds."""
    return sorted(module.name for module in iter_modules(__path__))


def kind_of(source: "SourceSettings | str") -> "SourceKind":
    """Return a kind by its name, or the kind of a source; this loads it."""
    name = source if isinstance(source, str) else source.kind
    kind: SourceKind = import_module(f"{__name__}.{name}").KIND
    return kind


def parse(file: Path, text: str) -> "RunConfig":
    """Read all that `dedup run` needs of a config file.  Raises `DedupError` for what is not valid."""
    from pipelines.config import run_settings

    return run_settings.parse(
        file, text, names(), lambda kind, section, name: kind_of(kind).read(section, name)
    )


def make_sources(config: "RunConfig", context: "RunContext") -> "list[Source]":
    """Return the sources in the order of the file."""
    return [kind_of(source).make(source, context) for source in config.sources]
