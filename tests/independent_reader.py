"""A second reader of the repository format, written from `docs/format.md` alone; § is a section of that page.

It shares no code with the packages, so that a repository stays readable without them and the page is proved
to be enough. Invariant: no byte is given out that was not verified, and nothing is allocated before its size
was bounded. Speed and memory are not its aim, and it keeps no state: it pins nothing and raises no alarms.
"""

import hashlib
import io
import itertools
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta, MsgspecError, defstruct, msgpack

KIB, MIB, HEADER, TRAILER = 1 << 10, 1 << 20, 60, 8
MAX_CHUNK, MAX_BLOCK, MAX_FILE, MAX_PACK_CHUNKS = 2 * MIB, 4 * MIB, 64 * MIB, 256 * KIB
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
number = partial(int.from_bytes, byteorder="little")
HASH, RUN = "[0-9a-f]{64}", "[0-9a-f]{32}"
BROKEN = (InvalidTag, InvalidSignature, MsgspecError, zstandard.ZstdError, OSError, ValueError, LookupError)


class DamageError(ValueError):
    """What was read breaks the format or fails a check. The text says what and where."""


class NewerError(Exception):
    """A newer program is needed (§2, §4)."""


def need(condition: object, text: str, kind: type[Exception] = DamageError) -> None:
    if not condition:
        raise kind(text)


def sized(kind: Any, least: int, most: int) -> Any:
    return Annotated[kind, Meta(min_length=least, max_length=most)]


def record(**fields: Any) -> Any:
    """The shape of a MessagePack map: keys that must be there, with their types. Others are ignored."""
    return defstruct("Record", fields.items())


# Shapes of §4, §5, §7, §8, §10 and §11, as far as a reader needs them.
Id, Bytes16, Text = sized(bytes, 32, 32), sized(bytes, 16, 16), sized(str, 0, 255)
Count, Sequence = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)], Annotated[int, Meta(ge=0, lt=1 << 53)]
Time, Offset = Annotated[int, Meta(ge=0, le=253_402_214_399)], Annotated[int, Meta(gt=-86_400, lt=86_400)]
EpochNumber, Size = Annotated[int, Meta(ge=1, lt=1 << 32)], Annotated[int, Meta(ge=0, le=MAX_FILE)]
Role, PackKind = Literal["admin", "writer", "pruner", "reader"], Literal["D", "T"]
Root = tuple[Annotated[int, Meta(ge=0, le=8)], bytes, Count, Annotated[int, Meta(ge=0, le=256)]]
SEGMENT = r"(?!\.\.?(/|\Z))[^/\x00-\x1f\x7f-\x9f\u2028\u2029]+"
Name = Annotated[str, Meta(pattern=rf"^{SEGMENT}(/{SEGMENT})*\Z")]

