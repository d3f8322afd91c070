"""A second reader of the repository format, written from `docs/format.md` alone.

It shares no code with the packages, so that a repository stays readable without them and the page is proved
to be enough. Invariant: no byte is given out that was not verified, and nothing is allocated before its size
was bounded. Speed is not its aim. The numbers of sections (§) are those of `docs/format.md`.
"""

import datetime
import hashlib
import itertools
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta, MsgspecError, Struct, msgpack

MIB = 1 << 20
MAX_FILE, MAX_BLOCK, MAX_CHUNK, MAX_ROSTER = 64 * MIB, 4 * MIB, 2 * MIB, MIB
MAX_ENTRIES, HEADER, TRAILER = 256, 60, 16
KNOWN_FLAGS = {"pruned"}
SEALED = {"D": 1168, "T": 32}  # bytes of a sealed key
FOLDERS = {"D": "data", "T": "tree", "I": "index", "S": "snapshots", "E": "runs", "Z": "tombstones"}
SIGNERS = {"I": {"writer", "admin", "pruner"}, "S": {"writer", "admin"}, "E": {"writer", "admin"}}
SIGNERS |= {"Z": {"pruner", "admin"}}

# The MessagePack values (§4, §5, §8, §10 to §12), as far as a reader needs them.
Bytes16, Id = (
    Annotated[bytes, Meta(min_length=16, max_length=16)],
    Annotated[bytes, Meta(min_length=32, max_length=32)],
)
Bytes96 = Annotated[bytes, Meta(min_length=96, max_length=96)]
U32, Count = Annotated[int, Meta(ge=0, lt=1 << 32)], Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Fingerprint = Annotated[str, Meta(pattern=r"^([0-9A-F]{40}|[0-9A-F]{64})\Z")]
StreamName = Annotated[str, Meta(pattern=r"^[^/\x00-\x1f\x7f-\x9f]+\Z")]
Role = Literal["admin", "writer", "pruner"]
Root = tuple[Annotated[int, Meta(ge=0, le=8)], bytes, Count]
SealedKey = tuple[Bytes16, U32, bytes]
Entry = tuple[
    Count, Count, Annotated[int, Meta(gt=17, le=MAX_BLOCK + 17)], Annotated[int, Meta(ge=1, lt=1 << 32)]
]


class Envelope(Struct):
    payload: bytes
    signature: bytes


class Epoch(Struct):
    number: Annotated[int, Meta(ge=1, lt=1 << 32)]
    sealing_key: bytes


class Member(Struct):
    fingerprint: Fingerprint
    role: Role
    signing_key: Id
    domain: str
    slot: Id
    public_key: bytes
    removed: Count
    last_snapshot: bytes


class Roster(Struct):
    format: Literal[1]
    suite: int
    repository: Bytes16
    serial: Annotated[int, Meta(ge=1)]
    previous: bytes
    critical: list[str]
    epochs: list[Epoch]
    members: list[Member]


class Slot(Struct):
    repository: Bytes16
    fingerprint: Fingerprint
    role: Role
    epoch: Count
    id_key: Id
    signing_key: Id
    catalogue_keys: dict[int, Id]
    sealing_keys: dict[int, Bytes96]


class Pack(Struct):
    name: Id
    kind: Literal["D", "T"]
    size: Annotated[int, Meta(ge=0, le=MAX_FILE)]
    keys: Annotated[list[SealedKey], Meta(max_length=1024)]
    blocks: list[Entry]
    ids: bytes
    lengths: bytes


class Index(Struct):
    domain: str
    time: int
    packs: list[Pack]


class Stream(Struct):
    name: StreamName
    size: Count
    content: Root
    skeleton: Root
    layout: Root


class Snapshot(Struct):
    run: Bytes16
    domain: str
    sequence: Annotated[int, Meta(ge=1)]
    heads: dict[Id, tuple[int, Id]]
    time: Annotated[int, Meta(ge=-(1 << 40), le=1 << 40)]
    utc_offset: Annotated[int, Meta(ge=-(1 << 20), le=1 << 20)]
    roster: tuple[int, Id]
    streams: list[Stream]


class Done(Struct):
    run: Bytes16
    snapshot: bytes


class Tombstone(Struct):
    snapshot: Id
    previous: bytes


class RosterFile(NamedTuple):
    path: Path
    hash: bytes
    envelope: Envelope
    roster: Roster | None  # None: of a newer format


