"""Kind files: the files of a folder, such as dumps and tars that other programs leave there.

Invariant: whatever matches the patterns is stored or reported by name: a file that cannot be stored fails, a name in
`include` that does not exist fails, and what is not a plain file is a warning.
"""

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from dedupstore.errors import DedupError, StreamError
from pipelines.config import rules
from pipelines.config.patterns import is_name, wants
from pipelines.config.sections import Section
from pipelines.formats import detect
from pipelines.sources.kind import RunContext, SourceKind, check_stream_name
from pipelines.sources.plain_file import PlainFile, kind, unreadable
from pipelines.sources.protocol import JobContext, Line, Listing
from pipelines.sources.whole_stream import attempt
from pipelines.text import safe

_MOST_NAMES = 5  # in a warning


@dataclass(frozen=True)
class FilesSettings:
    """[[source]] of kind files: the plain files of `folder`, an absolute path, but not of its subfolders.

    Each is a stream called `name.FILE`.  `include` and `exclude` are shell patterns of file names; `exclude` wins.
    """

    kind: ClassVar[str] = "files"

    name: str
    folder: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    format: str = "auto"
    allow_empty: bool = False


class Files:
    """A source of kind files."""

    def __init__(self, config: FilesSettings) -> None:
        self.name = config.name
        self._config = config

    def listing(self, done: set[str]) -> Listing:
        """List its streams, the largest first: started last, it would run alone at the end.

        Raises `StreamError` if the folder cannot be read, or holds no file that matches.
        """
        sizes, others = self._look()
        found = Listing(lines=list(self._missing(sizes, others)), warnings=self._warnings(others))
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            path = os.path.join(self._config.folder, name)  # noqa: PTH118 - a Path would cost more than its use
            found.add(FileJob(self._line(name, "stored"), path, self._config), done)
        return found

    def plan(self) -> list[Line]:
        """Return which streams a run would store."""
        sizes, others = self._look()
        return [*itertools.starmap(self._planned, sizes.items()), *self._missing(sizes, others)]

    def _planned(self, name: str, size: int) -> Line:
        """Return what a run would do with a file, as far as is known without reading it."""
        line = self._line(name, "planned", size)
        path = os.path.join(self._config.folder, name)  # noqa: PTH118 - as above
        if not os.access(path, os.R_OK, effective_ids=True):
            line.error = str(unreadable(path, PermissionError(errno.EACCES, "")))
        elif size == 0 and not self._config.allow_empty:
            line.error = "the file is empty; allow_empty = true stores it anyway"
        if line.error:
            line.state = "failed"
        return line

    def _look(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return the sizes of the plain files that match, and what the other matches are."""
        config = self._config
        sizes: dict[str, int] = {}
        others: dict[str, str] = {}
        try:
            with os.scandir(config.folder) as entries:
                for entry in entries:
                    if not wants(entry.name, config.include, config.exclude, hidden=False):
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # removed meanwhile
                    except OSError:
                        sizes[entry.name] = 0  # opening it will fail with the reason
                        continue
                    if stat.S_ISREG(status.st_mode):
                        sizes[entry.name] = status.st_size
                    else:
                        others[entry.name] = kind(status.st_mode)
        except OSError as error:
            raise unreadable(config.folder, error) from None
        if not sizes and not any(self._missing(sizes, others)):
            raise StreamError(
                f"no file in {safe(config.folder)} matches include and exclude of {self.name}",
                "check the program that writes them, or correct the patterns",
            )
        return sizes, others

    def _missing(self, sizes: dict[str, int], others: dict[str, str]) -> Iterator[Line]:
        """Yield a line for each name in `include`, not pattern, that is not a plain file of the folder."""
        config = self._config
        for name in filter(is_name, dict.fromkeys(config.include)):
            if name not in sizes and wants(name, config.include, config.exclude, hidden=False):
                what = f"is {others[name]}" if name in others else "does not exist"
                hint = "check the program that writes it, or correct include"
                error = f"{safe(name)} {what} in {safe(config.folder)}; {hint}"
                yield Line(self.name, f"{self.name}.{name}", "failed", error=error)

    def _warnings(self, others: dict[str, str]) -> list[str]:
        found = [
            f"{safe(name)} ({others[name]})" for name in sorted(others) if name not in self._config.include
        ]
        if not found:
            return []
        more = f", and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
        return [
            f"{self.name}: skipped {', '.join(found[:_MOST_NAMES])}{more}: not plain files; add them to exclude"
        ]

    def _line(self, name: str, state: Literal["stored", "planned"], size: int = 0) -> Line:
        return Line(self.name, f"{self.name}.{name}", state, self._config.format, size=size)


@dataclass
class FileJob:
    """One file."""

    line: Line
    path: str
    config: FilesSettings

    def attempt(self, context: JobContext, *, last: bool) -> Line:
        """Store the file."""
        return attempt(context, self.line, self.config, lambda: PlainFile(self.path))


class _Files(SourceKind):
    """Kind files: the plain files of a folder."""

    def read(self, section: Section, name: str) -> FilesSettings:
        """Read its keys."""
        source = FilesSettings(
            name=name,
            folder=section.need("folder", rules.FOLDER),
            include=section.take("include", rules.NAMES, ("*",)),
            exclude=section.take("exclude", rules.NAMES, ()),
            format=section.take("format", rules.one_of(detect.FORMATS), "auto"),
            allow_empty=section.take("allow_empty", rules.FLAG, False),
        )
        check_stream_name(section, name)
        for each in filter(is_name, source.include):
            if not wants(each, source.include, source.exclude):
                raise section.error(
                    "include", f"include names {each!a}, but exclude matches it", "correct one of them"
                )
        return source

    def make(self, settings: FilesSettings, context: RunContext) -> Files:
        """Return the source."""
        return Files(settings)

    def check(self, settings: FilesSettings, file: Path) -> None:
        """Raise `DedupError` if there is no such folder."""
        if not os.path.isdir(settings.folder):  # noqa: PTH112 - never raises
            there = os.path.lexists(settings.folder)
            what = "not a folder" if there else "no such folder"
            raise DedupError(
                f"{file}: source {settings.name}: {what}: {settings.folder}",
                "correct the path" if there else "create it, or correct the path",
            )


KIND = _Files()
