"""Draw docs/images/architecture.svg from architecture.txt beside it: `.venv/bin/python tools/architecture_picture.py`.

Invariant: the same text gives the same picture, which can be read in light and dark.
"""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS = 3
WIDE, HIGH = 290, 46  # a box
ACROSS, DOWN = 34, 22  # between boxes
EDGE, TITLE, APART = 18, 36, 16  # from a band to its boxes; its title; between bands
WIDTH = 2 * APART + 2 * EDGE + COLUMNS * WIDE + (COLUMNS - 1) * ACROSS
LANES = {"in": 0, "out": 2}  # the columns in which ways go through wide boxes

STYLE = """
svg { font: 14px system-ui, sans-serif; --paper: #fff; --ink: #1f2328; --band: #f0f2f5; --box: #fff; --line: #b4bbc3;
      --in: #0b62b8; --out: #b3450a; --who: #57606a; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --ink: #e6edf3; --band: #161b22; --box: #21262d; --line: #484f58;
        --in: #6cb6ff; --out: #f69d50; --who: #9aa4af; }
}
.paper { fill: var(--paper) } .band { fill: var(--band) } .box { fill: var(--box); stroke: var(--line) }
text { fill: var(--ink) } .name { font-weight: 600 } .note { font-size: 12.5px }
path { fill: none; stroke-width: 2; stroke: var(--who) } .ask { stroke-dasharray: 4 4 }
.in { stroke: var(--in) } .out { stroke: var(--out) }
marker .head { stroke: none; fill: var(--who) } marker .in { fill: var(--in) } marker .out { fill: var(--out) }
"""


class Band(NamedTuple):
    """A band: its title, and rows of (name, note) pairs."""

    title: tuple[str, str]
    rows: list[list[tuple[str, str]]]


class Box(NamedTuple):
    """A box with its upper left corner; `column` is None for a wide one."""

    name: str
    note: str
    x: int
    y: int
    column: int | None

    @property
    def width(self) -> int:
        """How wide it is."""
        return WIDE if self.column is not None else COLUMNS * WIDE + (COLUMNS - 1) * ACROSS


def read(text: str) -> tuple[list[Band], list[tuple[str, list[str]]]]:
    """Return the bands of a text, and the ways: what goes there, and past which boxes."""
    bands: list[Band] = []
    ways = []
    for line in filter(None, text.splitlines()):
        if line.startswith("== "):
            bands.append(Band(_pair(line[3:]), []))
        elif line.startswith("-- "):
            what, path = _pair(line[3:])
            ways.append((what, path.split(" > ")))
        elif not line.startswith("# "):
            bands[-1].rows.append([_pair(cell) for cell in line.split("|")])
    return bands, ways


def draw(text: str) -> str:
    """Return the picture of a text, as SVG."""
    bands, ways = read(text)
    boxes: dict[str, Box] = {}
    shapes: list[str] = []
    titles: list[str] = []
    y = APART
    for band in bands:
        top = y
        y += TITLE
        for row in band.rows:
            for number, (name, note) in enumerate(row):
                if name:
                    x = APART + EDGE + number * (WIDE + ACROSS)
                    # what a wide box names first is what ways call it
                    box = Box(name, note, x, y, number if len(row) > 1 else None)
                    boxes[name.split(",")[0].split(" ")[0]] = box
            y += HIGH + DOWN
        y += EDGE - DOWN
        shapes.append(_ground(top, y))
        titles += _title(band, top)
        y += APART
    for what, path in ways:
        shapes += [_arrow(what, boxes[start], boxes[end]) for start, end in pairwise(path)]
    for box in boxes.values():
        shapes += _box(box)
    return "\n".join([*_head(y), *shapes, *titles, "</svg>", ""])


def _pair(text: str) -> tuple[str, str]:
    name, _, note = text.strip().partition(": ")
    return name, note


def _head(height: int) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    yield f"<style>{STYLE}</style>"
    for what in ("in", "out", "who", "ask"):
        yield f'<marker id="{what}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        yield f'<path class="head {what}" d="M0 0L8 4L0 8z"/></marker>'
    yield f'<rect class="paper" width="{WIDTH}" height="{height}"/>'


def _ground(top: int, bottom: int) -> str:
    width = WIDTH - 2 * APART
    return f'<rect class="band" x="{APART}" y="{top}" width="{width}" height="{bottom - top}" rx="8"/>'


def _title(band: Band, top: int) -> Iterator[str]:
    """Yield a band's title, and a ground for it: ways go behind it."""
    name, note = band.title
    width = 8 * len(name) + 7 * len(note)
    yield f'<rect class="band" x="{APART + EDGE}" y="{top + 8}" width="{width}" height="20"/>'
    yield (
        f'<text x="{APART + EDGE}" y="{top + 23}"><tspan class="name">{escape(name)}</tspan>'
        f'<tspan class="note" dx="10">{escape(note)}</tspan></text>'
    )


def _box(box: Box) -> Iterator[str]:
    middle = box.x + box.width // 2
    yield f'<rect class="box" x="{box.x}" y="{box.y}" width="{box.width}" height="{HIGH}" rx="5"/>'
    yield f'<text class="name" x="{middle}" y="{box.y + 20}" text-anchor="middle">{escape(box.name)}</text>'
    yield f'<text class="note" x="{middle}" y="{box.y + 37}" text-anchor="middle">{escape(box.note)}</text>'


def _arrow(what: str, start: Box, end: Box) -> str:
    if start.y == end.y:  # from side to side
        right = start.x < end.x
        x1, x2 = (start.x + start.width, end.x) if right else (start.x, end.x + end.width)
        return f'<path class="{what}" d="M{x1} {start.y + HIGH // 2}H{x2}" marker-end="url(#{what})"/>'
    column = next((box.column for box in (start, end) if box.column is not None), LANES.get(what, 1))
    x = APART + EDGE + column * (WIDE + ACROSS) + WIDE // 2
    y1, y2 = (start.y + HIGH, end.y) if start.y < end.y else (start.y, end.y + HIGH)
    return f'<path class="{what}" d="M{x} {y1}V{y2}" marker-end="url(#{what})"/>'


if __name__ == "__main__":
    (IMAGES / "architecture.svg").write_text(draw((IMAGES / "architecture.txt").read_text()))