class Block(NamedTuple):
    """Where a block lies, how to open it, and the sum of its chunks' lengths."""

    path: Path
    offset: int
    stored: int
    kind: str
    key: SealedKey
    born: int
    size: int


Places = dict[tuple[str, str, bytes], list[tuple[Block, int, int]]]
T = TypeVar("T")


class DamageError(Exception):
    """What was read breaks the format or fails a check. The text says what and where."""


def need(condition: bool, text: str) -> None:
    if not condition:
        raise DamageError(text)


BROKEN = (InvalidTag, InvalidSignature, MsgspecError, zstandard.ZstdError, DamageError)


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Whatever fails inside is damage of `what`."""
    try:
        yield
    except (*BROKEN, OSError, ValueError, KeyError, RecursionError) as error:
        raise DamageError(f"{what}: {error or type(error).__name__}") from error


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(key)


def read(path: Path, limit: int = MAX_FILE) -> bytes:
    """A whole file of at most `limit` bytes; a hash in its name must be its own."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    need(len(data) <= limit, f"larger than {limit} bytes")
    stated = re.search("[0-9a-f]{64}", path.name)
    need(not stated or stated[0] == hashlib.sha256(data).hexdigest(), "its name is not its hash")
    return data


def inflate(data: bytes, limit: int) -> bytes:
    """One whole Zstandard frame; the size that it states is checked before it is allocated."""
    need(0 < zstandard.frame_content_size(data) <= limit, "a Zstandard frame states no good size")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


