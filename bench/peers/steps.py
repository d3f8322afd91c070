"""The steps of the comparison in words, what is expected of each, and how figures become a verdict.

A peer is a tool that encrypts and deduplicates, as this project does; the others are shown beside them.
"""

from typing import NamedTuple

from bench.peers.results import Measured, Results, Spread

TITLES = {
    "dedup": "dedup",
    "borg": "borg",
    "borg2": "borg 2",
    "borg2-ssh": "borg 2, a borg on the server",
    "restic": "restic",
    "borg-64k": "borg, chunks of 64 KiB",
    "borg2-64k": "borg 2, chunks of 64 KiB",
    "bup": "bup",
    "zstd": "zstd -3 -T2",
}
OTHERS = {"bup": "does not encrypt", "zstd": "neither encrypts nor deduplicates"}
SFTP = "OpenSSH sftp"


class Limit(NamedTuple):
    """A figure of the machine: its step, its name there, and the share of it that is expected."""

    step: str
    name: str
    share: float


class Step(NamedTuple):
    """A step: its name in the results, its title, how many times the best peer's speed is expected, and limits."""

    name: str
    title: str
    times: float | None = None
    limits: tuple[Limit, ...] = ()


STEPS = (
    Step("full", "initial full", 2, (Limit("limits", "zstd -3 -T2", 0.85),)),
    Step("next", "next week's full", 3.5),
    Step("again", "the same data again", 2, (Limit("limits", "BLAKE3", 0.5),)),
    Step("restore", "restore of everything into a folder", 2, (Limit("limits", "zstd -d", 0.6),)),
    Step("verify", "verify (MB of all three backups)", 2),
    Step("put", "one stream from standard input", None, (Limit("limits", "zstd -3 -T2", 0.85),)),
    Step("get", "restore of that stream into a pipe", 2, (Limit("limits", "zstd -d", 0.6),)),
    Step("streams", "a stream for each volume, full", 10),
    Step("streams next", "a stream for each volume, next week's full", 10),
    Step("small", "small files of 4 KiB as one tar", 3),
    Step("sftp full", "SFTP: initial full", 1.5, (Limit("sftp full", SFTP, 0.9),)),
    Step("sftp next", "SFTP: next week's full", 4, (Limit("sftp next", SFTP, 0.9),)),
    Step("sftp restore", "SFTP: restore of everything", 1.5, (Limit("sftp restore", SFTP, 0.9),)),
    Step("far full", "SFTP, 20 ms away: initial full", None, (Limit("far full", SFTP, 0.9),)),
    Step("far next", "SFTP, 20 ms away: next week's full", None, (Limit("far next", SFTP, 0.9),)),
    Step("far restore", "SFTP, 20 ms away: restore of everything", None, (Limit("far restore", SFTP, 0.9),)),
)
STARTS = {"version": "`--version`", "list": "list of 3 snapshots", "list of many": "list of many snapshots"}
MOST = {"version": 80, "list of many": 200}  # milliseconds of dedup
PEAK = 150  # MiB of dedup
WEEKS = {
    "week full": "first full",
    "week incrementals": "and the incrementals",
    "week next": "and the next full",
}
SIZES = {("restic",): 0.65, ("borg-64k", "borg2-64k"): 0.92}  # most that dedup may keep, of what these keep


def peers(measured: Measured) -> list[str]:
    """Return the peers of dedup among the tools of a step."""
    return [tool for tool in measured.costs if tool in TITLES and tool not in OTHERS and tool != "dedup"]


def best(measured: Measured) -> str | None:
    """Return the fastest peer of a step; None if there is none."""
    return max(peers(measured), key=lambda tool: measured.speed(tool).median, default=None)


def verdict(ratio: float, least: float) -> str:
    """Say whether a ratio is what is expected."""
    return f"{least:g}: {'reached' if ratio >= least else '**not reached**'}"


def number(value: float) -> str:
    """Return three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def shown(figure: Spread) -> str:
    """Return a median with its spread."""
    if figure.least == figure.most:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.least)}-{number(figure.most)})"


def named(tool: str, results: Results) -> str:
    """Return a tool's title, with its version."""
    title, version = TITLES.get(tool, tool), results.versions.get(tool)
    if not version:
        return title
    program, comma, rest = title.partition(",")
    first, _, options = program.partition(" ")
    options = "" if first == "borg" else f" {options}" if options else ""
    return f"{first} {version}{options}{comma}{rest}"
