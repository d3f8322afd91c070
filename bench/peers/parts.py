"""The parts of the comparison: each measures all tools in one round."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench.peers.bench import Bench
from bench.peers.copy import Copy
from bench.peers.measure import Call, Cost, digest, digests, measure, output, size, warm
from bench.peers.ssh import Server
from bench.peers.tool import Tool
from bench.peers.work import limits

USUAL = ("dedup", "borg", "borg2", "restic", "bup", "zstd")
REMOTE = ("dedup", "borg", "borg2", "borg2-ssh", "restic")
FAR = 20  # milliseconds of a round trip, as to another country
TRIES = 7  # of what takes a fraction of a second


def local(bench: Bench) -> None:
    """Full, next full, the same again, restore, verify, in a folder."""
    work, tools = bench.work, bench.begin(USUAL)
    bench.store("full", tools, work.first, lambda tool: tool.store(work.first))
    bench.store("next", tools, work.next, lambda tool: tool.store(work.next))
    bench.store("again", tools, work.again, lambda tool: tool.store(work.again))
    bench.restore("restore", tools, work.again)
    bench.read("verify", tools, size(work.first, work.next, work.again), lambda tool: tool.verify())
    bench.end(tools)


def stream(bench: Bench) -> None:
    """One large stream in, and out into a pipe; and the limits, on the same bytes."""
    whole, packed = bench.work.whole, bench.folder / "packed"
    amount = size(whole)
    for name, calls in limits(whole, packed, bench.environment).items():
        warm(whole)
        bench.note("limits", name, amount, measure(calls, bench.environment))
    packed.unlink()
    tools = bench.begin(USUAL)
    bench.store("put", tools, whole, lambda tool: tool.put("whole", whole))
    bench.read("get", tools, amount, lambda tool: [tool.get("whole")])
    if bench.number == 0:
        wanted = digests(whole)
        for tool in tools:
            if wanted != [digest(tool.get("whole"), tool.environment)]:
                sys.exit(f"{tool.name} did not give back the stream that it stored")
    bench.end(tools)


def streams(bench: Bench) -> None:
    """Two fulls as `vos dump` gives them: a stream for each volume."""
    work, tools = bench.work, bench.begin(USUAL)
    bench.store("streams", tools, work.first, lambda tool: tool.streams(work.first))
    bench.store("streams next", tools, work.next, lambda tool: tool.streams(work.next))
    bench.end(tools)


def small(bench: Bench) -> None:
    """Many small files as one tar, by standard input."""
    tar, tools = bench.work.small, bench.begin(USUAL)
    bench.store("small", tools, tar, lambda tool: tool.put("small", tar))
    bench.end(tools)


def weeks(bench: Bench) -> None:
    """All days: what is kept after the first full, after the incrementals, after the next full."""
    days, tools = bench.work.days, bench.begin((*USUAL, "borg-64k", "borg2-64k"))
    bench.store("week full", tools, days[0], lambda tool: tool.store(days[0]))
    amount, costs = 0, {tool.name: Cost() for tool in tools}
    for day in days[1:-1]:
        amount += size(day)
        for tool in tools:
            warm(day)
            costs[tool.name] = costs[tool.name].plus(measure(tool.store(day), tool.environment))
    for tool in tools:
        bench.note("week incrementals", tool.name, amount, costs[tool.name], tool.size())
    bench.store("week next", tools, days[-1], lambda tool: tool.store(days[-1]))
    bench.end(tools)


def sftp(bench: Bench) -> None:
    """Full, next full and restore over SSH to this machine."""
    _remote(bench, "sftp", 0)


def far(bench: Bench) -> None:
    """The same, to a server that is so far away."""
    _remote(bench, "far", FAR)


def _remote(bench: Bench, name: str, delay: float) -> None:
    """Full, next full, restore; after each, OpenSSH's sftp moves the files that dedup moved."""
    work, home = bench.work, bench.folder / "home"
    with Server(home, delay) as server:
        tools = bench.begin(REMOTE, server)
        dedup = [tool for tool in tools if tool.name == "dedup"]
        copies = [Copy(bench, server, tool) for tool in dedup]
        bench.store(f"{name} full", tools, work.first, lambda tool: tool.store(work.first))
        for copy in copies:
            copy.put(f"{name} full", size(work.first))
        bench.store(f"{name} next", tools, work.next, lambda tool: tool.store(work.next))
        for copy in copies:
            copy.put(f"{name} next", size(work.next))
        bench.restore(f"{name} restore", tools, work.next)
        for copy in copies:
            copy.get(f"{name} restore", size(work.next))
            copy.end()
        bench.end(tools)
    shutil.rmtree(home)


def startup(bench: Bench) -> None:
    """`--version`, and the list of three snapshots; dedup's of many, too."""
    tools = bench.begin(USUAL)
    for number in range(3):
        tiny = bench.folder / f"tiny-{number}"
        tiny.mkdir()
        (tiny / "file").write_bytes(b"%d" % number * 100)
        for tool in tools:
            measure(tool.store(tiny), tool.environment)
        shutil.rmtree(tiny)
    for _ in range(TRIES):
        bench.read("version", tools, 0, lambda tool: [Call(tool.version())])
        bench.read("list", tools, 0, lambda tool: [tool.list()])
    for tool in tools:
        if tool.name == "dedup":
            _many(bench, tool)
    bench.end(tools)


def _many(bench: Bench, tool: Tool) -> None:
    place, state, home = (bench.folder / name for name in ("many", "many-state", "many-gpg"))
    home.mkdir(mode=0o700)
    modules = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = tool.environment | {"GNUPGHOME": str(home), "PYTHONPATH": modules}
    lines = (
        "import sys, pathlib, bench.startup as s; s.make(*map(pathlib.Path, sys.argv[2:]), int(sys.argv[1]))"
    )
    output([sys.executable, "-c", lines, str(bench.snapshots), *map(str, (place, state, home))], environment)
    environment |= {"DEDUP_REPOSITORY": str(place), "DEDUP_STATE_DIR": str(state)}
    for _ in range(TRIES):
        bench.note("list of many", tool.name, bench.snapshots, measure([tool.list()], environment))
    output(["gpgconf", "--homedir", str(home), "--kill", "all"], environment)
    for each in (place, state, home):
        shutil.rmtree(each)


PARTS: dict[str, Callable[[Bench], None]] = {
    "local": local,
    "stream": stream,
    "streams": streams,
    "small": small,
    "sftp": sftp,
    "far": far,
    "startup": startup,
    "weeks": weeks,
}
ONCE = ("weeks",)  # sizes hardly differ from round to round
