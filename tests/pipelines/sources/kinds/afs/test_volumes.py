"""AFS volumes in a run, where a cell would have to be too quick or too broken: with a `vos` made of models."""

import os
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dedupstore.repository import Repository
from dedupstore.writing.session import RunDetails
from pipelines.config.run_settings import RunConfig, RunSettings, Schedule
from pipelines.run.engine import Engine, run_day
from pipelines.sources.kind import RunContext
from pipelines.sources.kinds import make_sources
from pipelines.sources.kinds.afs.settings import AfsSettings
from pipelines.sources.protocol import Report
from pipelines.vos import patterns
from pipelines.vos.listing import Volume, VosError
from pipelines.vos.settings import VosSettings
from tests.pipelines.formats.afs.model import Volume as Model
from tests.store import World

DAY = 86400
FIRST = 1_700_006_400  # 2023.11.15, a Wednesday
ID, BACKUP_ID = 536870930, 536870932
CELL = AfsSettings("cell")


def only(*include: str, exclude: tuple[str, ...] = ()) -> AfsSettings:
    return AfsSettings("cell", VosSettings(include=include, exclude=exclude))


class Pipe:
    """A dump."""

    def __init__(self, data: bytes) -> None:
        self._file = os.fdopen(os.memfd_create("dump"), "w+b", buffering=0)
        self._file.write(data)
        self._file.seek(0)

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: memoryview, /) -> int:
        return self._file.readinto(buffer) or 0

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class FakeVos:
    """One server with one volume; `clone` is when it was cloned, `copy` when it was restored."""

    model: Model
    clone: int = 0
    copy: int = 1_000_000_000
    status: str = "OK"
    others: list[Volume] = field(default_factory=list)
    down: bool = False
    empty: bool = False
    asked: list[str] = field(default_factory=list)

    def servers(self) -> list[str]:
        return ["fs1"]

    def backupsys(self, server: str) -> str:
        if self.status == "OK":
            self.clone = int(time.time())
        return ""

    def listing(self, server: str) -> list[Volume]:
        if self.down:
            raise VosError("fs1 does not answer")
        if self.empty:
            return []
        return [self.examine(ID), self.examine(BACKUP_ID), *self.others] if self.clone else [self.examine(ID)]

    def examine(self, volume: int) -> Volume:
        self.asked.append(f"examine {volume}")
        kind, name = ("RW", self.model.name) if volume == ID else ("BK", f"{self.model.name}.backup")
        model = self.model
        return Volume(
            name, volume, ID, kind, "fs1", "a", self.status if kind == "RW" else "OK", 5000,  # type: ignore[arg-type]
            model.created, self.copy, self.clone, model.updated, 0, BACKUP_ID,
        )  # fmt: skip

    def backup(self, volume: int) -> Volume:
        self.asked.append("backup")
        if self.status != "OK":
            raise VosError("the volume is busy")
        self.clone = int(time.time())
        return self.examine(BACKUP_ID)

    def dump_size(self, volume: int, since: int) -> int:
        raise NotImplementedError

    def dump(self, volume: int, since: int) -> Pipe:
        self.model.number, self.model.parent, self.model.kind = BACKUP_ID, ID, 2
        return Pipe(self.model.dump(since, until=self.clone))


class Chosen:
    """That server, as one source sees it."""

    def __init__(self, vos: FakeVos, source: AfsSettings) -> None:
        self._vos = vos
        self._settings = source.vos

    def listing(self, server: str) -> list[Volume]:
        return patterns.select(self._vos.listing(server), self._settings.include, self._settings.exclude)

    def count(self, server: str) -> int:
        return sum(volume.type == "RW" for volume in self._vos.listing(server))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vos, name)


def chosen(vos: FakeVos, source: AfsSettings) -> Any:
    return Chosen(vos, source)


@pytest.fixture
def vos() -> FakeVos:
    model = Model("user.a", ID, now=FIRST - DAY)
    model.write(1, b"file", b"content" * 200)
    return FakeVos(model)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def context(config: RunConfig, repository: Repository, today: date, vos: FakeVos) -> RunContext:
    parts = {source.name: chosen(vos, source) for source in config.sources}  # type: ignore[arg-type]
    return RunContext(config.run, config.schedule, repository, today, root_parts=parts)


def run(world: World, vos: FakeVos, day: int, source: AfsSettings = CELL, *, dry: bool = False) -> Report:
    settings = RunSettings(retries=1, retry_wait=0)
    config = RunConfig(Path("x"), settings, Schedule(), (source,))
    details = RunDetails("h", "t", FIRST + day * DAY, 0)
    with world.open(world.writer) as repository:
        sources = make_sources(config, context(config, repository, run_day(details), vos))
        engine = Engine(repository, sources, settings, details)
        return engine.plan() if dry else engine.run()


def kinds(report: Report) -> list[tuple[str, str, str]]:
    return [(line.state, line.kind, line.reason) for line in report.lines]


