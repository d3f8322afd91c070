"""The bar that shows how far a stream is.

Invariant: it is drawn on a terminal only, on standard error, and leaves nothing behind.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines import text
from pipelines.cli.console import Console

Update = Callable[[int, int | None], None]  # bytes so far, and how many of them were new

_PERIOD = 0.1  # seconds between two looks at the numbers


@contextmanager
def bar(console: Console, name: str, total: int | None) -> Iterator[Update]:
    """Yield a function that takes note of how far it is; `total` is in bytes, if it is known."""
    if console.quiet or not console.terminal:
        yield lambda done, new: None
        return
    from rich import progress  # a tenth of a second that nothing else needs to pay
    from rich.console import Console as Terminal

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        *(
            (progress.FileSizeColumn(),)
            if total is None
            else (progress.BarColumn(24), progress.DownloadColumn())
        ),
        progress.TransferSpeedColumn(),
        progress.TextColumn("{task.fields[saved]}", markup=False),
    )
    with progress.Progress(*columns, console=Terminal(stderr=True), transient=True) as shown:
        task = shown.add_task(text.safe(name), total=total, saved="")
        last = 0.0

        def update(done: int, new: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < _PERIOD:
                return
            last = now
            saved = "" if new is None else f"{text.size(new)} new, {text.saved(done, new)} deduplicated"
            shown.update(task, completed=done, saved=saved)

        yield update


@contextmanager
def counter(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes what is looked at, how many of them are done, and of how many."""
    if console.quiet or not console.terminal:
        yield lambda what, done, of: None
        return
    from rich import progress
    from rich.console import Console as Terminal

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(24),
        progress.MofNCompleteColumn(),
    )
    with progress.Progress(*columns, console=Terminal(stderr=True), transient=True) as shown:
        task = shown.add_task("")
        yield lambda what, done, of: shown.update(task, description=text.safe(what), completed=done, total=of)
