"""The golden repository, made once by an earlier program, stays readable: by the packages, and without them."""

import ast
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.localstate import StateFolder
from dedupstore.repository import Repository
from keys import members
from keys.roster import membership
from keys.trust import Trust
from tests import independent_reader
from tests.gpg_home import GpgHome
from tests.independent_reader import DamageError, Reader

GOLDEN = Path(__file__).parent / "data" / "golden"
EXPECTED: dict[str, dict[str, str]] = json.loads((GOLDEN / "expected.json").read_text())


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


def admins(home: GpgHome) -> list[str]:
    """Return the admins' fingerprints, which a human would give at first contact."""
    roster = Reader(GOLDEN / "repository", home.path).roster
    return [member.fingerprint for member in roster.members if member.role == "admin"]


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
    """Return the same of all that was stored, in the order of dates."""
    return [(name, stream, digest) for name, all_ in EXPECTED.items() for stream, digest in all_.items()]


def test_the_independent_reader_restores_every_stream_of_every_snapshot(home: GpgHome) -> None:
    reader = Reader(GOLDEN / "repository", home.path)
    assert list(EXPECTED) == list(reader.snapshots())
    assert expected() == list(restored(reader))
    assert [] == reader.problems


def test_the_independent_reader_believes_an_admin_whom_a_human_names(home: GpgHome) -> None:
    signer, other = admins(home)  # the first made the repository and signed all rosters
    reader = Reader(GOLDEN / "repository", home.path, signer)
    assert (3, []) == (reader.roster.serial, reader.problems)
    for stranger in (other, "0" * 40):
        with pytest.raises(DamageError, match=f"no roster is signed by {stranger}"):
            Reader(GOLDEN / "repository", home.path, stranger)


def test_the_packages_restore_every_stream_and_find_no_damage(
    home: GpgHome, copy: Path, tmp_path: Path
) -> None:
    backend, state = LocalBackend(copy), StateFolder(tmp_path / "state")
    trust = Trust(state)
    roster = trust.examine(backend, str(copy), admins(home)[0])
    trust.accept(str(copy), roster)
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
        assert [] == result.damaged + result.warnings + repository.damage + repository.alarms
    assert (len(EXPECTED), len(found)) == (result.snapshots, result.streams)


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
    assert len(source.splitlines()) < 400
