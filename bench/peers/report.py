"""The report of the comparison, in Markdown: verdicts first, then every figure."""

import sys
from collections.abc import Callable, Iterable
from os.path import relpath
from pathlib import Path

from bench.peers.results import Measured, Results, Spread
from bench.peers.steps import (
    MOST,
    OTHERS,
    PEAK,
    SIZES,
    STARTS,
    STEPS,
    TITLES,
    WEEKS,
    best,
    named,
    number,
    shown,
    verdict,
)
from bench.peers.tools import KINDS
from bench.peers.wins import wins

BEGIN = "<!-- figures: begin (bench/peers writes what is between these two lines) -->"
END = "<!-- figures: end -->"
BARE = "# This project beside its peers\n\n"


def write(results: Results, path: Path | None, plot: Path | None) -> None:
    """Write the report to a page, between the marks if it has them; without a path to standard output."""
    text = report(results, relpath(plot, path.parent) if plot and path else None)
    if path is None:
        sys.stdout.write(text)
        return
    page = path.read_text() if path.exists() else f"{BARE}{BEGIN}\n{END}\n"
    path.write_text(between(page, text))


def between(page: str, text: str) -> str:
    """Put a text between the marks of a page."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"the page has no lines\n{BEGIN}\n{END}\nbetween which the figures go")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def report(results: Results, plot: str | None = None) -> str:
    """Return the figures as Markdown; `plot`: where the picture is, without its suffix."""
    parts = [f"![Speed and size]({plot}.svg)\n"] if plot else []
    parts += [_targets(results), _wins(results)]
    speeds = [step for step in STEPS if step.name in results.steps]
    titles = {step.name: step.title for step in speeds}
    for what, figure in (
        ("MB/s of source data", Measured.speed),
        ("Seconds of CPU time", Measured.cpu),
        ("Peak memory of the largest process, MiB", Measured.peak),
    ):
        parts.append(_figures(results, what, titles, figure))
    weeks = {name: title for name, title in WEEKS.items() if name in results.steps}
    parts.append(_figures(results, "Seconds of wall time, all days", weeks, Measured.wall))
    parts += [_kept(results), _starts(results), _limits(results), _about(results)]
    return "\n".join(part for part in parts if part)


def _table(head: list[str], rows: Iterable[list[str]], align: str = "--:") -> str:
    lines = [head, ["---", *[align] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _targets(results: Results) -> str:
    rows = []
    for step in STEPS:
        measured = results.steps.get(step.name)
        if measured is None or "dedup" not in measured.costs:
            continue
        rows.append([step.title, shown(measured.speed("dedup")), *_beside(results, measured, step.times)])
        for limit in step.limits:
            there = results.steps.get(limit.step, Measured())
            if limit.name in there.costs:
                ratio = measured.speed("dedup").median / there.speed(limit.name).median
                speed = shown(there.speed(limit.name))
                rows.append(["", "", f"{limit.name}: {speed}", number(ratio), verdict(ratio, limit.share)])
    text = "### Against the targets\n\nMB/s of source data: the median of all rounds (least-most).\n\n"
    return (
        text
        + _table(["", "dedup", "best peer, or limit", "ratio", "target"], rows, "---")
        + _other_targets(results)
    )


def _beside(results: Results, measured: Measured, times: float | None) -> list[str]:
    """Return the best peer, the ratio to it and what is expected of that."""
    peer = best(measured)
    if peer is None:
        return ["no peer", "", ""]
    ratio = measured.speed("dedup").median / measured.speed(peer).median
    target = verdict(ratio, times) if times else ""
    won = " **and wins**" if ratio < 1 else ""
    return [f"{named(peer, results)}: {shown(measured.speed(peer))}{won}", number(ratio), target]


def _other_targets(results: Results) -> str:
    lines = []
    last = results.steps.get("week next", Measured())
    mine = last.size("dedup")
    for tools, most in SIZES.items():
        sizes = {tool: last.size(tool) for tool in tools}
        known = {tool: size for tool, size in sizes.items() if size}
        if mine and known:
            least = min(known, key=lambda tool: known[tool])
            ratio = mine / known[least]
            share = f"{number(ratio)} of what {named(least, results)} keeps"
            lines.append(f"size after all days: {share}; at most {most}: {_met(ratio <= most)}")
    peaks = [
        measured.peak("dedup").most
        for name, measured in results.steps.items()
        if "dedup" in measured.costs and name != "limits"
    ]
    if peaks:
        lines.append(f"peak memory: {max(peaks):.0f} MiB; under {PEAK}: {_met(max(peaks) < PEAK)}")
    for name, most in MOST.items():
        if name in results.steps and "dedup" in results.steps[name].costs:
            taken = 1000 * results.steps[name].wall("dedup").median
            lines.append(f"{STARTS[name]}: {taken:.0f} ms; under {most}: {_met(taken < most)}")
    return "".join(f"\n- {line}" for line in lines) + ("\n" if lines else "")


def _met(good: bool) -> str:
    return "reached" if good else "**not reached**"


def _wins(results: Results) -> str:
    rows = wins(results)
    said = (
        _table(["", "better in", "dedup", "who is better"], rows, "---")
        if rows
        else "Nowhere in what was measured.\n"
    )
    return f"### Where another tool is better\n\n{said}"


def _columns(results: Results, names: Iterable[str]) -> list[str]:
    there = {tool for name in names for tool in results.steps[name].costs}
    return [tool for tool in TITLES if tool in there]


def _figures(
    results: Results, what: str, titles: dict[str, str], figure: Callable[[Measured, str], Spread]
) -> str:
    tools = _columns(results, titles)
    rows = []
    for name, title in titles.items():
        measured = results.steps[name]
        rows.append(
            [title, *(shown(figure(measured, tool)) if tool in measured.costs else "-" for tool in tools)]
        )
    if not rows:
        return ""
    return f"### {what}\n\n" + _table(["", *(named(tool, results) for tool in tools)], rows)


def _kept(results: Results) -> str:
    names = [name for name in (*WEEKS, "small") if name in results.steps]
    if not names:
        return ""
    tools = _columns(results, names)
    titles = WEEKS | {"small": "small files"}
    head = ["", *(titles[name] for name in names)]
    rows = []
    for tool in tools:
        sizes = [results.steps[name].size(tool) for name in names]
        rows.append([named(tool, results), *("-" if size is None else f"{size:.1f}" for size in sizes)])
    return "### MB in the repository\n\n" + _table(head, rows)


def _starts(results: Results) -> str:
    names = [name for name in STARTS if name in results.steps]
    if not names:
        return ""
    rows = []
    for tool in _columns(results, names):
        found = [results.steps[name] for name in names]
        times = [
            shown(Spread(*(1000 * each for each in one.wall(tool)))) if tool in one.costs else "-"
            for one in found
        ]
        rows.append([named(tool, results), *times])
    many = f" Many are {results.steps['list of many'].amount:,}." if "list of many" in names else ""
    text = f"### Milliseconds to start\n\nWall time of small repositories in a folder.{many}\n\n"
    return text + _table(["", *(STARTS[name] for name in names)], rows)


def _limits(results: Results) -> str:
    measured = results.steps.get("limits")
    if measured is None:
        return ""
    rows = [[name, shown(measured.speed(name)), shown(measured.cpu(name))] for name in measured.costs]
    text = "With the first full as one tar; BLAKE3 is a plain read and hash on one core.\n\n"
    return f"### What the machine can do\n\n{text}" + _table(["", "MB/s", "CPU seconds"], rows)


def _about(results: Results) -> str:
    versions = [tool for tool in TITLES if tool in results.versions]
    lines = [
        named(tool, results) + (f", which {OTHERS[tool]}" if tool in OTHERS else "") for tool in versions
    ]
    lines += [f"not measured: {TITLES[tool]}: {why}" for tool, why in results.missing.items()]
    checks = {tool: vars(KINDS[tool]).get("checks") for tool in versions}
    lines += [f"verify of {TITLES[tool]}: {what}" for tool, what in checks.items() if what]
    amounts = [(step.title, results.steps[step.name].amount) for step in STEPS if step.name in results.steps]
    data = ", ".join(f"{title} {amount / 1e6:.0f}" for title, amount in amounts)
    lines.append(f"MB of source data: {data}")
    machines = dict.fromkeys(facts["machine"] for facts in results.parts.values())
    lines += list(machines)
    rows = [
        [part, *(facts[name] for name in ("date", "rounds", "load"))] for part, facts in results.parts.items()
    ]
    text = "### What was measured, and where\n\n" + "".join(f"- {line}\n" for line in lines)
    return f"{text}\n" + _table(["part", "date", "rounds", "load, at begin and end"], rows, "---")
