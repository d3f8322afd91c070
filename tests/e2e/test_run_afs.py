"""`dedup run` on a real cell: two simulated weeks of daily runs, after which every date of every volume comes back.

The days are those of the runs; the cell's clock is the machine's.  Edits arrive in the volumes as incrementals of a
model, with times of now.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from dedupstore.format.run_records import Stream
from dedupstore.repository import Repository, SnapshotInfo
from dedupstore.writing.session import RunDetails
from pipelines.config.run_settings import RunConfig, RunSettings, Schedule
from pipelines.formats.afs.merge import merge
from pipelines.run.engine import Engine, run_day
from pipelines.sources.kind import RunContext
from pipelines.sources.kinds import make_sources
from pipelines.sources.kinds.afs import decide
from pipelines.sources.kinds.afs.settings import AfsSettings
from pipelines.sources.protocol import Line, Report
from pipelines.streams import dates
from pipelines.streams.chains import chain
from pipelines.vos.listing import Volume as Listed
from pipelines.vos.program import Vos
from pipelines.vos.settings import VosSettings
from tests.afsdump import parse, same_volume
from tests.pipelines.formats.afs.model import Volume
from tests.servers.afs_cell import AfsCell
from tests.servers.sshd import wait_for
from tests.store import World

START = datetime(2026, 10, 28, 3, tzinfo=UTC)  # a Wednesday
DAYS = 14
SUNDAYS = (4, 11)
LOCKED, OFFLINE, DOOMED, BACK, AGAIN, BARE, ZEROS = (
    2,
    5,
    6,
    7,
    8,
    9,
    10,
)  # days on which something befalls one
RANDOM = [f"w.random{number}" for number in range(13)]
NAMES = [
    *RANDOM,
    "w.big",
    "w.crowd",
    "w.quiet",
    "w.locked",
    "w.offline",
    "w.doomed",
    "w.again",
    "w.back",
    "w.bare",
    "w.zeros",
]
UNTIMELY = ("w.again", "w.back", "w.bare")

# Runs vos, and removes a volume as soon as volumes were listed, if that file names one.
DOOMING_VOS = """#!/bin/sh
if [ "$1" = listvol ] && [ -s {doom} ]; then
    {vos} "$@"; status=$?
    {vos} remove -id "$(cat {doom})" -localauth >&2
    rm {doom}
    exit $status