Envelope, Link = record(payload=bytes, signature=bytes), record(serial=Count, previous=bytes)
Features = record(read=list[str], write=list[str], optional=list[str])
Epoch = record(number=EpochNumber, suite=Count, sealing_key=bytes)
IDENTITY = {"fingerprint": str, "role": Role, "signing_key": bytes}
FILES = {"slot": Id, "public_key": bytes, "closing": bytes}
Member = record(**IDENTITY, **FILES, suite=Count, domain=Text, removed=Count)
ROSTER = {"format": Literal[1], "repository": Bytes16, "serial": Count, "previous": bytes}
Roster = record(**ROSTER, features=Features, epochs=list[Epoch], members=list[Member])
EPOCH_KEYS = {"catalogue_keys": dict[int, bytes], "sealing_keys": dict[int, bytes]}
Slot = record(**IDENTITY, repository=Bytes16, epoch=EpochNumber, id_key=Id, **EPOCH_KEYS)
Signed, Wrapped = tuple[Id, bytes, bytes], sized(bytes, 48, 4096)  # signer, signature, payload
Table = record(key=Bytes16, kind=PackKind, domain=Text, blocks=bytes, ids=bytes, lengths=bytes)
Key = tuple[Bytes16, Annotated[tuple[tuple[EpochNumber, Wrapped], ...], Meta(min_length=1, max_length=64)]]
TABLES = {"blocks": sized(bytes, 0, 8 << 15), "tables": sized(list[Signed], 1, 1024)}
Pack = record(name=Id, kind=PackKind, size=Size, keys=sized(list[Key], 1, 1024), **TABLES)
Index, Ledger = record(domain=Text, packs=sized(list[Pack], 0, 256)), record(done=bytes)
PARTS = {"content": Root, "skeleton": Root, "layout": Root, "facts": sized(bytes, 0, 16 * KIB)}
Stream = record(name=Name, kind=Text, size=Count, **PARTS)
Streams = sized(list[Stream], 0, 16 * KIB)
ABOUT = {"run": Bytes16, "domain": Text, "sequence": Sequence, "time": Time, "utc_offset": Offset}
Snapshot = defstruct("S", [*ABOUT.items(), ("streams", Streams), ("origin", dict[str, Any] | None, None)])
Done = record(run=Bytes16, snapshots=sized(bytes, 0, 32 << 10), index=sized(bytes, 0, 32 << 16))
Tombstones, Closing = record(snapshots=bytes), record(signer=Id, snapshots=bytes, index=bytes, records=bytes)

# Of each kind of catalogue file: its folder, names, who may sign it, the most bytes of its frame, its shape.
KINDS: dict[str, tuple[str, str, str, int, Any]] = {
    "I": ("index", HASH, "writer admin pruner", 8 * MIB, Index),
    "S": ("snapshots", HASH, "writer admin", 8 * MIB, Snapshot),
    "E": ("runs", f"{RUN}-{HASH}[.]done", "writer admin", 4 * MIB, Done),
    "G": ("ledgers", HASH, "pruner admin", 4 * MIB, Ledger),
    "L": ("closings", HASH, "admin", 4 * MIB, Closing),
    "Z": ("tombstones", HASH, "pruner admin", 4 * MIB, Tombstones),
}


def split(column: bytes, width: int) -> list[bytes]:
    need(len(column) % width == 0, "a column is cut short")
    return [column[i : i + width] for i in range(0, len(column), width)]


