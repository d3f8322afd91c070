"""Kind command: streams that programs write, one stream or one for each name that another program prints.

Invariant: the program's failure is the stream's failure.  Names go into arguments as they are, never through a
shell, and none becomes an option of the program.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from dedupstore.errors import StreamError
from pipelines.config import rules
from pipelines.config.run_settings import RunSettings
from pipelines.config.sections import Section
from pipelines.formats import detect
from pipelines.sources.kind import RunContext, SourceKind, check_stream_name
from pipelines.sources.program import Command
from pipelines.sources.protocol import JobContext, Line, Listing
from pipelines.sources.transfer import Transfer
from pipelines.sources.whole_stream import attempt
from pipelines.text import safe

# Seconds for a program to exit once nobody reads, and after SIGTERM.  One that has nothing to write does not notice
# the first; `vos dump`, which must not be killed, has a kind of its own.
_GRACE = (2.0, 10.0)

_MOST_NAMES = 1 << 20  # bytes of a list, at most


@dataclass(frozen=True)
class CommandSettings:
    """[[source]] of kind command: a program's standard output.

    Without `list`, one stream called `name`.  With it, one for each line that `list` prints, called
    `name.LINE`, by `command` with LINE for {name}.
    """

    kind: ClassVar[str] = "command"

    name: str
    command: tuple[str, ...]
    list: tuple[str, ...] = ()
    format: str = "auto"
    allow_empty: bool = False


class Commands:
    """A source of kind command."""

    def __init__(self, config: CommandSettings, limits: RunSettings) -> None:
        self.name = config.name
        self._config = config
        self._limits = limits

    def listing(self, done: set[str]) -> Listing:
        """List its streams.  Raises `StreamError` if the list fails or is empty."""
        found = Listing()
        for line, arguments in self._named("stored"):
            if line.state == "failed":
                found.lines.append(line)
            else:
                found.add(CommandJob(line, arguments, self._config), done)
        return found

    def plan(self) -> list[Line]:
        """Return which streams a run would store."""
        return [line for line, _ in self._named("planned")]

    def _named(self, state: Literal["stored", "planned"]) -> list[tuple[Line, tuple[str, ...]]]:
        """Return the streams and their commands; a name that would be an option is a failure."""
        config = self._config
        if not config.list:
            return [(Line(self.name, self.name, state, config.format), config.command)]
        lines = [line for line in self._list().splitlines() if line]
        if not lines:
            raise StreamError(
                f"the list of {self.name} is empty: {config.list[0]} printed nothing", "run it by hand"
            )
        return [
            (self._line(name, state), tuple(each.replace("{name}", name) for each in config.command))
            for name in dict.fromkeys(lines)
        ]

    def _line(self, name: str, state: Literal["stored", "planned"]) -> Line:
        config = self._config
        line = Line(self.name, f"{self.name}.{name}", state, config.format)
        if name.startswith("-") and any(each.startswith("{name}") for each in config.command):
            line.state = "failed"
            line.error = (
                f"the name {safe(name)} would be an option of {config.command[0]}; put something before "
                "{name} in `command`, such as --name={name} or ./{name}, or omit the name in `list`"
            )
        return line

    def _list(self) -> str:
        data = bytearray()
        buffer = memoryview(bytearray(65536))
        command = Command(self._config.list, _GRACE, alone=True)
        with Transfer(command, f"the list of {self.name}", self._limits) as transfer:
            while count := transfer.readinto(buffer):
                data += buffer[:count]
                if len(data) > _MOST_NAMES:
                    raise StreamError(f"the list of {self.name} does not end", "run it by hand")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise StreamError(f"the list of {self.name} is not UTF-8", "run it by hand") from None


@dataclass
class CommandJob:
    """One program's output."""

    line: Line
    arguments: tuple[str, ...]
    config: CommandSettings

    def attempt(self, context: JobContext, *, last: bool) -> Line:
        """Run the program and store what it writes."""
        return attempt(context, self.line, self.config, lambda: Command(self.arguments, _GRACE, alone=True))


class _Command(SourceKind):
    """Kind command: a program's standard output."""

    def read(self, section: Section, name: str) -> CommandSettings:
        """Read its keys."""
        source = CommandSettings(
            name=name,
            command=section.need("command", rules.COMMAND),
            list=section.take("list", rules.COMMAND, ()),
            format=section.take("format", rules.one_of(detect.FORMATS), "auto"),
            allow_empty=section.take("allow_empty", rules.FLAG, False),
        )
        check_stream_name(section, name)
        if "{name}" in source.command[0]:
            raise section.error(
                "command",
                "`list` would choose the program to run",
                "use {name} in the arguments only",
            )
        named = any("{name}" in argument for argument in source.command)
        if source.list and not named:
            raise section.error(
                "command",
                "the command is the same for every name that `list` prints",
                "use {name} in one of its arguments",
            )
        if named and not source.list:
            raise section.error(
                "command",
                "{name} is used without `list`",
                "add a line list = [...], a program that prints names",
            )
        return source

    def make(self, settings: CommandSettings, context: RunContext) -> Commands:
        """Return the source."""
        return Commands(settings, context.run)


KIND = _Command()
