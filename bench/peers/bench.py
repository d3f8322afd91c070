"""One round of measurements: repositories that begin, steps of every tool, figures that are kept.

Whatever a step reads lies in the page cache, and there is memory for what it writes.  The tools follow each other
within every step, and who goes first changes from round to round.
"""

import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.measure import Call, Cost, digests, make_room, measure, size, warm
from bench.peers.results import Results
from bench.peers.ssh import Server
from bench.peers.tool import Tool
from bench.peers.tools import KINDS
from bench.peers.work import Work


@dataclass
class Bench:
    """What a part needs: where to work, on what, with which programs by tool, and where figures go.

    `snapshots`: how many lie in a repository that is listed.
    """

    folder: Path
    work: Work
    programs: dict[str, str]
    environment: dict[str, str]
    snapshots: int
    results: Results = field(default_factory=Results)
    number: int = 0

    def begin(self, names: Collection[str], server: Server | None = None) -> list[Tool]:
        """Make empty repositories of those of the tools that are there."""
        found = [name for name in self.programs if name in names]
        turn = self.number % max(1, len(found))
        tools = []
        for name in found[turn:] + found[:turn]:
            tools.append(KINDS[name](self.programs[name], self.folder / name, self.environment, server))
            measure(tools[-1].begin(), tools[-1].environment)
        return tools

    def end(self, tools: list[Tool]) -> None:
        """Remove the repositories."""
        for tool in tools:
            shutil.rmtree(tool.folder)

    def store(self, step: str, tools: list[Tool], source: Path, what: Callable[[Tool], list[Call]]) -> None:
        """Measure how every tool stores a folder or a file, and what it keeps then."""
        amount = size(source)
        for tool in tools:
            warm(source, tool.repository)
            make_room(self.folder, amount)
            cost = measure(what(tool), tool.environment)
            self.note(step, tool.name, amount, cost, tool.size())

    def read(self, step: str, tools: list[Tool], amount: int, what: Callable[[Tool], list[Call]]) -> None:
        """Measure how every tool reads its repository, in which lies `amount` of source data."""
        for tool in tools:
            warm(tool.repository)
            self.note(step, tool.name, amount, measure(what(tool), tool.environment))

    def note(self, step: str, tool: str, amount: int, cost: Cost, stored: int | None = None) -> None:
        """Keep a figure, and tell of it."""
        self.results.note(step, tool, amount, cost, stored)
        kept = "" if stored is None else f", {stored / 1e6:.1f} MB kept"
        told = f"{cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.peak:.0f} MiB{kept}"
        print(f"{self.number + 1}: {step}: {tool}: {told}", file=sys.stderr, flush=True)

    def restore(self, step: str, tools: list[Tool], wanted: Path) -> None:
        """Measure a restore of everything; in the first round, look whether it is what was stored."""
        amount = size(wanted)
        for tool in tools:
            warm(tool.repository)
            into = self.folder / "restored"
            into.mkdir()
            make_room(self.folder, amount)
            cost = measure(tool.restore(into), tool.environment)
            self.note(step, tool.name, amount, cost)
            if self.number == 0 and digests(wanted) != digests(into):
                sys.exit(f"{tool.name} did not restore what it stored ({step})")
            shutil.rmtree(into)
