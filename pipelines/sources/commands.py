"""Streams that programs write: one program for one stream, or one for each name that another program prints.

Invariant: the program's failure is the stream's failure.  Names go into arguments as they are, never through a
shell, and none becomes an option of the program.
"""

from dataclasses import dataclass
from typing import Literal

from dedupstore.errors import StreamError
from pipelines.config.run_settings import CommandSource, RunSettings
from pipelines.sources.plain import Listed, attempt
from pipelines.sources.program import Command
from pipelines.sources.protocol import Desk, Line
from pipelines.sources.transfer import Transfer
from pipelines.text import safe

# Seconds in which a program ends by itself once nobody reads, and after SIGTERM.  One that has nothing to write
# does not notice; `vos dump`, which must not be killed, has a kind of its own.
_GRACE = (2.0, 10.0)

_MOST_NAMES = 1 << 20  # bytes that a list may have


class Commands:
    """A source of kind command."""

    def __init__(self, config: CommandSource, limits: RunSettings) -> None:
        self.name = config.name
        self._config = config
        self._limits = limits

    def listing(self, done: set[str]) -> Listed:
        """List its streams.  Raises `StreamError` if the list fails or names nothing."""
        listed = Listed()
        for line, arguments in self._named("stored"):
            if line.state == "failed":
                listed.lines.append(line)
            else:
                listed.add(CommandJob(line, arguments, self._config), done)
        return listed

    def plan(self) -> list[Line]:
        """Say which streams a run would store."""
        return [line for line, _ in self._named("planned")]

    def _named(self, state: Literal["stored", "planned"]) -> list[tuple[Line, tuple[str, ...]]]:
        """Return the streams and their commands; failed are those whose name would be an option."""
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
                f"the name {safe(name)} would be an option of {config.command[0]}; let {{name}} not begin an "
                "argument in `command`, as in --name={name} or ./{name}, or let `list` leave it out"
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
    config: CommandSource

    def attempt(self, desk: Desk, *, last: bool) -> Line:
        """Run the program and store what it writes."""
        return attempt(desk, self.line, self.config, lambda: Command(self.arguments, _GRACE, alone=True))
