"""What `dedup run` needs of the config file: [run], [schedule], and each [[source]], whose keys its kind reads.

Invariant: a file is valid as a whole, or refused: an unknown key, an invalid value or two keys that exclude each other
stop the run before any server is contacted, with file, line and what to write instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.config import config_file, rules
from pipelines.config.sections import Section, Where


@dataclass(frozen=True)
class RunSettings:
    """[run]: how many streams in parallel, time-outs and retries; times in seconds, 0 for no limit.

    `idle_timeout`: a source that sends nothing.  `total_timeout`: one stream in all.  `stall_timeout`: a store that
    accepts nothing.  `user` is the user that a run started as root becomes, "" to stay root.
    """

    parallel: int = 2
    retries: int = 2
    retry_wait: int = 60
    idle_timeout: int = 600
    total_timeout: int = 86400
    stall_timeout: int = 300
    user: str = ""


@dataclass(frozen=True)
class Schedule:
    """[schedule]: when a volume is dumped in full.

    `weekday` (0 is Monday) is the first day of the week; with `every`, a number of days counts instead.
    Volumes of at most `small_kib` KiB always are, and so are those whose name matches one of `always_full`.
    """

    weekday: int = 6
    every: int = 0
    small_kib: int = 1024
    always_full: tuple[str, ...] = ()


class SourceSettings(Protocol):
    """The settings of one [[source]]: a frozen dataclass of its kind."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


ReadSource = Callable[[str, Section, str], SourceSettings]
"""Reads the keys of a [[source]] of that kind and name."""


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, and the file that holds them."""

    file: Path
    run: RunSettings
    schedule: Schedule
    sources: tuple[SourceSettings, ...]


def parse(file: Path, text: str, kinds: Sequence[str], read: ReadSource) -> RunConfig:
    """Read the sections out of a config file's text; `read` knows each of these kinds of source.

    Raises `DedupError` for what is not valid.
    """
    values = config_file.parse(file, text)
    where = Where(file, text)
    run = _run(Section(where, ("run",), values.get("run", {})))
    schedule = _schedule(Section(where, ("schedule",), values.get("schedule", {})))
    sources = tuple(
        _source(Section(where, ("source", number), each), kinds, read)
        for number, each in enumerate(_sources(values, where, kinds))
    )
    names = [source.name for source in sources]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise where.error(
                ("source", number, "name"), f"two sources are named {name!a}", "rename one of them"
            )
    return RunConfig(file, run, schedule, sources)


def _sources(values: Mapping[str, Any], where: Where, kinds: Sequence[str]) -> list[Any]:
    found = values.get("source", [])
    if not isinstance(found, list):
        raise where.error(("source",), "source is not a list", "begin each source with a line [[source]]")
    if not found:
        raise where.error(
            (),
            "nothing to back up",
            f"add a [[source]] of kind {', '.join(kinds[:-1])} or {kinds[-1]}; see dedup config example",
        )
    return found


def _run(section: Section) -> RunSettings:
    seconds = rules.number(0, 10**7, "seconds")
    d = RunSettings()
    settings = RunSettings(
        parallel=section.take("parallel", rules.number(1, 64, "streams at the same time"), d.parallel),
        retries=section.take("retries", rules.number(0, 100, "retries"), d.retries),
        retry_wait=section.take("retry_wait", seconds, d.retry_wait),
        idle_timeout=section.take("idle_timeout", seconds, d.idle_timeout),
        total_timeout=section.take("total_timeout", seconds, d.total_timeout),
        stall_timeout=section.take("stall_timeout", seconds, d.stall_timeout),
        user=section.take("user", rules.TEXT, d.user),
    )
    section.finish()
    return settings


def _schedule(section: Section) -> Schedule:
    d = Schedule()
    schedule = Schedule(
        weekday=section.take("full", rules.DAY, d.weekday),
        every=section.take("every", rules.number(1, 366, "days"), d.every),
        small_kib=section.take("small_kib", rules.number(0, 2**40, "KiB"), d.small_kib),
        always_full=section.take("always_full", rules.TEXTS, d.always_full),
    )
    section.finish()
    if section.has("full") and section.has("every"):
        raise section.error("every", "full and every exclude each other", "remove one of them")
    return schedule


def _source(section: Section, kinds: Sequence[str], read: ReadSource) -> SourceSettings:
    source = read(section.need("kind", rules.one_of(kinds)), section, section.need("name", rules.TEXT))
    section.finish()
    return source
