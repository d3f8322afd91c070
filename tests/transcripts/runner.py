"""Which transcripts there are, the world that each begins in, and how one is run.

Invariant: a world is made once, and each transcript plays in a copy of it.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.transcripts.script import Step, page, transcript
from tests.transcripts.world import ROOT, Keys, World

HERE = Path(__file__).parent
PAGES = {  # and the worlds in which they play, each from a heading on
    "README.md": {"": "filled"},
    "docs/guide-admin.md": {"": "two-machines", "## 7. Look": "colleagues"},
    "docs/guide-restore.md": {"": "filled"},
    "docs/guide-storage.md": {"": "filled"},
}
FILES = [*sorted(HERE.glob("*.txt")), *(ROOT / name for name in PAGES)]


class Result(NamedTuple):
    """What a step did."""

    step: Step
    printed: str
    status: int


def steps(path: Path) -> list[Step]:
    """Return what is typed in a transcript or a page."""
    return (transcript if path.suffix == ".txt" else page)(path.read_text())


class Runner:
    """Makes keys and worlds, and runs transcripts in them; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dedup-keys-")
        self._keys = Keys(Path(self._folder.name))
        self._worlds: dict[str, World] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for world in self._worlds.values():
            world.close()
        self._folder.cleanup()

    def run(self, path: Path) -> list[Result]:
        """Type all lines of a transcript or a page."""
        return [result for world, part in _parts(path) for result in self._play(world, part)]

    def _play(self, name: str, part: list[Step]) -> list[Result]:
        with self._world(name).copy() if name else World(self._keys) as world:
            return [Result(step, *world.run(step)) for step in part]

    def _world(self, name: str) -> World:
        if name not in self._worlds:
            path = HERE / "worlds" / f"{name}.txt"
            before = _world(path)
            world = self._worlds[name] = self._world(before).copy() if before else World(self._keys)
            for step in steps(path):
                printed, status = world.run(step)
                if status != step.status:
                    raise AssertionError(f"{path.name}: {step.typed}\n{printed}[exit {status}]")
        return self._worlds[name]


def _parts(path: Path) -> Iterator[tuple[str, list[Step]]]:
    """Yield the parts of a transcript or a page, each with the name of the world in which it plays."""
    worlds = PAGES.get(str(path.relative_to(ROOT)))
    if worlds is None:
        yield _world(path), steps(path)
        return
    lines = ["", *path.read_text().splitlines()]
    starts = [*(lines.index(heading) for heading in worlds), len(lines)]
    for name, start, end in zip(worlds.values(), starts, starts[1:], strict=False):
        yield name, [step for step in steps(path) if start <= step.first < end]


def _world(path: Path) -> str:
    """Return the name of the world that a transcript begins in."""
    first = path.read_text().split("\n", 1)[0]
    return first.removeprefix("world: ") if first.startswith("world: ") else ""