fi
exec {vos} "$@"
"""


@dataclass
class Fortnight:
    """The cell, the repository, and what each volume was on each day."""

    cell: AfsCell
    world: World
    folder: Path
    models: dict[str, Volume] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    truth: list[dict[str, Path]] = field(default_factory=list)  # day by day: a full dump of each clone
    edited: set[str] = field(default_factory=set)  # since the last run

    def __post_init__(self) -> None:
        self.doom = self.folder / "doom"
        self.program = self.folder / "vos"
        self.program.write_text(DOOMING_VOS.format(vos=self.cell.bin / "vos", doom=self.doom))
        self.program.chmod(0o755)
        self.source = AfsSettings(
            "cell", VosSettings((self.cell.server,), include=("w.*",), program=str(self.program))
        )

    def create(self, name: str, model: Volume) -> None:
        self.models[name] = model
        self.cell.vos("restore", self.cell.server, self.cell.partition, name, stdin=model.dump())

    def change(self, name: str, edit: Callable[[Volume], object], *, age: int = 0) -> None:
        """Change the model, and the volume with it; files and folders get a date that is so many seconds old."""
        model = self.models[name]
        model.now = since = now() - age
        edit(model)
        model.now = model.updated = now()
        where = (self.cell.server, self.cell.partition, name)
        self.cell.vos("restore", *where, "-overwrite", "incremental", stdin=model.dump(since))
        self.edited.add(name)

    def run(self) -> None:
        """Run for the next day, and keep a full dump of every clone that this run made.

        Clones are made in another second than anything before, as on real days.
        """
        latest = max(max(volume.backup, volume.copy) for volume in self.listing())
        wait_for(lambda: now() > latest, 5)
        with self.engine() as engine:
            self.reports.append(engine.run())
        self._note_truth(self.reports[-1])

    @contextmanager
    def engine(self, *, all_full: bool = False) -> Iterator[Engine]:
        """Yield what runs on the next day."""
        moment = START + timedelta(days=len(self.reports))
        details = RunDetails("fs1", "test", int(moment.timestamp()), 0)
        settings = RunSettings(parallel=3, retries=1, retry_wait=0)
        config = RunConfig(Path("dedup.toml"), settings, Schedule(small_kib=0), (self.source,))
        with self.world.open(self.world.writer) as repository:
            context = RunContext(settings, config.schedule, repository, run_day(details), all_full)
            sources = make_sources(config, context)
            yield Engine(repository, sources, settings, details)

    def listing(self) -> list[Listed]:
        settings = VosSettings(include=("w.*",), program=str(self.cell.bin / "vos"))
        return Vos(settings).listing(self.cell.server)

    def _note_truth(self, report: Report) -> None:
        before = self.truth[-1] if self.truth else {}
        today = {}
        for line in report.of("stored"):
            today[line.name] = path = self.folder / f"{len(self.truth)}-{line.name}"
            if line.name in before and line.kind == "incr" and line.name not in self.edited:
                path.hardlink_to(before[line.name])
            else:
                path.write_bytes(self.cell.vos("dump", "-id", f"{line.name}.backup").stdout)
        self.truth.append(today)
        self.edited.clear()

    def line(self, day: int, name: str) -> Line:
        (line,) = [line for line in self.reports[day].lines if line.name == name]
        return line


def now() -> int:
    return int(time.time())


def some_volume(name: str) -> Volume:
    model = Volume(now=now())
    chance = random.Random(name)
    model.write(1, b"precious", chance.randbytes(3000))
    model.chmod(model.nodes[1].names[b"precious"], 0o600, 7, 0)
    for _ in range(40):
        model.edit(chance)
    return model


def big_volume() -> Volume:
    model, chance = Volume(now=now()), random.Random(1)
    for size in (0, 1, 511, 512, 100_000, 3_000_000, 100_000_000):
        model.write(1, b"%d bytes" % size, chance.randbytes(size))
    return model


def crowded_volume() -> Volume:
    model = Volume(now=now())
    folder = model.mkdir(model.mkdir(1, b"a"), b"many")
    for number in range(4000):
        model.write(folder, b"entry-%d" % number, b"%d" % number * (number % 300))
    return model


@pytest.fixture(scope="module")
def fortnight(afs_cell: AfsCell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortnight]:
    """Two weeks; the tests show what happens on which day.

    A day takes some seconds here, so that what allows for clocks that differ by more must be less.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decide, "CLOCKS_DIFFER", 0)
        patch.setattr(decide, "OVERLAP", 1)
        yield two_weeks(afs_cell, tmp_path_factory)


def two_weeks(afs_cell: AfsCell, tmp_path_factory: pytest.TempPathFactory) -> Fortnight:
    folder = tmp_path_factory.mktemp("fortnight")
    weeks = Fortnight(afs_cell, World(folder / "world"), folder)
    chance = random.Random(7)
    for name in NAMES:
        special = {"w.big": big_volume, "w.crowd": crowded_volume}
        weeks.create(name, special[name]() if name in special else some_volume(name))
    weeks.run()
    for day in range(1, DAYS):
        _events(weeks, day, chance)
        weeks.run()
    return weeks


