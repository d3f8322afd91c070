"""The files of a folder as streams: dumps and tars that other programs leave there.

Invariant: what matches the patterns is stored, or told of by its name: a file that cannot be stored fails, so does a
name in `include` that is not there, and what is no plain file is a warning.
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
from pipelines.sources.kind import Kind, RunContext, check_stream_name
from pipelines.sources.plain_file import PlainFile, kind, unreadable
from pipelines.sources.protocol import JobContext, Line, Listing
from pipelines.sources.whole_stream import attempt
from pipelines.text import safe

_TOLD = 5  # names in a warning


@dataclass(frozen=True)
class FilesSettings:
    """[[source]] of kind files: the plain files of `folder`, an absolute path, but not of folders in it.

    Each is a stream called `name.FILE`.  `include` and `exclude` are patterns of file names, as a shell's; what matches
    both is left.
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
        """List its streams, the largest first: started last, it would be alone at the end.

        Raises `StreamError` if the folder cannot be read or holds nothing that is wanted.
        """
        sizes, others = self._look()
        found = Listing(lines=list(self._missing(sizes, others)), warnings=self._told(others))
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            path = os.path.join(self._config.folder, name)  # noqa: PTH118 - a Path would cost more than its use
            found.add(FileJob(self._line(name, "stored"), path, self._config), done)
        return found

    def plan(self) -> list[Line]:
        """Say which streams a run would store."""
        sizes, others = self._look()
        return [*itertools.starmap(self._planned, sizes.items()), *self._missing(sizes, others)]

    def _planned(self, name: str, size: int) -> Line:
        """Say what a run would do with a file, as far as that can be told without reading it."""
        line = self._line(name, "planned", size)
        path = os.path.join(self._config.folder, name)  # noqa: PTH118 - as above
        if not os.access(path, os.R_OK, effective_ids=True):
            line.error = str(unreadable(path, PermissionError(errno.EACCES, "")))
        elif size == 0 and not self._config.allow_empty:
            line.error = "it is empty; allow_empty = true stores it as it is"
        if line.error:
            line.state = "failed"
        return line

    def _look(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return the size of each plain file that is wanted, and what the others are that match."""
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
                        continue  # gone before we came
                    except OSError:
                        sizes[entry.name] = 0  # to open it will fail, and say why
                        continue
                    if stat.S_ISREG(status.st_mode):
                        sizes[entry.name] = status.st_size
                    else:
                        others[entry.name] = kind(status.st_mode)
        except OSError as error:
            raise unreadable(config.folder, error) from None
        if not sizes and not any(self._missing(sizes, others)):
            raise StreamError(
                f"no file in {safe(config.folder)} is matched by include and exclude of {self.name}",
                "check the program that writes them, or correct the patterns",
            )
        return sizes, others

    def _missing(self, sizes: dict[str, int], others: dict[str, str]) -> Iterator[Line]:
        """Give a line for each name, not pattern, in `include` that is no plain file of the folder."""
        config = self._config
        for name in filter(is_name, dict.fromkeys(config.include)):
            if name not in sizes and wants(name, config.include, config.exclude, hidden=False):
                what = f"is {others[name]}" if name in others else "is not there"
                error = f"{safe(name)} {what} in {safe(config.folder)}; correct include, or check the program"
                yield Line(self.name, f"{self.name}.{name}", "failed", error=error)

    def _told(self, others: dict[str, str]) -> list[str]:
        told = [
            f"{safe(name)} is {others[name]}" for name in sorted(others) if name not in self._config.include
        ]
        if not told:
            return []
        more = f", and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        return [
            f"{self.name}: only plain files are stored, and {', '.join(told[:_TOLD])}{more}; list in exclude what is "
            "not wanted"
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


class _Files(Kind):
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
                    "include", f"include names {each!a}, and exclude leaves it out", "correct one of the two"
                )
        return source

    def make(self, settings: FilesSettings, context: RunContext) -> Files:
        """Return the source."""
        return Files(settings)

    def check(self, settings: FilesSettings, file: Path) -> None:
        """Raise `DedupError` if there is no such folder."""
        if not os.path.isdir(settings.folder):  # noqa: PTH112 - never raises
            there = os.path.lexists(settings.folder)
            what = f"{settings.folder} is no folder" if there else f"there is no folder {settings.folder}"
            raise DedupError(
                f"{file}: {what}, which is folder of the source {settings.name}",
                "correct the path" if there else "make it, or correct the path",
            )


KIND = _Files()
