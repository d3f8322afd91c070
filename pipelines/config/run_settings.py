"""The sections of the config file that `dedup run` works by: [run], [schedule] and each [[source]].

Invariant: a file is understood wholly or refused: an unknown key, a wrong value or two keys that contradict
each other stop the run before anything is asked of a server, with file, line and what to write instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dedupstore.errors import DedupError
from dedupstore.format import layout
from pipelines.config import config_file
from pipelines.config import rules as rules
from pipelines.config.patterns import is_name, wants
from pipelines.config.sections import Section, Where

FORMATS = ("auto", "afs", "tar", "raw")


@dataclass(frozen=True)
class RunSettings:
    """[run]: how much at a time, how long, how often; all times in seconds, 0 for no limit.

    `idle_timeout`: a source that gives nothing.  `total_timeout`: one stream in all.  `stall_timeout`: a store
    that takes nothing.  `user` is whom a run started as root becomes, "" for nobody else.
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
    Volumes of at most `small_kib` KiB always are, and those whose name matches one of `always_full`.
    """

    weekday: int = 6
    every: int = 0
    small_kib: int = 1024
    always_full: tuple[str, ...] = ()


@dataclass(frozen=True)
class AfsSource:
    """[[source]] of kind afs: the volumes of these servers and partitions, all if none is named.

    `include` and `exclude` are patterns of volume names, as a shell's; what matches both is left.  With `encrypt`, dumps
    of other servers than this host come encrypted.
    """

    name: str
    servers: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    backupsys: bool = True
    localauth: bool = True
    noauth: bool = False
    encrypt: bool = True
    cell: str = ""
    vos: str = "vos"


@dataclass(frozen=True)
class CommandSource:
    """[[source]] of kind command: a program's standard output.

    Without `list`, one stream called `name`.  With it, one for each line that `list` prints, called
    `name.LINE`, by `command` with LINE for {name}.
    """

    name: str
    command: tuple[str, ...]
    list: tuple[str, ...] = ()
    format: str = "auto"
    allow_empty: bool = False


@dataclass(frozen=True)
class FilesSource:
    """[[source]] of kind files: the plain files of `folder`, an absolute path, but not of folders in it.

    Each is a stream called `name.FILE`.  `include` and `exclude` are patterns of file names, as a shell's; what matches
    both is left.
    """

    name: str
    folder: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    format: str = "auto"
    allow_empty: bool = False


AnySource: TypeAlias = AfsSource | CommandSource | FilesSource


@dataclass(frozen=True)
class RunConfig:
    """All of it, and the file it is from."""

    file: Path
    run: RunSettings
    schedule: Schedule
    sources: tuple[AnySource, ...]


def parse(file: Path, text: str) -> RunConfig:
    """Read the sections out of a config file's text.  Raises `DedupError` for what is not understood."""
    values = config_file.parse(file, text)
    where = Where(file, text)
    run = _run(Section(where, ("run",), values.get("run", {})))
    schedule = _schedule(Section(where, ("schedule",), values.get("schedule", {})))
    sources = tuple(
        _source(Section(where, ("source", number), each))
        for number, each in enumerate(_sources(values, where))
    )
    names = [source.name for source in sources]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise where.error(
                ("source", number, "name"), f"there are two sources called {name!a}", "rename one of them"
            )
    return RunConfig(file, run, schedule, sources)


def _sources(values: Mapping[str, Any], where: Where) -> list[Any]:
    found = values.get("source", [])
    if not isinstance(found, list):
        raise where.error(("source",), "source is not a list", "begin each source with a line [[source]]")
    if not found:
        raise where.error(
            (),
            "there is nothing to back up",
            "add a [[source]] of kind afs, command or files; see dedup config example",
        )
    return found


def _run(section: Section) -> RunSettings:
    seconds = rules.number(0, 10**7, "seconds")
    d = RunSettings()
    settings = RunSettings(
        parallel=section.take("parallel", rules.number(1, 64, "streams at the same time"), d.parallel),
        retries=section.take("retries", rules.number(0, 100, "further tries"), d.retries),
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
        raise section.error("every", "full and every contradict each other", "keep one of the two")
    return schedule


def _source(section: Section) -> AnySource:
    read: dict[str, Callable[[Section, str], AnySource]] = {"afs": _afs, "command": _command, "files": _files}
    source = read[section.need("kind", rules.one_of(read))](section, section.need("name", rules.TEXT))
    section.finish()
    return source


def _afs(section: Section, name: str) -> AfsSource:
    noauth = section.take("noauth", rules.FLAG, False)
    source = AfsSource(
        name=name,
        servers=section.take("servers", rules.WORDS, ()),
        partitions=section.take("partitions", rules.WORDS, ()),
        take=section.take("include", rules.TEXTS, ("*",)),
        leave=section.take("exclude", rules.TEXTS, ()),
        backupsys=section.take("backupsys", rules.FLAG, True),
        noauth=noauth,
        localauth=section.take("localauth", rules.FLAG, not section.has("noauth")),
        encrypt=section.take("encrypt", rules.FLAG, not noauth),
        cell=section.take("cell", rules.WORD, ""),
        vos=section.take("vos", rules.TEXT, "vos"),
    )
    if source.noauth and source.localauth:
        raise section.error("noauth", "localauth and noauth contradict each other", "keep one of the two")
    if source.noauth and source.encrypt:
        raise section.error(
            "encrypt", "without a key, as with noauth, nothing is encrypted", "keep one of the two"
        )
    return source


def _command(section: Section, name: str) -> CommandSource:
    source = CommandSource(
        name=name,
        command=section.need("command", rules.COMMAND),
        list=section.take("list", rules.COMMAND, ()),
        format=section.take("format", rules.one_of(FORMATS), "auto"),
        allow_empty=section.take("allow_empty", rules.FLAG, False),
    )
    _check_stream_name(section, name)
    if "{name}" in source.command[0]:
        raise section.error(
            "command",
            "what `list` prints would choose the program",
            "write {name} in one of its arguments, and the program itself as it is",
        )
    named = any("{name}" in argument for argument in source.command)
    if source.list and not named:
        raise section.error(
            "command",
            "the command would do the same for every name that `list` prints",
            "write {name} in one of its arguments",
        )
    if named and not source.list:
        raise section.error(
            "command", "nothing says what {name} is", "add a line list = [...]: a program that prints names"
        )
    return source


def _files(section: Section, name: str) -> FilesSource:
    source = FilesSource(
        name=name,
        folder=section.need("folder", rules.FOLDER),
        take=section.take("include", rules.NAMES, ("*",)),
        leave=section.take("exclude", rules.NAMES, ()),
        format=section.take("format", rules.one_of(FORMATS), "auto"),
        allow_empty=section.take("allow_empty", rules.FLAG, False),
    )
    _check_stream_name(section, name)
    for each in filter(is_name, source.include):
        if not wants(each, source.include, source.exclude):
            raise section.error(
                "include", f"take names {each!a}, and leave takes it away", "correct one of the two"
            )
    return source


def _check_stream_name(section: Section, name: str) -> None:
    try:
        layout.check_stream_name(name)
    except DedupError as error:
        raise section.error("name", error.message, error.hint) from None
