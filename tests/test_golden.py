"""The golden repository, made once by an earlier program, stays readable: by the packages, and without them."""

import ast
import hashlib
import json
import re
import shutil
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.repository import Repository
from dedupstore.state.folder import StateFolder
from keys import members
from keys import roster as rosters
from keys.roster import Features, Roster, membership
from keys.trust import Trust
from tests import independent_reader
from tests.gpg_home import GpgHome
from tests.independent_reader import (
    HASH,
    HEADER,
    KIB,
    MIB,
    RUN,
    TRAILER,
    Bytes16,
    Count,
    DamageError,
    Id,
    Key,
    NewerError,
    Pack,
    Reader,
    Root,
    Sequence,
    Signed,
    Text,
    Time,
    number,
    read,
)

GOLDEN = Path(__file__).parent / "data" / "golden"
EXPECTED: dict[str, dict[str, str]] = json.loads((GOLDEN / "expected.json").read_text())
NEWEST = 6  # the serial of the newest roster


def whole(**fields: Any) -> Any:
    """Return the shape of a map that has these keys and no others."""
    return msgspec.defstruct("Whole", fields.items(), forbid_unknown_fields=True)


ROOTS = {"content": Root, "skeleton": Root, "layout": Root}
STREAM = whole(name=str, kind=Text, size=Count, time=Count, stored=Count, new=Count, **ROOTS, facts=bytes)
ORIGIN = whole(repository=Bytes16, snapshot=Id, signer=Id, sequence=Sequence)
PACK = whole(name=Id, kind=str, size=Count, keys=list[Key], blocks=bytes, tables=list[Signed])
SNAPSHOT = whole(
    run=Bytes16,
    domain=Text,
    sequence=Sequence,
    heads=dict[Id, tuple[Sequence, Id]],
    time=Time,
    utc_offset=int,
    started=Count,
    finished=Count,
    host=Text,
    program=Text,
    roster=tuple[Count, Id],
    streams=list[STREAM],
    origin=ORIGIN | None,
)

# Of each kind of catalogue file all keys that docs/format.md has, and of those that no reader needs, all the rest.
SHAPES = {
    "I": whole(run=Bytes16, domain=Text, time=Count, replaces=bytes, packs=list[PACK]),
    "S": SNAPSHOT,
    "C": SNAPSHOT,
    "U": whole(run=Bytes16, started=Count, host=Text),
    "E": whole(run=Bytes16, snapshots=bytes, index=bytes, finished=Count),
    "N": whole(run=Bytes16, time=Count),
    "G": whole(time=Count, replaces=bytes, done=bytes),
    "L": whole(signer=Id, time=Count, snapshots=bytes, index=bytes, records=bytes),
    "X": whole(time=Count, packs=bytes, index=bytes, snapshots=bytes, abandoned=bytes),
    "F": whole(run=Bytes16, time=Count),
    "Z": whole(time=Count, replaces=bytes, snapshots=bytes, index=bytes),
}
OTHERS = {
    "C": ("checkpoints", HASH, "writer admin", 8 * MIB),
    "U": ("runs", f"{RUN}[.]run", "writer admin", 64 * KIB),
    "N": ("runs", f"{RUN}-{HASH}[.]ended", "writer admin", 64 * KIB),
    "X": ("condemned", HASH, "pruner admin", 4 * MIB),
    "F": ("fences", f"{RUN}-{HASH}", "pruner admin", 64 * KIB),
}
COUNTS = {"I": 8, "S": 8, "C": 2, "U": 11, "E": 6, "N": 2, "G": 1, "L": 1, "X": 1, "F": 1, "Z": 1}


