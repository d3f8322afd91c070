"""Streams that programs write: one program for one stream, or one for each name that another program prints.

Invariant: the program's failure is the stream's failure.  Names go into arguments as they are, never through a
shell.
"""

from dataclasses import dataclass

from dedupstore.errors import StreamError
from pipelines.config_run import CommandSource, RunSettings
from pipelines.run.jobs import Desk, Line
from pipelines.run.plain import Listed, attempt
from pipelines.run.transfer import Transfer
from pipelines.sources.command import Command

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
        for name, arguments in self._named():
            line = Line(self.name, name, "stored", self._config.format)
            listed.add(CommandJob(line, arguments, self._config), done)
        return listed

    def plan(self) -> list[Line]:
        """Say which streams a run would store."""
        return [Line(self.name, name, "planned", self._config.format) for name, _ in self._named()]

    def _named(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the streams' names and commands."""
        config = self._config
        if not config.list:
            return [(self.name, config.command)]
        lines = [line for line in self._list().splitlines() if line]
        if not lines:
            raise StreamError(
                f"the list of {self.name} is empty: {config.list[0]} printed nothing", "run it by hand"
            )
        return [
            (f"{self.name}.{line}", tuple(each.replace("{name}", line) for each in config.command))
            for line in dict.fromkeys(lines)
        ]

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
