"""The picture of the comparison: speed by step, and size by day.  Needs matplotlib."""

from pathlib import Path

import matplotlib

from bench.peers.results import Results
from bench.peers.steps import STEPS, TITLES, WEEKS, best, named, number

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "peers"  # the same figures give the same file
from matplotlib import pyplot  # noqa: E402 - after the choice of a back end
from matplotlib.axes import Axes  # noqa: E402

# Okabe and Ito's colours, which colour-blind people can tell apart; hatches tell them apart in print.
LOOKS = {
    "dedup": ("#D55E00", ""),
    "borg": ("#0072B2", ""),
    "borg2": ("#56B4E9", ""),
    "borg2-ssh": ("#56B4E9", "//"),
    "restic": ("#009E73", ""),
    "borg-64k": ("#0072B2", ".."),
    "borg2-64k": ("#56B4E9", ".."),
    "bup": ("#F0E442", ""),
    "zstd": ("#999999", ""),
}
SHORT = {
    "full": "initial\nfull",
    "next": "next\nfull",
    "again": "the same\nagain",
    "restore": "restore\nall",
    "verify": "verify",
    "put": "one stream\nin",
    "get": "one stream\nout",
    "streams": "a stream\na volume",
    "streams next": "... next\nfull",
    "small": "small files\nin a tar",
    "sftp full": "SFTP\nfull",
    "sftp next": "SFTP\nnext full",
    "sftp restore": "SFTP\nrestore",
    "far full": "20 ms\nfull",
    "far next": "20 ms\nnext full",
    "far restore": "20 ms\nrestore",
}


def plot(results: Results, path: Path) -> None:
    """Write path.svg and path.png."""
    steps = [step.name for step in STEPS if step.name in results.steps]
    weeks = [name for name in WEEKS if name in results.steps]
    wide = max(6.0, 0.95 * len(steps))
    figure, panels = pyplot.subplots(
        1,
        2 if weeks else 1,
        figsize=(wide + (4.6 if weeks else 1), 5.6),
        width_ratios=(wide, 3.8) if weeks else None,
        layout="constrained",
        squeeze=False,
    )
    _speeds(panels[0][0], results, steps)
    figure.legend(loc="outside lower left", ncols=7, fontsize=8, frameon=False)
    if weeks:
        _sizes(panels[0][1], results, weeks)
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("svg", "png"):
        about = {"Date": None} if suffix == "svg" else None
        figure.savefig(path.with_name(f"{path.name}.{suffix}"), dpi=110, metadata=about)
    pyplot.close(figure)


def _speeds(axes: Axes, results: Results, steps: list[str]) -> None:
    """Draw a group of bars a step, on a logarithmic scale; above dedup's bar, its ratio to the best peer."""
    tools = [tool for tool in TITLES if any(tool in results.steps[step].costs for step in steps)]
    labelled: set[str] = set()
    for at, step in enumerate(steps):
        measured = results.steps[step]
        there = [tool for tool in tools if tool in measured.costs]
        width = 0.84 / max(1, len(there))
        for place, tool in enumerate(there):
            speed, (colour, hatch) = measured.speed(tool), LOOKS[tool]
            x = at + (place - (len(there) - 1) / 2) * width
            error = [[speed.median - speed.least], [speed.most - speed.median]]
            label = None if tool in labelled else named(tool, results)
            labelled.add(tool)
            axes.bar(
                x,
                speed.median,
                width,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.5,
                yerr=error,
                error_kw={"elinewidth": 0.7, "ecolor": "#333333"},
                label=label,
            )
            peer = best(measured)
            if tool == "dedup" and peer:
                ratio = speed.median / measured.speed(peer).median
                axes.annotate(
                    f"{number(ratio)}×",  # noqa: RUF001 - the sign for times
                    (x, speed.most),
                    textcoords="offset points",
                    xytext=(0, 3),
                    ha="center",
                    fontsize=8,
                    weight="bold",
                    bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
                )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(range(len(steps)), [SHORT[step] for step in steps], fontsize=9)
    axes.set_ylabel("MB/s of source data (logarithmic)")
    axes.set_title(
        "Speed. Above dedup: ratio to the best peer that encrypts and deduplicates",
        fontsize=11,
        loc="left",
    )
    axes.margins(x=0.01, y=0.08)
    _plain(axes, "y")


def _sizes(axes: Axes, results: Results, weeks: list[str]) -> None:
    """Draw a bar a tool, of what every day added."""
    tools = [tool for tool in TITLES if weeks and all(tool in results.steps[week].stored for week in weeks)]
    shades = {"week full": 1.0, "week incrementals": 0.65, "week next": 0.35}
    for row, tool in enumerate(reversed(tools)):
        before = 0.0
        for week in weeks:
            kept = results.steps[week].size(tool) or 0.0
            axes.barh(
                row,
                kept - before,
                left=before,
                color=LOOKS[tool][0],
                alpha=shades[week],
                edgecolor="white",
                linewidth=0.8,
            )
            before = kept
        axes.annotate(
            f"{before:.0f}", (before, row), textcoords="offset points", xytext=(3, 0), va="center", fontsize=8
        )
    axes.set_yticks(range(len(tools)), [named(tool, results) for tool in reversed(tools)], fontsize=9)
    axes.set_xlabel("MB")
    axes.set_title("Size after full, incrementals, next full", fontsize=11, loc="left")
    axes.margins(x=0.12)
    _plain(axes, "x")


def _plain(axes: Axes, along: str) -> None:
    """Leave out what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y" if along == "y" else "x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
