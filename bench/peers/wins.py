"""In which lines another tool is better than dedup, in words: nobody should have to search a table for it."""

from collections.abc import Callable, Iterator

from bench.peers.results import Measured, Results
from bench.peers.steps import STARTS, STEPS, WEEKS, named, number

STEP_FIGURES: dict[str, Callable[[Measured, str], float]] = {
    "faster, seconds": lambda measured, tool: measured.wall(tool).median,
    "less CPU, seconds": lambda measured, tool: measured.cpu(tool).median,
    "less memory, MiB": lambda measured, tool: measured.peak(tool).median,
}
KEPT = {"small": "small files of 4 KiB as one tar"} | {
    name: f"all days: {title}" for name, title in WEEKS.items()
}


def wins(results: Results) -> list[list[str]]:
    """Return rows: what is measured, in what others are better, dedup's figure, who is better and with which."""
    return list(_wins(results))


def _wins(results: Results) -> Iterator[list[str]]:
    for step in STEPS:
        for what, figure in STEP_FIGURES.items():
            yield from _row(results, step.name, step.title, what, figure)
    for name, title in STARTS.items():
        yield from _row(
            results, name, title, "faster, ms", lambda measured, tool: 1000 * measured.wall(tool).median
        )
    for name, title in KEPT.items():
        yield from _row(
            results, name, title, "keeps less, MB", lambda measured, tool: measured.size(tool) or 0.0
        )


def _row(
    results: Results, name: str, title: str, what: str, figure: Callable[[Measured, str], float]
) -> Iterator[list[str]]:
    measured = results.steps.get(name, Measured())
    if "dedup" not in measured.costs:
        return
    mine = figure(measured, "dedup")
    others = sorted((figure(measured, tool), tool) for tool in measured.costs if tool in results.versions)
    better = [each for each in others if each[0] < mine and number(each[0]) != number(mine)]
    if better:
        who = ", ".join(f"{named(tool, results)} {number(other)}" for other, tool in better)
        yield [title, what, number(mine), who]