def gpg(home: str | Path, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run gpg: its exit status, its output, its status lines and messages."""
    options = ["--batch", "--no-tty", "--no-auto-key-retrieve", "--trust-model", "always", "--status-fd", "2"]
    command = ["gpg", "--homedir", str(home), *options, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def signed(envelope: Envelope, judge: Roster | None, admin: str | None = None) -> bool:
    """Whether a present admin of the roster `judge`, or only this one, signed a roster (§4)."""
    admins = [m for m in judge.members if m.role == "admin" and not m.removed] if judge else []
    admins = [m for m in admins if admin in (None, m.fingerprint)]
    with tempfile.TemporaryDirectory() as home:
        for member in admins:
            gpg(home, "--import", stdin=member.public_key)
        (file := Path(home) / "signature").write_bytes(envelope.signature)
        status = gpg(home, "--verify", str(file), "-", stdin=b"dedup1 roster" + envelope.payload)[2]
    verdicts = re.findall(r"^\[GNUPG:\] ([A-Z]+SIG) ", status, re.MULTILINE)
    # The last three fields: SHA-256, SHA-384 or SHA-512; a binary document; the primary fingerprint.
    valid = re.findall(r"^\[GNUPG:\] VALIDSIG .* (?:8|9|10) 00 (\S+)$", status, re.MULTILINE)
    once = sorted(set(verdicts) - {"NEWSIG"}) in (["GOODSIG", "VALIDSIG"], ["EXPKEYSIG", "VALIDSIG"])
    return (
        once
        and verdicts.count("VALIDSIG") == 1
        and {*valid} <= {m.fingerprint for m in admins}
        and bool(valid)
    )


def varints(pieces: Iterable[bytes]) -> Iterator[int]:
    """The numbers of a layout (§9)."""
    value = shift = count = 0
    for byte in itertools.chain.from_iterable(pieces):
        value |= (byte & 127) << shift
        shift += 7
        need(shift <= 63, "a number in the layout is too large")
        if byte < 128:
            need(byte > 0 or (shift == 7 and count == 0), "a zero or an overlong number in the layout")
            yield value
            value, shift, count = 0, 0, count + 1
    need(shift == 0, "the layout ends within a number")


class Reader:
    """One repository in a local folder, open for the admin whose secret key is in `gnupghome`.

    `admin` is the fingerprint that a human gives at first contact (§4); without it, roster 1 is taken on faith.
    Raises `DamageError`. Damage and alarms that do not stop the reader are told in `problems`, one line each.
    """

    def __init__(self, repository: Path, gnupghome: Path, admin: str | None = None) -> None:
        self.path = repository
        self.problems: list[str] = []
        self._blocks: dict[tuple[Path, int], bytes] = {}  # the last few, opened
        self._places: Places | None = None
        with reading(repository):
            self.roster = self._believe(admin.upper() if admin else None)
            unknown = set(self.roster.critical) - KNOWN_FLAGS
            need(self.roster.suite == 1 and not unknown, f"a newer program is needed, for {sorted(unknown)}")
            self.id = self.roster.repository
            self.members = {member.signing_key: member for member in self.roster.members}
            self._open_slot(gnupghome)

    @contextmanager
    def _noting(self, what: object) -> Iterator[None]:
        """Whatever fails inside is a problem, but does not stop the reader."""
        try:
            with reading(what):
                yield
        except DamageError as damage:
            self.problems.append(str(damage))

    def _roster_files(self) -> Iterator[RosterFile]:
        for path in sorted(self.path.glob("roster/" + "[0-9]" * 8)):
            with self._noting(path):
                raw = read(path, MAX_ROSTER)
                need(raw[:5] + raw[6:8] == b"dedupR\0", "not a roster")
                envelope = msgpack.decode(raw[8:], type=Envelope)
                roster = msgpack.decode(envelope.payload, type=Roster) if raw[5] == 1 else None
                if roster:
                    need(roster.serial == int(path.name), "its serial is not its name")
                    need(len({m.signing_key for m in roster.members}) == len(roster.members), "a key twice")
                yield RosterFile(path, hashlib.sha256(raw).digest(), envelope, roster)

    def _believe(self, admin: str | None) -> Roster:
        """The newest roster that is believed (§4)."""
        files = list(self._roster_files())
        firsts = files[::-1] if admin else [f for f in files if int(f.path.name) == 1]
        found = next((f for f in firsts if signed(f.envelope, f.roster, admin)), None)
        if found is None or found.roster is None:
            raise DamageError(f"no roster is signed by {admin or 'an admin of its own'}")
        last, roster = found.hash, found.roster
        self._hashes = {roster.serial: last, roster.serial - 1: roster.previous}
        for file in files[files.index(found) + 1 :]:
            if signed(file.envelope, roster):
                if file.roster is None:
                    raise DamageError(f"{file.path}: a newer program is needed")
                if (file.roster.previous, file.roster.repository) == (last, roster.repository):
                    last, roster = file.hash, file.roster
                    self._hashes[roster.serial] = last
                    continue
            self.problems.append(f"{file.path}: passed over, it does not follow roster {roster.serial}")
        return roster

    def _open_slot(self, home: Path) -> None:
        """Decrypt and verify the slot (§5) of an admin whose secret key is at hand."""
        lines = gpg(home, "--with-colons", "--list-secret-keys")[1].decode().splitlines()
        own = {b.split(":")[9] for a, b in itertools.pairwise(lines) if a.startswith("sec:")}
        admins = (m for m in self.roster.members if m.role == "admin" and not m.removed)
        mine = next((m for m in admins if m.fingerprint in own), None)
        if mine is None:
            raise DamageError(f"{home} has no secret key of a present admin")
        raw = read(self.path / "slots" / mine.slot.hex())
        need(raw[:8] == b"dedup\x01K\0", "the slot is of another format")
        status, plain, _ = gpg(home, "--max-output", str(MIB), "--decrypt", stdin=raw[8:])
        need(status == 0, "gpg cannot decrypt the slot")
        slot = msgpack.decode(plain, type=Slot)
        same = (slot.repository, slot.fingerprint, slot.role) == (self.id, mine.fingerprint, mine.role)
        public = Ed25519PrivateKey.from_private_bytes(slot.signing_key).public_key().public_bytes_raw()
        need(same and public == mine.signing_key, "the slot does not fit the roster")
        epochs = list(range(1, len(slot.sealing_keys) + 1))
        complete = sorted(slot.catalogue_keys) == sorted(slot.sealing_keys) == epochs
        need(complete and slot.epoch == len(epochs), "the slot lacks keys")
        # Chunks of contents, skeletons and layouts lie in data packs, list nodes in tree packs.
        node_key = blake3(slot.id_key, derive_key_context="dedup1 list node").digest()
        self._id_keys = {"D": slot.id_key, "T": node_key}
        self._catalogue_keys = slot.catalogue_keys
        self._sealing: dict[int, hpke.MLKEM768X25519PrivateKey] = {}
        public_keys = {epoch.number: epoch.sealing_key for epoch in self.roster.epochs}
        for epoch, private in slot.sealing_keys.items():
            lattice = MLKEM768PrivateKey.from_seed_bytes(private[:64])
            curve = X25519PrivateKey.from_private_bytes(private[64:])
            public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
            need(public == public_keys[epoch], f"another sealing key of epoch {epoch} in the slot")
            self._sealing[epoch] = hpke.MLKEM768X25519PrivateKey(lattice, curve)

    def _catalogue(self, path: Path, kind: str, type_: type[T]) -> tuple[Member, T]:
        """A catalogue file (§2, §3): the member who signed it, and its payload."""
        raw = read(path)
        header = raw[:HEADER]
        need(header[:8] == b"dedup\x01" + kind.encode() + b"\0", "not a file of this kind and version")
        need(header[8:24] == self.id, "a file of another repository")
        file_key = hkdf(
            self._catalogue_keys[number(header[24:28])], header[28:], b"dedup1 file" + kind.encode() + self.id
        )
        plain = AESGCM(file_key).decrypt(bytes(12), raw[HEADER:], header)
        end = 4 + number(plain[:4])
        zeros = len(plain) - end
        step = 4096 if len(raw) - zeros <= MIB else 65536
        need(zeros >= 0 and not any(plain[end:]) and zeros == (zeros - len(raw)) % step, "odd padding")
        body = inflate(plain[4:end], MAX_FILE)
        signer, signature, payload = self.members[body[:32]], body[32:96], body[96:]
        text = b"dedup1 signed" + header + payload
        Ed25519PublicKey.from_public_bytes(signer.signing_key).verify(signature, text)
        need(signer.role in SIGNERS[kind], f"signed by a {signer.role}, who may not")
        return signer, msgpack.decode(payload, type=type_)

    def _every(
        self, kind: str, type_: type[T], names: str = "[0-9a-f]{64}"
    ) -> Iterator[tuple[str, Member, T]]:
        """(name, signer, payload) of every good file of a folder; the others become problems."""
        for path in sorted(self.path.joinpath(FOLDERS[kind]).glob("*")):
            if re.fullmatch(names, path.name):
                found = None
                with self._noting(path):
                    found = self._catalogue(path, kind, type_)
                if found:
                    yield path.name, *found

    def snapshots(self) -> dict[str, Snapshot]:
        """The snapshots that count (§10, §11), by name in hex, oldest first."""
        stones = {stone.snapshot: stone.previous for _, _, stone in self._every("Z", Tombstone)}
        done: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)  # (run, signer) → snapshots
        for name, member, record in self._every("E", Done, "[0-9a-f]{32}-[0-9a-f]{64}[.]done"):
            with self._noting(f"runs/{name}"):
                need(record.run.hex() == name[:32], "of another run than its name says")
                done[record.run, member.signing_key].add(record.snapshot)
        signed_by: dict[bytes, dict[bytes, Snapshot]] = defaultdict(dict)
        for name, member, snapshot in self._every("S", Snapshot):
            mine, key = bytes.fromhex(name), (snapshot.run, member.signing_key)
            if mine in done[key] and b"" not in done[key] and mine not in stones:
                with self._noting(f"snapshots/{name}"):
                    need(snapshot.domain == member.domain, "not in its signer's domain")
                    streams = [stream.name for stream in snapshot.streams]
                    need(len({*streams, ".", ".."}) == len(streams) + 2, "odd names of streams")
                    need(all(len(stream.encode()) < 256 for stream in streams), "too long a name of a stream")
                    signed_by[member.signing_key][mine] = snapshot
        for member in self.roster.members:
            if member.removed:
                own, last, chain = signed_by[member.signing_key], member.last_snapshot, set[bytes]()
                while last and last not in chain:
                    chain.add(last)
                    last = (
                        own[last].heads.get(member.signing_key, (0, b""))[1]
                        if last in own
                        else stones.get(last, b"")
                    )
                signed_by[member.signing_key] = {name: own[name] for name in own if name in chain}
        counting = {name: snapshot for own in signed_by.values() for name, snapshot in own.items()}
        self._alarms(counting, stones)
        for own in signed_by.values():
            if len({snapshot.sequence for snapshot in own.values()}) < len(own):
                self.problems.append("ALARM: two snapshots of one signer have one sequence number")
        ordered = sorted(counting.items(), key=lambda item: (item[1].time, item[0]))
        return {name.hex(): snapshot for name, snapshot in ordered}