def test_a_volume_is_dumped_in_full_and_then_incrementally(world: World, vos: FakeVos) -> None:
    assert [("stored", "full", "new")] == kinds(run(world, vos, 0))
    assert [("stored", "incr", "")] == kinds(run(world, vos, 1))


def test_a_restore_after_the_clone_does_not_vouch_for_the_next_incremental(
    world: World, vos: FakeVos
) -> None:
    run(world, vos, 0)
    vos.copy = int(time.time()) + 60  # restored between clone and listing
    assert "full" == kinds(run(world, vos, 1))[0][1]
    ((_, kind, reason),) = kinds(run(world, vos, 2))
    assert "full" == kind
    assert "restored" in reason


def test_a_volume_that_was_cloned_by_itself_is_looked_at_after_that(world: World, vos: FakeVos) -> None:
    run(world, vos, 0, AfsSettings("cell", backupsys=False))
    assert ["backup", f"examine {BACKUP_ID}", f"examine {ID}"] == vos.asked[-3:]


def test_a_clone_that_cannot_be_renewed_is_stored_as_of_its_date_at_the_last_try(
    world: World, vos: FakeVos
) -> None:
    vos.clone, vos.status = FIRST, "busy"
    (line,) = run(world, vos, 0).lines
    assert ("stored", 2) == (line.state, vos.asked.count("backup"))
    assert ["the volume is busy", line.warnings[1]] == line.warnings
    assert "its backup volume could not be refreshed" in line.warnings[1]


@pytest.mark.parametrize("dry", [False, True])
def test_a_server_that_is_down_fails_and_its_volumes_are_not_called_gone(
    world: World, vos: FakeVos, dry: bool
) -> None:
    run(world, vos, 0)
    vos.down = True
    (line,) = run(world, vos, 1, dry=dry).lines
    assert ("all volumes of fs1", "failed", "fs1 does not answer") == (line.name, line.state, line.error)


def test_a_volume_without_a_name_is_told(world: World, vos: FakeVos) -> None:
    vos.others = [Volume("", 7, 0, "?", "fs1", "a", "busy")]
    report = run(world, vos, 0)
    assert ["volume 7 on fs1 is busy, and its name is unknown: it was not stored"] == report.warnings
    assert [("stored", "full", "new")] == kinds(report)


def test_the_largest_volumes_are_dumped_first(world: World, vos: FakeVos) -> None:
    sizes = {"small": 1, "large": 9000, "medium": 6000}
    vos.others = [
        Volume(name, number, number, "RW", "fs1", "a", "OK", size)
        for number, (name, size) in enumerate(sizes.items(), 7)
    ]
    config = RunConfig(Path("x"), RunSettings(), Schedule(), (CELL,))
    with world.open(world.writer) as repository:
        today = run_day(RunDetails("h", "t", FIRST, 0))
        (source,) = make_sources(config, context(config, repository, today, vos))
        jobs = source.listing(set()).jobs
    assert ["large", "medium", "user.a", "small"] == [job.line.name for job in jobs]


def test_a_lost_list_of_vnodes_costs_a_full(world: World, vos: FakeVos) -> None:
    run(world, vos, 0)
    for path in (world.folder / "state" / "writer" / "volumes").iterdir():
        path.unlink()
    assert [("stored", "full", "no list of its files on this host")] == kinds(run(world, vos, 1))


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    "source",
    [
        only("usr.*"),
        only("*", exclude=("user.*",)),
    ],
)
def test_patterns_that_match_no_volume_at_all_are_a_failure(
    world: World, vos: FakeVos, source: AfsSettings, dry: bool
) -> None:
    run(world, vos, 0)
    (line,) = run(world, vos, 1, source, dry=dry).lines
    assert ("cell", "", "failed") == (line.source, line.name, line.state)
    assert (
        line.error == "include and exclude match none of the 1 volume of fs1; correct them in the config file"
    )


@pytest.mark.parametrize("dry", [False, True])
def test_a_server_without_volumes_is_well(world: World, vos: FakeVos, dry: bool) -> None:
    vos.empty = True
    assert [] == run(world, vos, 0, only("user.*"), dry=dry).lines


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("include", "reason"),
    [
        ("*", "volume 536870930 no longer exists"),
        ("user.*", "volume 536870930 no longer exists, or its name no longer matches include"),
    ],
)
def test_a_volume_that_was_deleted_is_gone(
    world: World, vos: FakeVos, include: str, reason: str, dry: bool
) -> None:
    run(world, vos, 0)
    vos.empty = True
    assert [("gone", "", reason)] == kinds(run(world, vos, 1, only(include), dry=dry))


@pytest.mark.parametrize("dry", [False, True])
def test_a_volume_that_is_not_taken_any_more_is_not_gone(world: World, vos: FakeVos, dry: bool) -> None:
    run(world, vos, 0)
    vos.others = [Volume("user.b", 7, 7, "RW", "fs1", "a", "OK")]
    report = run(world, vos, 1, only("user.b"), dry=dry)
    assert ["user.b"] == [line.name for line in report.lines]
    assert [] == report.of("gone")
