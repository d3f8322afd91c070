"""Transcripts as text: parsed, compared with what a program printed, and written with other output.

Invariant: a script that is written back differs from what was read in the output that did not match, nowhere else.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

LAPTOP = "alice@laptop"
_PROMPT = re.compile(r"(?:([a-z]+@[a-z0-9]+)([$#])|\$) (.*)")
_STATUS = re.compile(r"\[exit (\d+)\]")
_ANSWER = re.compile(r"\[y/N\] (\w+)$", re.MULTILINE)
_SAMPLE = re.compile(
    r"(?P<text>…)|(?P<space> +)|(?P<hex>\b[0-9a-fA-F]{32,}\b)|(?P<size>\b[0-9]+(?:\.[0-9])? (?:[kMGT]?B|bytes?)\b)"
    r"|(?P<seconds>\b[0-9]+(?:\.[0-9])? s\b)|(?P<percent>\b[0-9]+\.[0-9] %)"
    r"|(?P<time>\b[0-9]{4}[.-][0-9]{2}[.-][0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?)"
)
_ANY = {
    "text": ".+",
    "space": " +",
    "hex": "[0-9a-fA-F]{32,}",
    "size": r"[0-9]+(?:\.[0-9])? (?:[kMGT]?B|bytes?)",
    "seconds": r"[0-9]+(?:\.[0-9])? s",
    "percent": r"[0-9]+\.[0-9] %",
}


@dataclass
class Step:
    """One line that is typed on a machine, what is expected then, and where in the file that stands."""

    machine: str
    typed: str
    output: list[str]
    status: int
    first: int  # the lines of output, with that of the status, in the file
    last: int
    compared: bool = True

    @property
    def answer(self) -> str:
        """What is typed when the command asks, if it does."""
        found = _ANSWER.search("\n".join(self.output))
        return found[1] if found else ""

    def matches(self, printed: str, status: int) -> bool:
        """Tell whether a command did what is expected."""
        if not self.compared:
            return status == self.status
        pattern = "".join(_line_pattern(line) for line in self.output)
        return status == self.status and re.fullmatch(pattern, _lines(printed)) is not None


def transcript(text: str) -> list[Step]:
    """Read a file of its own: all of it is one script; `# ` begins a comment."""
    return list(_steps(enumerate(text.splitlines()), comments=True))


def page(text: str) -> list[Step]:
    """Read the blocks of a page that are marked `console`."""
    steps = []
    for _, block in fences(text, "console"):
        part = list(_steps(block, comments=False))
        shown = any(step.output or step.status for step in part)
        for step in part:
            step.compared = shown
        steps += part
    return steps


def fences(text: str, *languages: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yield the fenced blocks of a page: the language, and the numbered lines.  No language stands for all."""
    lines = enumerate(text.splitlines())
    for _, line in lines:
        if line.startswith("```"):
            block = list(takewhile(lambda item: item[1] != "```", lines))
            if not languages or line[3:] in languages:
                yield line[3:], block


def unfenced(text: str) -> list[str]:
    """Return the lines of a page that are in no fenced block."""
    fenced = {number for _, block in fences(text) for number, _ in block}
    return [line for number, line in enumerate(text.splitlines()) if number not in fenced]


def rewritten(text: str, results: Iterable[tuple[Step, str, int]]) -> str:
    """Return the text with what was printed, in the place of the output of steps that do not match."""
    lines = text.splitlines()
    for step, printed, status in sorted(results, key=lambda result: -result[0].first):
        if not step.matches(printed, status):
            new = _renewed(step.output, _lines(printed).splitlines()) if step.compared else []
            lines[step.first : step.last] = new + ([f"[exit {status}]"] if status else [])
    return "\n".join(lines) + "\n"


def _steps(lines: Iterable[tuple[int, str]], *, comments: bool) -> Iterator[Step]:
    step: Step | None = None
    typing = False
    for number, line in lines:
        if prompt := _PROMPT.fullmatch(line):
            if step is not None:
                yield step
            step = Step(prompt[1] or LAPTOP, prompt[3], [], 0, number + 1, number + 1)
            typing = True
        elif step is None or (comments and line.startswith("# ")):
            typing = False
        elif typing and line.startswith("> "):
            step.typed += "\n" + line[2:]
            step.first = step.last = number + 1
        elif line:
            typing = False
            if status := _STATUS.fullmatch(line):
                step.status = int(status[1])
            else:
                step.output += [""] * (number - step.last) + [line]
            step.last = number + 1
    if step is not None:
        yield step


def _renewed(expected: list[str], printed: list[str]) -> list[str]:
    """Return the lines to expect from now on: printed ones, but old ones where they match, and what was left out."""
    gaps = [number for number, line in enumerate(expected) if line.strip() == "…"]
    if not gaps:
        head, middle, tail = len(printed), [], 0
    else:
        head, tail = gaps[0], len(expected) - gaps[-1] - 1
        middle = expected[gaps[0] : gaps[-1] + 1]
    if head + tail > len(printed) or (not gaps and len(expected) != len(printed)):
        return printed
    middle = [old for old in middle if any(_same(old, new) for new in printed)]
    ends = (
        (expected[:head], printed[:head]),
        (expected[len(expected) - tail :], printed[len(printed) - tail :]),
    )
    first, last = ([old if _same(old, new) else new for old, new in zip(*end, strict=True)] for end in ends)
    return [*first, *middle, *last]


def _same(expected: str, printed: str) -> bool:
    """Tell whether a line is as expected; an ellipsis alone matches any line."""
    return re.fullmatch(_line_pattern(expected), f"{printed}\n") is not None


def _lines(printed: str) -> str:
    """Return output without the white space that nobody sees: at the ends of lines, and at its end."""
    return "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())


def _line_pattern(line: str) -> str:
    if line.strip() == "…":
        return "(?:.*\n)*?"
    parts, at = [], 0
    for sample in _SAMPLE.finditer(line):
        parts.append(re.escape(line[at : sample.start()]))
        kind = str(sample.lastgroup)
        parts.append(_ANY.get(kind) or _moment(sample[0]))
        at = sample.end()
    return "".join([*parts, re.escape(line[at:]), "\n"])


def _moment(sample: str) -> str:
    """Return the pattern for a date with or without a time: itself, or one of today (or of a moment ago)."""
    now = datetime.now(UTC)
    days = "|".join(f"{now - timedelta(days=ago):%Y[.-]%m[.-]%d}" for ago in (0, 1))
    return f"(?:{re.escape(sample)}|(?:{days}){re.sub('[0-9]', '[0-9]', sample[10:])})"