def _events(weeks: Fortnight, day: int, chance: random.Random) -> None:
    cell = weeks.cell
    where = ("-server", cell.server, "-partition", cell.partition)

    def edit(model: Volume) -> None:
        for _ in range(25):
            model.edit(chance)

    def edit_big(model: Volume) -> None:
        model.write(1, b"3000000 bytes", chance.randbytes(3_000_000))

    def edit_crowd(model: Volume) -> None:
        folder = max(number for number in model.nodes if number % 2)
        model.remove(folder, b"entry-%d" % day)
        model.write(folder, b"new-%d" % day, chance.randbytes(2000))

    for name in chance.sample(RANDOM, 5):
        weeks.change(name, edit)
    if day % 3 == 0:
        weeks.change("w.big", edit_big)
        weeks.change("w.crowd", edit_crowd)
    if day == LOCKED:
        weeks.change("w.locked", edit)
        weeks.edited.remove("w.locked")  # its clone stays as it was
        cell.vos("lock", "w.locked")
    if day == LOCKED + 1:
        cell.vos("unlock", "w.locked")
        weeks.edited.add("w.locked")
    if day == OFFLINE:
        cell.vos("offline", *where, "-id", "w.offline")
    if day == OFFLINE + 1:
        cell.vos("online", *where, "-id", "w.offline")
    if day == DOOMED:
        weeks.doom.write_text(str(cell.volume_id("w.doomed")))
    if day == AGAIN:
        cell.vos("remove", "-id", "w.again")
        weeks.create("w.again", some_volume("another"))
        weeks.edited.add("w.again")
    if day == BARE:
        weeks.change("w.bare", lambda model: model.write(1, b"came by itself", b"x" * 1000), age=9999)
    if day == ZEROS:
        # what the volume server does to what it cannot read
        def zero(model: Volume) -> None:
            node = model.nodes[model.nodes[1].names[b"precious"]]
            node.content, node.changed = bytes(len(node.content)), model.now

        weeks.change("w.zeros", zero)
    if day == BACK:
        # as an admin does who restores yesterday's dump over the volume
        old = weeks.truth[-1]["w.back"].read_bytes()
        weeks.change("w.back", edit)
        cell.vos("restore", cell.server, cell.partition, "w.back", "-overwrite", "full", stdin=old)


def test_every_date_of_every_volume_comes_back_as_it_was(fortnight: Fortnight) -> None:
    compared = 0
    with fortnight.world.open(fortnight.world.admin) as repository:
        for snapshot, truth in zip(repository.snapshots(), fortnight.truth, strict=True):
            streams = {stream.name: stream for stream in repository.streams(snapshot)}
            assert truth.keys() == streams.keys()
            for name, path in truth.items():
                found = merged(repository, snapshot, streams[name])
                assert [] == same_volume(path.read_bytes(), found), f"{name} of {dates.local(snapshot)}"
                compared += 1
    assert compared > 13 * len(NAMES)


def test_what_comes_back_is_good_for_vos_restore(fortnight: Fortnight) -> None:
    cell = fortnight.cell
    with fortnight.world.open(fortnight.world.admin) as repository:
        snapshot = repository.snapshots()[-1]
        for stream in repository.streams(snapshot):
            if stream.name in (*RANDOM[:3], "w.crowd", "w.again", "w.back"):
                into = f"back.{stream.name}"
                cell.vos(
                    "restore", cell.server, cell.partition, into, stdin=merged(repository, snapshot, stream)
                )
                truth = fortnight.truth[-1][stream.name].read_bytes()
                assert [] == same_volume(truth, cell.vos("dump", "-id", into).stdout)


def merged(repository: Repository, snapshot: SnapshotInfo, stream: Stream) -> bytes:
    with ExitStack() as stack:
        links = chain(repository, snapshot, stream)
        return b"".join(merge([stack.enter_context(repository.open_stream(*link)) for link in links]))


def test_volumes_are_dumped_in_full_once_a_week_and_incrementally_in_between(fortnight: Fortnight) -> None:
    for day, report in enumerate(fortnight.reports):
        kinds = {line.name: line.kind for line in report.of("stored") if line.name not in UNTIMELY}
        assert {"full" if day == 0 or day in SUNDAYS else "incr"} == set(kinds.values())
        assert (START + timedelta(days=day)).date() == report.today
    assert {"new"} == {line.reason for line in fortnight.reports[0].lines}
    assert {"Sunday"} == {line.reason for line in fortnight.reports[SUNDAYS[0]].lines}
    assert date(2026, 11, 1) == fortnight.reports[0].next_full
    assert date(2026, 11, 8) == fortnight.reports[SUNDAYS[0]].next_full


def test_incrementals_leave_out_what_did_not_change(fortnight: Fortnight) -> None:
    with fortnight.world.open(fortnight.world.admin) as repository:
        snapshot = repository.snapshots()[DAYS - 1]
        stream = next(stream for stream in repository.streams(snapshot) if stream.name == "w.big")
        data = b"".join(repository.read(snapshot, stream))
    bare = [vnode for vnode, fields in parse(data).vnodes.items() if not fields]
    assert bare
    assert 100_000 > fortnight.line(1, "w.big").size


