"""Streams that are stored whole every time: what commands and files have in common.

Invariant: a message for the config file names its keys, never options of `dedup put`.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from dedupstore.errors import DedupError
from pipelines.sources.protocol import JobContext, Line
from pipelines.sources.transfer import Flow

# Options of `dedup put`, and the keys of a source that mean the same.
_KEYS = {
    "--allow-empty": "allow_empty = true",
    "--format raw": 'format = "raw"',
    "--format tar": 'format = "tar"',
}


class PlainSettings(Protocol):
    """What the settings of such sources have in common."""

    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def allow_empty(self) -> bool: ...  # noqa: D102


def attempt(context: JobContext, line: Line, source: PlainSettings, begin: Callable[[], Flow]) -> Line:
    """Store the flow that `begin` opens; return its line with the result."""
    from pipelines.sources.put import store  # not by those who only read the config file

    line = replace(line, warnings=[])
    began = time.monotonic()
    try:
        with context.watch(begin(), line.name) as flow:
            stream = store(
                context.session,
                line.name,
                flow,
                form=source.format,
                allow_empty=source.allow_empty,
                warn=lambda what: line.warnings.append(_as_keys(what)),
                origin=line.source,
            )
    except DedupError as error:
        error.hint = _as_keys(error.hint)
        raise
    line.kind, line.size, line.new, line.stored = stream.kind, stream.size, stream.new, stream.stored
    line.seconds = time.monotonic() - began
    return line


def _as_keys(text: str) -> str:
    """Return a message with the keys of the config file in place of options of `dedup put`."""
    for option, key in _KEYS.items():
        text = text.replace(option, key)
    return text