class Rebuilding(Reader):
    """A reader that takes places from the packs themselves, not from index files (docs/format.md 7)."""

    def _read_places(self) -> None:
        own_tables = msgspec.defstruct("Own", [("blocks", bytes), ("tables", list[Signed])])
        for kind, folder in (("D", "data"), ("T", "tree")):
            for path in sorted(self.path.glob(f"{folder}/*/*")):
                raw = read(path, kind)
                header, trailer, end = raw[:HEADER], raw[-TRAILER:], len(raw) - TRAILER
                tables = raw[end - number(trailer[4:]) : end]
                keys = raw[end - len(tables) - number(trailer[:4]) : end - len(tables)]
                assert (0, 0) == (len(raw) % 4096, len(tables) % 4096)
                body = self._unseal(header, tables, header + keys + trailer, 16 * MIB)
                own: Any = msgspec.msgpack.decode(body, type=own_tables)
                listed = msgspec.msgpack.decode(keys, type=list[Key])
                pack = Pack(bytes.fromhex(path.name), kind, len(raw), listed, own.blocks, own.tables)
                table = msgspec.msgpack.decode(own.tables[0][2], type=independent_reader.Table)
                for chunk, *place in self._describe(pack, table.domain):
                    self._places.setdefault((table.domain, *chunk), []).append(place)


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    """A throw-away GNUPGHOME with the secret keys of all members of the golden repository."""
    with GpgHome() as everyone:
        everyone.run("--import", data=(GOLDEN / "secret-keys.asc").read_bytes())
        yield everyone


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The golden repository, where it may be written to."""
    return shutil.copytree(GOLDEN / "repository", tmp_path / "repository")


def of_role(home: GpgHome, role: str) -> list[str]:
    """Return the fingerprints of members; an admin's is what a human would give at first contact."""
    roster = Reader(GOLDEN / "repository", home.path).roster
    return [member.fingerprint for member in roster.members if member.role == role]


def restored(reader: Reader) -> Iterator[tuple[str, str, str]]:
    """Yield (snapshot, stream, SHA-256) of all that the independent reader restores without an error."""
    for name, snapshot in reader.snapshots().items():
        for stream in snapshot.streams:
            try:
                data = reader.restore(snapshot, stream.name)
            except DamageError as damage:
                reader.problems.append(str(damage))
            else:
                yield name, stream.name, hashlib.sha256(data).hexdigest()


def expected() -> list[tuple[str, str, str]]:
    """Return the same of all that was stored and counts, in the order of dates."""
    return [(name, stream, digest) for name, all_ in EXPECTED.items() for stream, digest in all_.items()]


def believed(home: GpgHome, place: Path, state: StateFolder) -> Roster:
    """Return the newest roster, as the packages believe it at first contact."""
    trust = Trust(state)
    roster = trust.examine(LocalBackend(place), str(place), of_role(home, "admin")[0])
    trust.accept(str(place), roster)
    return roster


def test_the_independent_reader_restores_every_stream_of_every_snapshot(home: GpgHome) -> None:
    reader = Reader(GOLDEN / "repository", home.path)
    assert list(EXPECTED) == list(reader.snapshots())
    assert expected() == list(restored(reader))
    assert ([], []) == (reader.problems, reader.newer)


def test_the_golden_repository_has_what_the_format_has(home: GpgHome) -> None:
    reader = Reader(GOLDEN / "repository", home.path)
    streams = [stream for one in reader.snapshots().values() for stream in one.streams]
    assert [True, True] == [max(getattr(s, part)[0] for s in streams) >= 2 for part in ("content", "layout")]
    assert {"raw", "tar", "afs"} == {stream.kind for stream in streams}
    assert [(1, 1), (2, 1)] == [(epoch.number, epoch.suite) for epoch in reader.roster.epochs]
    packs = [pack for _, _, index in reader.records("I") for pack in index.packs]
    assert (2, 2) == (max(len(p.keys) for p in packs), max(len(k[1]) for p in packs for k in p.keys))