def test_a_locked_volume_is_stored_as_it_was_and_reported(fortnight: Fortnight) -> None:
    line = fortnight.line(LOCKED, "w.locked")
    assert "stored" == line.state
    assert any("is locked" in warning or "locked" in warning for warning in line.warnings)
    assert any("its backup volume could not be refreshed" in warning for warning in line.warnings)
    assert [] == fortnight.line(LOCKED + 1, "w.locked").warnings
    assert "incr" == fortnight.line(LOCKED + 1, "w.locked").kind


def test_an_offline_volume_is_reported(fortnight: Fortnight) -> None:
    line = fortnight.line(OFFLINE, "w.offline")
    assert line.warnings or line.error
    line = fortnight.line(OFFLINE + 1, "w.offline")
    assert ("stored", []) == (line.state, line.warnings)


def test_a_volume_that_is_deleted_after_the_listing_fails_and_is_gone_for_a_week(
    fortnight: Fortnight,
) -> None:
    line = fortnight.line(DOOMED, "w.doomed")
    assert "failed" == line.state
    assert "it was removed, moved or taken off line" in line.error
    for day in range(DOOMED + 1, DAYS):
        gone = [line.name for line in fortnight.reports[day].of("gone")]
        assert (["w.doomed"] if day < DOOMED + 7 else []) == gone


def test_a_volume_that_was_created_again_is_dumped_in_full(fortnight: Fortnight) -> None:
    line = fortnight.line(AGAIN, "w.again")
    assert ("full", [], True) == (line.kind, line.warnings, line.untimely)
    assert line.reason.startswith("re-created: it was volume ")
    assert "incr" == fortnight.line(AGAIN + 1, "w.again").kind


def test_a_volume_that_was_restored_over_is_dumped_in_full(fortnight: Fortnight) -> None:
    line = fortnight.line(BACK, "w.back")
    assert ("full", [], True) == (line.kind, line.warnings, line.untimely)
    assert line.reason.startswith("restored, moved or re-created on ")


def test_an_incremental_that_leaves_out_what_was_never_stored_is_dumped_in_full_at_once(
    fortnight: Fortnight,
) -> None:
    line = fortnight.line(BARE, "w.bare")
    assert ("full", [], True) == (line.kind, line.warnings, line.untimely)
    assert line.reason.startswith(
        "its incremental dump leaves out 1 vnode that was never stored, first vnode "
    )
    assert "incr" == fortnight.line(BARE + 1, "w.bare").kind


def test_content_that_changed_behind_its_data_version_is_an_alarm(fortnight: Fortnight) -> None:
    (warning,) = fortnight.line(ZEROS, "w.zeros").warnings
    assert warning.startswith("ALARM: other contents than before, but the same data version: vnode ")


def test_a_dry_run_says_what_a_run_would_do_and_changes_nothing(fortnight: Fortnight) -> None:
    before = fortnight.listing(), fortnight.world.files("")
    with fortnight.engine() as engine:
        lines = engine.plan().lines
    with fortnight.engine(all_full=True) as engine:
        full = engine.plan().lines
    assert before == (fortnight.listing(), fortnight.world.files(""))
    assert sorted(set(NAMES) - {"w.doomed"}) == sorted(line.name for line in lines)
    assert {("planned", "incr", "")} == {(line.state, line.kind, line.reason) for line in lines}
    assert {("planned", "full", "requested")} == {(line.state, line.kind, line.reason) for line in full}


def test_nothing_else_is_said_of_any_volume(fortnight: Fortnight) -> None:
    odd = {(LOCKED, "w.locked"), (OFFLINE, "w.offline"), (DOOMED, "w.doomed"), (ZEROS, "w.zeros")}
    for day, report in enumerate(fortnight.reports):
        for line in report.lines:
            if line.state != "gone" and (day, line.name) not in odd:
                assert ("stored", [], "") == (line.state, line.warnings, line.error), f"day {day}"


def test_only_the_newest_list_of_vnodes_of_each_volume_is_kept(fortnight: Fortnight) -> None:
    files = list((fortnight.world.folder / "state" / "writer" / "volumes").iterdir())
    kept = [path.name.partition("-")[0] for path in files]
    assert len(set(kept)) == len(kept) >= len(NAMES)
