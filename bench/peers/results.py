"""What was measured, and a file of it: parts that are measured another day join those of before.

A step has the bytes of source data that it is about, and for each tool a cost a round; and, where a tool stores
something, the bytes of its repository after it.
"""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers.measure import Cost


class Spread(NamedTuple):
    """Median, least and most."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread:
    """Return the median, the least and the most of some values."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass
class Measured:
    """One step: `amount` bytes of source data, costs by tool, and bytes of the repository by tool."""

    amount: int = 0
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    stored: dict[str, list[int]] = field(default_factory=dict)

    def speed(self, tool: str) -> Spread:
        """Return MB/s: 10^6 bytes of source data a second of wall time."""
        return spread([self.amount / 1e6 / cost.wall for cost in self.costs[tool]])

    def wall(self, tool: str) -> Spread:
        """Return seconds of wall time."""
        return spread([cost.wall for cost in self.costs[tool]])

    def cpu(self, tool: str) -> Spread:
        """Return seconds of CPU time."""
        return spread([cost.cpu for cost in self.costs[tool]])

    def peak(self, tool: str) -> Spread:
        """Return MiB of the largest process."""
        return spread([cost.peak for cost in self.costs[tool]])

    def size(self, tool: str) -> float | None:
        """Return MB of the repository after the step, the median; None if it stores nothing."""
        return statistics.median(self.stored[tool]) / 1e6 if tool in self.stored else None


@dataclass
class Results:
    """All steps by name; versions by tool; why tools are missing; the machine's state, by part."""

    steps: dict[str, Measured] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, step: str, tool: str, amount: int, cost: Cost, stored: int | None = None) -> None:
        """Add what one round of a step cost a tool, and the bytes that its repository has then."""
        measured = self.steps.setdefault(step, Measured())
        measured.amount = amount
        measured.costs.setdefault(tool, []).append(cost)
        if stored is not None:
            measured.stored.setdefault(tool, []).append(stored)

    def join(self, newer: "Results") -> None:
        """Take over steps and parts that were measured later, in place of the same tool's of before.

        Lists are shared with `newer`, not copied: to join it again, when it has grown, does no harm.
        """
        for step, measured in newer.steps.items():
            mine = self.steps.setdefault(step, measured)
            if mine.amount != measured.amount:  # other work: the figures of before say nothing beside these
                mine = self.steps[step] = measured
            mine.costs |= measured.costs
            mine.stored |= measured.stored
        self.parts |= newer.parts

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(path: Path) -> Results:
    """Read a file that `save` wrote; empty results if there is none."""
    if not path.exists():
        return Results()
    read: dict[str, Any] = json.loads(path.read_text())
    steps = {
        name: Measured(
            step["amount"],
            {tool: [Cost(*cost) for cost in costs] for tool, costs in step["costs"].items()},
            step["stored"],
        )
        for name, step in read["steps"].items()
    }
    return Results(steps, read["versions"], read["missing"], read["parts"])
