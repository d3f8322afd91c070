"""Make the golden repository in tests/data/golden: `python -m tests.make_golden`.

It is made once, for each format version, and then never again: what an old program wrote must stay readable.
Beside the repository lie the throw-away secret keys that open it, and the SHA-256 of every stream.
"""

import hashlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

from dedupstore.backends.local import LocalBackend
from dedupstore.localstate import StateFolder
from dedupstore.repository import Repository
from dedupstore.session import RunDetails, Session
from dedupstore.splitting import Splitter
from keys import members
from keys.roster import Roster, membership
from keys.trust import Trust
from tests.gpg_home import GpgHome
from tests.store import Alternating, noise, text

GOLDEN = Path(__file__).parent / "data" / "golden"
DAY = 86_400
FIRST = 1_793_500_200  # 2026-11-01 03:10 UTC


def streams(day: int) -> dict[str, tuple[bytes, str, Splitter | None]]:
    """Return what is stored on a day: name -> bytes, kind, splitter."""
    return {
        "empty": (b"", "raw", None),
        "one-byte": (b"x", "raw", None),
        "zeros": (bytes(300_000), "raw", None),
        "text": (text(200_000 + 1000 * day), "raw", None),
        "many-chunks": (noise(4_000) + noise(256) * 8_000 + noise(400_000, 1), "raw", None),
        "split": (noise(150_000, 2) + text(20_000, day), "tar", Alternating(700, 9_000)),
        "split-content-only": (noise(9_000, 3), "afs", Alternating(0, 10_000)),
    }


def main() -> None:
    """Make it, unless it is there."""
    if (GOLDEN / "repository").exists():
        sys.exit(f"{GOLDEN} is there; a golden repository is made once")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    expected: dict[str, dict[str, str]] = {}
    with GpgHome() as home, tempfile.TemporaryDirectory() as folder:
        alice, bob, wendy, walter = (home.make_key(name) for name in ("alice", "bob", "wendy", "walter"))
        backend = LocalBackend(GOLDEN / "repository")
        url = str(GOLDEN / "repository")
        trust = Trust(StateFolder(Path(folder) / "state"))
        roster = members.init(backend, url, home.gpg, trust, [wendy], [alice, bob])
        roster = members.add(backend, url, roster, home.gpg, trust, walter, "writer", "")
        for day, name in enumerate(("wendy", "walter", "wendy")):
            with home.subset(wendy if name == "wendy" else walter) as host:
                last = put(backend, roster, host, Path(folder) / name, day, expected)
                if name == "walter":
                    gone = last
        members.remove(backend, url, roster, home.gpg, trust, walter, gone)
        secret = home.run("--armor", "--export-secret-keys", alice, bob, wendy, walter)
        (GOLDEN / "secret-keys.asc").write_bytes(secret)
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    shutil.rmtree(GOLDEN / "repository" / "tmp", ignore_errors=True)


def put(
    backend: LocalBackend,
    roster: Roster,
    host: GpgHome,
    state: Path,
    day: int,
    expected: dict[str, dict[str, str]],
) -> bytes:
    """Store a day's streams; return the snapshot's name."""
    unlock = lambda: members.unlock(backend, roster, host.gpg, reading=False)  # noqa: E731
    repository = Repository(backend, membership(roster), unlock, StateFolder(state))
    details = RunDetails("fs1.example.org", "golden", FIRST + day * DAY, 3600)
    with repository, Session(repository, details, 3, pack_size=100_000) as session:
        for name, (data, kind, splitter) in streams(day).items():
            session.put(
                name, io.BytesIO(data), kind=kind, splitter=splitter, facts={"day": day}, allow_empty=True
            )
        session.checkpoint()
        info = session.finish()
    expected[info.name.hex()] = {
        name: hashlib.sha256(data).hexdigest() for name, (data, _, _) in streams(day).items()
    }
    return info.name


if __name__ == "__main__":
    main()