def test_every_catalogue_file_is_as_the_page_says(home: GpgHome, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(GOLDEN / "repository", home.path)
    for kind, shape in SHAPES.items():
        row = OTHERS.get(kind) or independent_reader.KINDS[kind][:4]
        monkeypatch.setitem(independent_reader.KINDS, kind, (*row, shape))
    assert COUNTS == {kind: len(list(reader.records(kind))) for kind in SHAPES}
    assert [] == reader.problems
    files = [path for path in (GOLDEN / "repository").rglob("*") if path.is_file()]
    whole_steps = [path for path in files if path.parent.name not in ("roster", "slots", "place")]
    assert {0} == {path.stat().st_size % 4096 for path in whole_steps}
    named = re.compile(rf"{HASH}|{RUN}[.]run|{RUN}-{HASH}([.](done|ended))?|[0-9]{{8}}|id")
    assert [] == [path for path in files if not named.fullmatch(path.name)]


def test_an_index_can_be_rebuilt_from_packs_alone(home: GpgHome, copy: Path) -> None:
    shutil.rmtree(copy / "index")
    reader = Rebuilding(copy, home.path)
    assert expected() == list(restored(reader))
    assert [] == reader.problems


def test_the_independent_reader_opens_the_repository_for_a_reader_and_for_no_writer(home: GpgHome) -> None:
    with home.subset(*of_role(home, "reader")) as host:
        assert expected() == list(restored(Reader(GOLDEN / "repository", host.path)))
    with (
        home.subset(*of_role(home, "writer"), *of_role(home, "pruner")) as host,
        pytest.raises(DamageError, match="no secret key of a present admin or reader"),
    ):
        Reader(GOLDEN / "repository", host.path)


def test_the_independent_reader_believes_an_admin_whom_a_human_names(home: GpgHome) -> None:
    for signer in of_role(home, "admin"):  # one made the repository, the other one signed the newest roster
        reader = Reader(GOLDEN / "repository", home.path, signer)
        assert (NEWEST, []) == (reader.roster.serial, reader.problems)
    for stranger in (*of_role(home, "writer"), "0" * 40):
        with pytest.raises(DamageError, match=f"no roster is signed by {stranger}"):
            Reader(GOLDEN / "repository", home.path, stranger)


def test_without_its_closing_list_nothing_of_a_removed_member_counts(home: GpgHome, copy: Path) -> None:
    shutil.rmtree(copy / "closings")
    reader = Reader(copy, home.path)
    assert 1 == len(EXPECTED) - len(reader.snapshots())
    assert [True] == ["missing or damaged" in problem for problem in reader.problems]


def test_files_of_a_newer_format_are_no_damage(home: GpgHome, copy: Path) -> None:
    for folder in ("index", "snapshots", "ledgers"):
        data = bytearray(next((copy / folder).iterdir()).read_bytes())
        data[5] = 2
        (copy / folder / hashlib.sha256(data).hexdigest()).write_bytes(data)
    flipped = next((copy / "tombstones").iterdir())
    flipped.write_bytes(flipped.read_bytes().replace(b"dedup\x01", b"dedup\x03", 1))
    reader = Reader(copy, home.path)
    reader.snapshots()
    assert (3, 1) == (len(reader.newer), len(reader.problems))
    assert "its name is not its hash" in reader.problems[0]


@pytest.mark.parametrize("newer", ["format", "read flag"])
def test_a_roster_that_needs_a_newer_program(home: GpgHome, copy: Path, tmp_path: Path, newer: str) -> None:
    old = believed(home, copy, StateFolder(tmp_path / "state"))
    payload = rosters.successor(old, NEWEST + 1, list(old.members), 1)
    if newer == "read flag":
        payload = msgspec.structs.replace(payload, features=Features(read=["sparse"], write=["pruned"]))
    data = bytearray(rosters.sign(payload, home.gpg, of_role(home, "admin")[0], old))
    data[5] = 2 if newer == "format" else 1
    (copy / "roster" / f"{NEWEST + 1:08}").write_bytes(data)
    with pytest.raises(NewerError, match="sparse") if newer == "read flag" else nullcontext():
        reader = Reader(copy, home.path)
        assert (NEWEST, []) == (reader.roster.serial, reader.problems)
        assert [True] == [note.endswith("a roster of a newer format") for note in reader.newer]


def test_the_packages_restore_every_stream_and_find_no_damage(
    home: GpgHome, copy: Path, tmp_path: Path
) -> None:
    backend, state = LocalBackend(copy), StateFolder(tmp_path / "state")
    roster = believed(home, copy, state)
    unlock = lambda: members.unlock(backend, roster, home.gpg, reading=True)  # noqa: E731
    found = []
    with Repository(backend, membership(roster), unlock, state) as repository:
        for snapshot in repository.snapshots():
            for stream in repository.streams(snapshot):
                digest = hashlib.sha256()
                for piece in repository.read(snapshot, stream):
                    digest.update(piece)
                found.append((snapshot.name.hex(), stream.name, digest.hexdigest()))
        result = repository.check(read_data=True, report=lambda what, done, of: None)
        assert expected() == found
        assert [] == result.damaged + repository.alarms
        # a removed member's late run, and a snapshot that came back though it was deleted
        assert ["2 packs are in no index file", "2 snapshots do not count"] == [
            warning.split(":")[0] for warning in result.warnings
        ]
        assert [] == repository.damage
    assert (len(EXPECTED), len(found)) == (result.snapshots, result.streams)


class Forged(Reader):
    """A reader whose chunks are given by their names, and whose key is right for all of them."""

    def __init__(self, chunks: dict[bytes, bytes]) -> None:
        self.chunks = chunks

    def _chunk(self, domain: str, kind: str, name: bytes, size: int) -> bytes:
        if len(self.chunks[name]) != size:
            raise DamageError("a chunk of another length")
        return self.chunks[name]


def name(number: int) -> bytes:
    """Return a name."""
    return bytes([number]) * 32


# A layout of two chunks: 3 of skeleton, 5 of content; then 2 and 4.
LAYOUT = [(name(3), 2, 3, 5), (name(4), 2, 2, 4)]
NO_ROOT = [
    (0, b"", 0, 1),
    (1, b"", 0, 0),
    (0, name(3), 0, 0),
    (0, b"", 4, 0),
    (1, name(2), 4, 0),
    (0, name(2), 4, 2),
]


def forged(layout: list[tuple[bytes, int, int, int]], pairs: bytes = b"\2\4") -> Any:
    """Return a reader, and a snapshot with a stream of 5 bytes of skeleton, and 9 of content."""
    node = b"".join(struct.pack("<32sIQQ", *entry) for entry in layout)
    chunks = {name(1): b"SSSss", name(2): b"CCCCCcccc", name(3): b"\3\5", name(4): pairs, name(5): node}
    root = (1, name(5), 4, len(layout))
    stream = SimpleNamespace(
        name="s", size=14, skeleton=(0, name(1), 5, 0), content=(0, name(2), 9, 0), layout=root
    )
    return Forged(chunks), SimpleNamespace(domain="d", streams=[stream])


def test_a_layout_puts_skeleton_and_content_together() -> None:
    reader, snapshot = forged(LAYOUT)
    assert b"SSSCCCCCsscccc" == reader.restore(snapshot, "s")


@pytest.mark.parametrize(
    ("layout", "pairs"),
    [
        ([(name(3), 2, 3, 5), (name(4), 2, 2, 5)], b"\2\4"),  # more content than the stream has
        ([(name(3), 2, 3, 5), (name(4), 2, 3, 4)], b"\2\4"),  # more skeleton
        ([(name(3), 2, 2, 5), (name(4), 2, 3, 4)], b"\2\4"),  # the sum is right, but not the chunk's
        ([(name(3), 2, 3, 5), (name(4), 3, 2, 4)], b"\2\4\1"),  # a number that no sum has
        ([(name(3), 2, 3, 5), (name(4), 2, 2, 4), (name(4), 0, 0, 0)], b"\2\4"),  # a chunk of no bytes
        (LAYOUT, b"\2\3"),  # a chunk covers less than its entry says
        ([(name(3), 2, 3, 5), (name(4), 3, 2, 4)], b"\2\x84\0"),  # a number longer than it need be
        ([(name(3), 2, 3, 5), (name(4), 2, 0, 6)], b"\0\6"),  # a zero that is not the first number
    ],
)
def test_the_independent_reader_refuses_layouts_that_lie(
    layout: list[tuple[bytes, int, int, int]], pairs: bytes
) -> None:
    reader, snapshot = forged(layout, pairs)
    snapshot.streams[0].layout = (1, name(5), 2 + len(pairs), len(layout))
    with pytest.raises(DamageError):
        reader.restore(snapshot, "s")


@pytest.mark.parametrize("root", NO_ROOT)
def test_the_independent_reader_refuses_roots_that_contradict_themselves(
    root: tuple[int, bytes, int, int],
) -> None:
    reader, _ = forged(LAYOUT)
    with pytest.raises(DamageError, match="an odd root"):
        list(reader._sequence("d", root))


@pytest.mark.parametrize("folder", ["data", "tree", "index", "snapshots", "runs", "slots", "roster"])
def test_the_independent_reader_restores_nothing_wrong_from_damaged_files(
    home: GpgHome, copy: Path, folder: str
) -> None:
    for path in filter(Path.is_file, (copy / folder).rglob("*")):
        data = bytearray(path.read_bytes())
        data[70 if folder in ("data", "tree") else len(data) // 2] ^= 1  # in a pack's first block
        path.write_bytes(data)
    found = []
    with pytest.raises(DamageError) if folder in ("slots", "roster") else nullcontext():
        reader = Reader(copy, home.path)
        found = list(restored(reader))
        assert reader.problems != []
    assert set(found) < set(expected())


def test_the_independent_reader_is_short_and_shares_no_code_with_the_packages() -> None:
    source = Path(independent_reader.__file__).read_text()
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert 0 == node.level
            imported.add(str(node.module).split(".")[0])
    assert set() == imported & {"dedupstore", "keys", "pipelines", "tests", "importlib"}
    assert len(source.splitlines()) < 450