def read(path: Path, kind: str, limit: int = MAX_FILE) -> bytes:
    """A whole file of at most `limit` bytes; a hash in its name must be its own (§1, §2)."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    need(len(data) <= limit, f"larger than {limit} bytes")
    named = re.findall(HASH, path.name)
    need(named in ([], [hashlib.sha256(data).hexdigest()]), "its name is not its hash")
    need(not named or data[:5] != b"dedup" or data[5:6] <= b"\1", f"of format {data[5:6].hex()}", NewerError)
    need(data[:8] == b"dedup\1" + kind.encode() + b"\0", "does not begin as a file of its kind")
    return data


def inflate(data: bytes, limit: int) -> bytes:
    """One whole Zstandard frame; the size that it states is checked before it is allocated."""
    need(0 < zstandard.frame_content_size(data) <= limit, "a Zstandard frame states no good size")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


def gpg(home: str | Path, *arguments: str, stdin: bytes = b"") -> Any:
    """Run gpg; its status lines are in `stderr`."""
    options = "--batch --no-tty --trust-model always --status-fd 2 --logger-file /dev/null --homedir"
    command = ["gpg", *options.split(), str(home), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def signed(envelope: Any, judge: Any, only: str = "") -> bool:
    """Whether an admin who is in the roster `judge`, or only that one, signed a roster (§4)."""
    able = [m for m in judge.members if (m.role, m.removed) == ("admin", 0) and only in ("", m.fingerprint)]
    clock = ("--faked-system-time", "20991231T000000!")  # nothing comes from the future then
    with tempfile.TemporaryDirectory() as home:
        for member in able:
            gpg(home, *clock, "--import", stdin=member.public_key)
        (file := Path(home) / "signature").write_bytes(envelope.signature)
        verify = gpg(home, *clock, "--verify", str(file), "-", stdin=b"dedup1 roster" + envelope.payload)
    status = verify.stderr.decode("utf-8", "replace")
    verdicts = re.findall(r"^\[GNUPG:\] ([A-Z]+SIG) ", status, re.MULTILINE)
    # The fields: no expiry; SHA-256, -384 or -512; class 0x00; the primary key's fingerprint.
    valid = r"^\[GNUPG:\] VALIDSIG \S+ \S+ \S+ 0 \S+ \S+ \S+ (?:8|9|10) 00 (\S+)$"
    signers = re.findall(valid, status, re.MULTILINE)
    good = [v for v in verdicts if v != "NEWSIG"] in (["GOODSIG", "VALIDSIG"], ["EXPKEYSIG", "VALIDSIG"])
    return good and signers in [[m.fingerprint] for m in able]


def lasting(roster: Any) -> set[Any]:
    """What later rosters must keep: members, that some of them were removed, epochs (§4)."""
    members = {(m.signing_key, m.fingerprint, m.role, m.domain, m.suite) for m in roster.members}
    gone = {m.signing_key for m in roster.members if m.removed}
    return members | gone | {(e.number, e.suite, e.sealing_key) for e in roster.epochs}


def varints(data: bytes, first: bool) -> Iterator[int]:
    """The numbers in a chunk of a layout (§9); only the first of all may be 0."""
    for i, match in enumerate(re.finditer(rb"[\x80-\xff]*[\x00-\x7f]|[\x80-\xff]+", data)):
        need(len(match[0]) <= 9 and match[0][-1] < 128, "a number is too long or cut off")
        need(match[0][-1] > 0 or (first and i == 0 and match[0] == b"\0"), "a zero, or an overlong number")
        yield sum((byte & 127) << 7 * k for k, byte in enumerate(match[0]))


class Reader:
    """One repository in a local folder, open for the admin or reader whose secret key is in `gnupghome`.

    `admin` is the fingerprint that a human gives at first contact (§4); without it, roster 1 is taken on faith.
    What does not stop it is noted, a line each: damage in `problems`, files that are passed over in `newer`.
    """

    def __init__(self, repository: Path, gnupghome: Path, admin: str = "") -> None:
        self.path, self.problems, self.newer = repository, list[str](), list[str]()
        # (domain, kind, short id) → places of a chunk: its block (as `_open` takes it), its start and end there
        self._places: dict[Any, list[list[Any]]] = {}
        self._block = lru_cache(1)(self._open)
        try:
            self.roster = self._believe(admin.upper())
            self.id: bytes = self.roster.repository
            self.members = {hashlib.sha256(m.signing_key).digest(): m for m in self.roster.members}
            need(len(self.members) == len(self.roster.members), "a signing key twice")
            self._epochs = {epoch.number: epoch for epoch in self.roster.epochs}
            self._open_slot(gnupghome)
        except BROKEN as error:
            raise DamageError(f"{repository}: {str(error) or type(error).__name__}") from error
        self._closed: dict[bytes, set[bytes]] = {}  # of each removed signer, what counts
        self._read_closings()
        self._read_places()

    @contextmanager
    def _noting(self, what: object) -> Iterator[None]:
        """What fails inside is noted, as damage of `what` or as the need of a newer program."""
        try:
            yield
        except (NewerError, RecursionError, *BROKEN) as error:
            notes = self.newer if isinstance(error, NewerError) else self.problems
            notes.append(f"{what}: {str(error) or type(error).__name__}")

    def _believe(self, admin: str) -> Any:
        """The newest roster that is believed (§4)."""
        files: list[tuple[Path, bytes, Any, Any]] = []
        for path in sorted(self.path.glob("roster/" + "[0-9]" * 8)):
            with self._noting(path), path.open("rb") as file:
                raw = file.read(MIB + 1)
                need(raw[:5] + raw[6:8] == b"dedupR\0" and raw[5] and len(raw) <= MIB, "not a roster")
                envelope = msgpack.decode(raw[8:], type=Envelope)
                roster = msgpack.decode(envelope.payload, type=Roster if raw[5] == 1 else Link)
                need(roster.serial == int(path.name) > 0, "its serial is not its name")
                files.append((path, hashlib.sha256(raw).digest(), envelope, roster))
        firsts = files[::-1] if admin else [file for file in files if int(file[0].name) == 1]
        own = [file for file in firsts if isinstance(file[3], Roster) and signed(file[2], file[3], admin)][:1]
        need(own, f"no roster is signed by {admin or 'an admin of its own'}")
        _, last, _, believed = own[0]
        for path, digest, envelope, roster in files[files.index(own[0]) + 1 :]:
            with self._noting(path):
                follows = roster.previous == last and signed(envelope, believed)
                need(follows, "it does not follow, or no admin of the roster before it signed it")
                need(isinstance(roster, Roster), "a roster of a newer format", NewerError)
                need(lasting(believed) <= lasting(roster), "it drops or changes what must stay")
                last, believed = digest, roster
        flags = ", ".join(believed.features.read)  # the page knows none of this class
        need(not flags, f"a newer program is needed, for {flags}", NewerError)
        return believed

    def _open_slot(self, home: Path) -> None:
        """Decrypt and verify the slot (§5) of an admin or reader whose secret key is at hand."""
        lines = gpg(home, "--with-colons", "--list-secret-keys").stdout.decode().splitlines()
        own = {b.split(":")[9] for a, b in itertools.pairwise(lines) if a.startswith("sec:")}
        able = [m for m in self.roster.members if m.role in ("admin", "reader") and not m.removed]
        mine, *_ = [m for m in able if m.fingerprint in own] or [None]
        need(mine, f"{home} has no secret key of a present admin or reader")
        raw = read(self.path / "slots" / mine.slot.hex(), "K")
        opened = gpg(home, "--max-output", str(MIB), "--decrypt", stdin=raw[8:])
        need(opened.returncode == 0, "gpg cannot decrypt the slot")
        slot = msgpack.decode(opened.stdout, type=Slot)
        same = (slot.repository, slot.fingerprint, slot.role) == (self.id, mine.fingerprint, mine.role)
        if mine.suite == 1:
            signing_key = ed25519.Ed25519PrivateKey.from_private_bytes(slot.signing_key)
            same &= signing_key.public_key().public_bytes_raw() == mine.signing_key
        epochs = [epoch for epoch in sorted(self._epochs) if epoch <= slot.epoch]
        same &= sorted(slot.catalogue_keys) == sorted(slot.sealing_keys) == epochs
        self._sealing, self._catalogue_keys = {}, slot.catalogue_keys
        for epoch, private in slot.sealing_keys.items():
            if self._epochs[epoch].suite == 1:
                lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(private[:64])
                curve = x25519.X25519PrivateKey.from_private_bytes(private[64:])
                public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
                same &= public == self._epochs[epoch].sealing_key
                self._sealing[epoch] = hpke.MLKEM768X25519PrivateKey(lattice, curve)
        need(same and slot.epoch in epochs, "the slot does not fit the roster")
        node_key = blake3(slot.id_key, derive_key_context="dedup1 list node").digest()
        self._id_keys = {"D": slot.id_key, "T": node_key}  # tree packs hold list nodes, data packs the rest

    def _derive(self, epoch: int, salt: bytes, info: bytes) -> AESGCM:
        """The cipher of a key that comes from the catalogue key of an epoch (§3)."""
        need(self._epochs[epoch].suite == 1, f"its epoch {epoch} is of another suite", NewerError)
        return AESGCM(HKDF(hashes.SHA256(), 32, salt, info).derive(self._catalogue_keys[epoch]))

    def _verify(self, signed: Any, prefix: bytes, roles: str) -> Any:
        """The member, present or former, who signed this (§3)."""
        member: Any = self.members.get(signed[0])
        need(member and member.role in roles, "not signed by a member who may")
        need(member.suite == 1, "its signer's key is of another suite", NewerError)
        ed25519.Ed25519PublicKey.from_public_bytes(member.signing_key).verify(signed[1], prefix + signed[2])
        return member

    def _unseal(self, header: bytes, data: bytes, associated: bytes, limit: int) -> bytes:
        """What a file's encrypted part holds (§3): decrypted, its padding checked, its frame unpacked."""
        need(len(header) == HEADER and header[8:24] == self.id, "it is of another repository")
        cipher = self._derive(number(header[24:28]), header[28:], b"dedup1 file" + header[6:7] + self.id)
        plaintext = cipher.decrypt(bytes(12), data, associated)
        end = 4 + number(plaintext[:4])
        need(end <= len(plaintext) and not any(plaintext[end:]), "its padding is odd")
        return inflate(plaintext[4:end], limit)

    def records(self, kind: str) -> Iterator[tuple[bytes, bytes, Any]]:
        """(hash, signer, payload) of every good catalogue file of a kind (§2, §3); the others are noted."""
        folder, names, signers, limit, shape = KINDS[kind]
        for path in sorted(p for p in self.path.glob(f"{folder}/*") if re.fullmatch(names, p.name)):
            with self._noting(path):
                raw = read(path, kind, 9 * MIB)
                header, most = raw[:HEADER], min(64 * KIB + 64 * len(raw), limit)
                signed = msgpack.decode(self._unseal(header, raw[HEADER:], header, most), type=Signed)
                self._verify(signed, b"dedup1 signed" + header, signers)
                payload = msgpack.decode(signed[2], type=shape)
                need(kind not in "UENF" or payload.run.hex() == path.name[:32], "of another run")
                name = hashlib.sha256(raw).digest()
                if kind not in "GZ" or name in self._closed.get(signed[0], {name}):
                    yield name, signed[0], payload

    def _read_closings(self) -> None:  # of each removed signer, what counts (§4)
        lists = {name: closing for name, _, closing in self.records("L")}
        for signer, member in ((s, member) for s, member in self.members.items() if member.removed):
            self._closed[signer] = set()
            with self._noting(f"closing list of {member.fingerprint}, missing or damaged"):
                for one in [lists[member.closing]] if member.closing else []:
                    need(one.signer == signer, "it is of another signer")
                    self._closed[signer] = {*split(one.snapshots + one.index + one.records, 32)}

    def snapshots(self) -> dict[str, Any]:
        """The snapshots that count (§10, §11), oldest first, by name in hex."""
        present, done = [*self.records("S")], set[bytes]()  # of each: run, signer, snapshot
        done |= {e.run + signer + n for _, signer, e in self.records("E") for n in split(e.snapshots, 32)}
        done |= {row for _, _, ledger in self.records("G") for row in split(ledger.done, 80)}
        stones = {row[:32] for _, _, stones in self.records("Z") for row in split(stones.snapshots, 104)}
        domains, counting = {member.domain for member in self.roster.members}, []
        for name, signer, snapshot in present:
            finished = snapshot.run + signer + name in done and name not in stones
            if finished and name in self._closed.get(signer, {name}):
                with self._noting(f"snapshots/{name.hex()}"):
                    member, streams = self.members[signer], snapshot.streams
                    copied = member.role == "admin" and snapshot.origin and snapshot.domain in domains
                    need(snapshot.domain == member.domain or copied, "not in its signer's domain")
                    names = {stream.name for stream in streams if len(stream.name.encode()) <= 255}
                    need(len(names) == len(streams) and snapshot.sequence, "odd names, or no number")
                    counting.append((snapshot.time, name.hex(), snapshot))
        return {name: snapshot for _, name, snapshot in sorted(counting, key=lambda one: one[:2])}

    def _read_places(self) -> None:
        for name, signer, index in self.records("I"):
            with self._noting(f"index/{name.hex()}"):
                member = self.members[signer]
                need(member.role != "writer" or index.domain == member.domain, "not in its signer's domain")
                if name in self._closed.get(signer, {name}):
                    found = (place for pack in index.packs for place in self._describe(pack, index.domain))
                    places = [*itertools.islice(found, MAX_PACK_CHUNKS + 1)]
                    need(len(places) <= MAX_PACK_CHUNKS, "too many chunks")
                    for chunk, *place in places:
                        self._places.setdefault((index.domain, *chunk), []).append(place)

    def _describe(self, pack: Any, domain: str) -> Iterator[tuple[Any, ...]]:
        """The chunks in a pack (kind and short id) and their places, as its tables say (§7), in file order."""
        tables, at = [self._table(one, pack.kind, domain) for one in pack.tables], HEADER
        need([k for k, _ in pack.keys] == [k for k, _ in tables] == [*dict(tables)], "other tables than keys")
        for row in split(pack.blocks, 8):
            key, born = number(row[:4]), number(row[4:])
            stored, seal, chunks = tables[key][1][born]
            block = pack.name, pack.kind, pack.keys[key], born, at, stored, seal, sum(n for _, n in chunks)
            start, at = 0, at + stored
            need(at <= pack.size - TRAILER, "blocks beyond the end of their pack")
            for name, size in chunks:
                yield (pack.kind, name), block, start, start + size
                start += size

    def _table(self, signed: Any, kind: str, domain: str) -> tuple[bytes, list[Any]]:
        """The key of a table (§7) and, by number, its blocks: stored bytes, seal, chunks (short id, length)."""
        member = self._verify(signed, b"dedup1 table" + self.id, "writer admin")
        table, blocks = msgpack.decode(signed[2], type=Table), []
        need((table.domain, table.kind) == (domain, kind), "a table of another domain or kind")
        need(member.role == "admin" or member.domain == domain, "a table that is not of its signer's domain")
        chunks = iter([*zip(split(table.ids, 16), map(number, split(table.lengths, 4)), strict=True)])
        for row in split(table.blocks, 24):
            stored, count, seal = number(row[:4]), number(row[4:8]), row[8:]
            held = [*itertools.islice(chunks, count)]
            good = len(held) == count > 0 and all(0 < size <= MAX_CHUNK for _, size in held)
            need(good and stored > 17 and sum(n for _, n in held) <= MAX_BLOCK, "an odd block in a table")
            blocks.append((stored, seal, held))
        need(next(chunks, None) is None, "chunks of no block")
        return table.key, blocks

    def _open(self, block: Any) -> bytes:
        """The chunks of a block, joined (§7); of the sealings of its key, the first that opens is taken (§3)."""
        (pack, kind, (key_id, sealings), born, at, stored, seal, size), key = block, b""
        for epoch, sealed in sealings:
            with suppress(*BROKEN, NewerError):
                if kind == "T":
                    cipher = self._derive(epoch, sealed[:32], b"dedup1 tree key" + self.id + key_id)
                    key = key or cipher.decrypt(bytes(12), sealed[32:], None)
                else:
                    info = b"dedup1 data key" + self.id + epoch.to_bytes(4, "little") + key_id
                    key = key or SUITE.decrypt(sealed, self._sealing[epoch], info=info)
        need(len(key) == 32, "no sealing of its key opens")
        with (self.path / {"D": "data", "T": "tree"}[kind] / pack.hex()[:2] / pack.hex()).open("rb") as file:
            file.seek(at)
            data = file.read(stored)
        need(blake3(data).digest(16) == seal, "it is not the block of its table")
        associated = b"dedup1 block" + kind.encode() + self.id + key_id + born.to_bytes(8, "little")
        plaintext = AESGCM(key).decrypt(born.to_bytes(12, "little"), data, associated)
        need(plaintext[:1] in (b"\0", b"\1"), "an unknown codec")
        chunks = inflate(plaintext[1:], size) if plaintext[0] else plaintext[1:]
        need(len(chunks) == size, "it is not as long as its chunks")
        return chunks

    def _chunk(self, domain: str, kind: str, name: bytes, size: int) -> bytes:
        """A chunk, from the first place that is good (§8)."""
        for block, start, end in self._places.get((domain, kind, name[:16]), []):
            with self._noting(f"pack {block[0].hex()}, block at {block[4]}"):
                chunk = self._block(block)[start:end]
                good = len(chunk) == size and blake3(chunk, key=self._id_keys[kind]).digest() == name
                need(good, "a chunk is not its id, or of another length")
                return chunk
        raise DamageError(f"chunk {name.hex()}: no good copy in the index of domain {domain!r}")

    def _sequence(self, domain: str, root: Any, covers: Any = ()) -> Iterator[tuple[bytes, Any]]:
        """The chunks below a root, or an entry (§9); of a layout, with the skeleton and content each `covers`."""
        depth, name, size, count = root
        need(len(name) == (32 if size else 0) and bool(count) == bool(depth) <= bool(size), "an odd root")
        if depth == 0:
            yield from [(self._chunk(domain, "D", name, size), covers)] if size else []
            return
        form = "<32s" + ("QI" if depth > 1 else "I") + "QQ"[: len(covers)]
        rows = [*struct.iter_unpack(form, self._chunk(domain, "T", name, count * struct.calcsize(form)))]
        below = [(depth - 1, row[0], row[1], row[2] if depth > 1 else 0) for row in rows]
        sums = [row[len(row) - len(covers) :] for row in rows]
        good = sum(one[2] for one in below) == size and tuple(map(sum, zip(*sums, strict=True))) == covers
        good &= all(0 < one[2] <= (size if one[0] else MAX_CHUNK) and one[3] <= 256 for one in below)
        good &= not covers or len(rows) == 1 or all(map(sum, sums))
        need(good, f"list node {name.hex()} is not what the one above it says")
        for one, covered in zip(below, sums, strict=True):
            yield from self._sequence(domain, one, covered)

    def restore(self, snapshot: Any, name: str) -> bytes:
        """A stream of a snapshot (§9, §10)."""
        stream, *_ = [stream for stream in snapshot.streams if stream.name == name] or [None]
        need(stream, f"no stream {name!r} in this snapshot")
        domain, covers, left = snapshot.domain, (stream.skeleton[2], stream.content[2]), stream.layout[2]
        need(stream.size == sum(covers) and (left or not covers[0]), f"{name}: sizes do not agree")
        parts = [b"".join(c for c, _ in self._sequence(domain, r)) for r in (stream.skeleton, stream.content)]
        pieces, sources = [] if left else parts[1:], itertools.cycle([*map(io.BytesIO, parts)])
        for chunk, sums in self._sequence(domain, stream.layout, covers):
            numbers, left = [*varints(chunk, left == stream.layout[2])], left - len(chunk)
            good = (sum(numbers[::2]), sum(numbers[1::2])) == sums and (len(numbers) % 2 == 0 or not left)
            need(good, f"{name}: a chunk of the layout covers something else")
            pieces += [source.read(size) for size, source in zip(numbers, sources, strict=False)]
        return b"".join(pieces)


def main() -> None:
    """`REPOSITORY GNUPGHOME list` or `REPOSITORY GNUPGHOME restore SNAPSHOT NAME > out`."""
    repository, home, command, *rest = sys.argv[1:]
    try:
        reader = Reader(Path(repository), Path(home))
        snapshots = reader.snapshots()
        sys.stderr.writelines(f"{line}\n" for line in reader.problems + reader.newer)
        if command == "restore":
            sys.stdout.buffer.write(reader.restore(snapshots[rest[0]], rest[1]))
        for name, snapshot in snapshots.items() if command == "list" else ():
            for stream in snapshot.streams:
                print(name, snapshot.time + snapshot.utc_offset, snapshot.domain, stream.size, stream.name)
    except (DamageError, NewerError) as error:
        sys.exit(f"independent_reader: {error}")


if __name__ == "__main__":
    main()
