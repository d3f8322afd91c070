"""A volume of a real cell that changes from day to day, dumped into a repository as `dedup run` does it."""

import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dedupstore.writing.session import RunDetails
from pipelines.cli.console import Console
from pipelines.cli.workspace import Workspace
from pipelines.config import config_file
from pipelines.sources.put import store
from tests.e2e.conftest import Shell
from tests.pipelines.formats.afs.model import SYMLINK, Volume
from tests.pipelines.volumes import DAY, FIRST_DAY, facts_of, store_with
from tests.servers.afs_cell import AfsCell

DATES = ("2023.11.14", "2023.11.15", "2023.11.16")


class HasEnviron(Protocol):
    """A machine, by the environment in which `dedup` runs there."""

    environ: dict[str, str]


class _Quiet(Console):
    def __init__(self) -> None:
        self.quiet, self.verbose = True, False


def put(shell: HasEnviron, name: str, dump: bytes, *, day: int, facts: dict[str, Any] | None = None) -> bytes:
    """Store a stream of that many days after the first; return the snapshot's name."""
    environ = shell.environ
    settings = replace(config_file.load(None, None, environ, root=False), gpg_home=Path(environ["GNUPGHOME"]))
    with Workspace(settings, _Quiet()) as workspace, workspace.repository(reading=False) as repository:
        details = RunDetails("host", "test", FIRST_DAY + day * DAY, 0)
        with repository.session(details) as session:
            if facts is None:
                store(session, name, io.BytesIO(dump), warn=print)
            else:
                store_with(session, name, dump, facts)
            return session.finish().name


class Day(NamedTuple):
    """What was dumped of a volume on a day, and what a full dump would have been."""

    dump: bytes
    full: bytes


def make_days(cell: AfsCell, name: str, edits: list[Callable[[Volume], None]]) -> list[Day]:
    """Make a volume in the cell; dump it in full after the first edit, incrementally after each other one."""
    model = Volume(now=int(time.time()) - 100_000)
    place = (cell.server, cell.partition, name)
    since = 0
    days = []
    for edit in edits:
        edit(model)
        how = ("-overwrite", "incremental") if since else ()
        cell.vos("restore", *place, *how, stdin=model.dump(since))
        cell.vos("backup", name)
        dumps = (cell.vos("dump", "-id", f"{name}.backup", "-time", str(begin)) for begin in (since, 0))
        days.append(Day(*(dump.stdout for dump in dumps)))
        model.now += 1000
        since = model.now - 500
    return days


def put_days(shell: Shell, name: str, days: list[Day]) -> None:
    """Store the dumps with the facts of a chain."""
    parent = b""
    for number, day in enumerate(days):
        parent = put(shell, name, day.dump, day=number, facts=facts_of(day.dump, parent))


def first_day(volume: Volume) -> None:
    """Make some of everything."""
    docs = volume.mkdir(1, b"docs")
    volume.write(docs, b"thesis.tex", b"first draft\n" * 1000)
    notes = volume.write(docs, b"notes \xff\x1b[31m", b"odd")
    volume.link(docs, b"second name", notes)
    volume.make(docs, b"link", SYMLINK, b"thesis.tex", mode=0o755)
    volume.make(1, b"mount", SYMLINK, b"#root.cell.", mode=0o644)
    volume.write(1, b"big", bytes(range(256)) * 20_000)
    volume.write(1, b"empty", b"")


def second_day(volume: Volume) -> None:
    """Change one file, add one."""
    docs = volume.nodes[1].names[b"docs"]
    volume.write(docs, b"thesis.tex", b"second draft\n" * 1100)
    volume.write(docs, b"new", b"new")


def third_day(volume: Volume) -> None:
    """Move one file, remove one."""
    docs = volume.nodes[1].names[b"docs"]
    volume.rename(docs, b"new", 1, b"moved")
    volume.remove(1, b"empty")
    volume.chmod(volume.nodes[1].names[b"big"], 0o600, 77, 0)
