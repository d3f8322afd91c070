"""A second reader of the repository format, written from `docs/format.md` alone; § is a section of that page.

It shares no code with the packages, so that a repository stays readable without them and the page is proved
to be enough. Invariant: no byte is given out that was not verified, and nothing is allocated before its size
was bounded. Speed and memory are not its aim, and it keeps no state: it pins nothing and raises no alarms.
"""

import hashlib
import io
import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
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

MIB = 1 << 20
MAX_FILE, MAX_BLOCK, MAX_CHUNK, MAX_ENTRIES, HEADER, TRAILER = 64 * MIB, 4 * MIB, 2 * MIB, 256, 60, 16
SEALED = {"D": 1168, "T": 32}  # bytes of a pack's sealed key
FOLDERS = {"D": "data", "T": "tree", "I": "index", "S": "snapshots", "E": "runs", "Z": "tombstones"}
SIGNERS = {"I": "writer admin pruner", "S": "writer admin", "E": "writer admin", "Z": "pruner admin"}  # §3
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
number = partial(int.from_bytes, byteorder="little")
HASH = "[0-9a-f]{64}"
BROKEN = (InvalidTag, InvalidSignature, MsgspecError, zstandard.ZstdError, OSError, ValueError, LookupError)


class DamageError(ValueError):
    """What was read breaks the format or fails a check. The text says what and where."""


def need(condition: bool, text: str) -> None:
    if not condition:
        raise DamageError(text)


@contextmanager
def reading(what: object, problems: list[str] | None = None) -> Iterator[None]:
    """Whatever fails inside is damage of `what`: raised, or only noted among `problems`."""
    try:
        yield
    except (*BROKEN, RecursionError) as error:
        damage = DamageError(f"{what}: {error or type(error).__name__}")
        if problems is None:
            raise damage from error
        problems.append(str(damage))


def record(**fields: Any) -> Any:
    """The shape of a MessagePack map: keys that must be there, with their types. Others are ignored."""
    return defstruct("Record", fields.items())


# Shapes of §4, §5, §8 and §10 to §12, as far as a reader needs them.
array = list.__class_getitem__  # mypy does not let a record stand in list[...]
Id = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Time = Annotated[int, Meta(ge=-(1 << 40), le=1 << 40)]
Keys = Annotated[list[tuple[Bytes16, Annotated[int, Meta(ge=0, lt=1 << 32)], bytes]], Meta(max_length=1024)]
Entry = tuple[Count, Count, Annotated[int, Meta(ge=18, le=MAX_BLOCK + 17)], Annotated[int, Meta(ge=1)]]
Root = tuple[Annotated[int, Meta(ge=0, le=8)], bytes, Count]
Name = Annotated[str, Meta(pattern=r"^[^/\x00-\x1f\x7f-\x9f]+\Z")]

Envelope = record(payload=bytes, signature=bytes)
Epoch = record(number=Count, sealing_key=bytes)
IDENTITY = {"fingerprint": str, "role": Literal["admin", "writer", "pruner"], "signing_key": Id}
Member = record(**IDENTITY, domain=str, slot=Id, public_key=bytes, removed=Count, last_snapshot=bytes)
ROSTER = {"format": int, "suite": int, "repository": Bytes16, "serial": Count, "previous": bytes}
Roster = record(**ROSTER, critical=list[str], epochs=array(Epoch), members=array(Member))
EPOCH_KEYS = {"catalogue_keys": dict[int, Id], "sealing_keys": dict[int, bytes]}
Slot = record(**IDENTITY, repository=Bytes16, epoch=Count, id_key=Id, **EPOCH_KEYS)
TABLE = {"keys": Keys, "blocks": list[Entry], "ids": bytes, "lengths": bytes}
Pack = record(name=Id, kind=Literal["D", "T"], size=Annotated[int, Meta(ge=0, le=MAX_FILE)], **TABLE)
Index = record(domain=str, time=Time, packs=array(Pack))
Stream = record(name=Name, size=Count, content=Root, skeleton=Root, layout=Root)
RUN = {"run": Bytes16, "domain": str, "sequence": Annotated[int, Meta(ge=1)], "time": Time}
Snapshot = record(**RUN, utc_offset=Time, heads=dict[Id, tuple[Count, Id]], streams=array(Stream))
Done = record(run=Bytes16, snapshot=bytes)
Tombstone = record(snapshot=Id, previous=bytes)

# Where a chunk is: its pack, the block's offset, unpacked size and table entry, its start and end in the block.
Place = tuple[Any, int, int, tuple[int, int, int, int], int, int]


def split(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def read(path: Path, limit: int = MAX_FILE) -> bytes:
    """A whole file of at most `limit` bytes; a hash in its name must be its own."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    need(len(data) <= limit, f"larger than {limit} bytes")
    need(re.findall(HASH, path.name) in ([], [hashlib.sha256(data).hexdigest()]), "its name is not its hash")
    return data


def inflate(data: bytes, limit: int) -> bytes:
    """One whole Zstandard frame; the size that it states is checked before it is allocated."""
    need(0 < zstandard.frame_content_size(data) <= limit, "a Zstandard frame states no good size")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


def gpg(home: str | Path, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run gpg: its exit status, its output, its status lines."""
    options = ["--batch", "--no-tty", "--no-auto-key-retrieve", "--trust-model", "always"]
    options += ["--status-fd", "2", "--logger-file", "/dev/null"]
    command = ["gpg", "--homedir", str(home), *options, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def signed(envelope: Any, judge: Any, admin: str | None = None) -> bool:
    """Whether a present admin of the roster `judge`, or only that one admin, signed a roster (§4)."""
    admins = [m for m in judge.members if m.role == "admin" and not m.removed] if judge else []
    admins = [m for m in admins if admin in (None, m.fingerprint)]
    with tempfile.TemporaryDirectory() as home:
        for member in admins:
            gpg(home, "--import", stdin=member.public_key)
        (file := Path(home) / "signature").write_bytes(envelope.signature)
        status = gpg(home, "--verify", str(file), "-", stdin=b"dedup1 roster" + envelope.payload)[2]
    verdicts = re.findall(r"^\[GNUPG:\] ([A-Z]+SIG) ", status, re.MULTILINE)
    # The fields at the end: SHA-256, -384 or -512; class 0x00; the primary key's fingerprint.
    signers = re.findall(r"^\[GNUPG:\] VALIDSIG .* (?:8|9|10) 00 (\S+)$", status, re.MULTILINE)
    good = [v for v in verdicts if v != "NEWSIG"] in (["GOODSIG", "VALIDSIG"], ["EXPKEYSIG", "VALIDSIG"])
    return good and signers in [[m.fingerprint] for m in admins]


def varints(data: bytes) -> Iterator[int]:
    """The numbers of a layout (§9)."""
    for i, match in enumerate(re.finditer(rb"[\x80-\xff]*[\x00-\x7f]|[\x80-\xff]+", data)):
        need(len(match[0]) <= 9 and match[0][-1] < 128, "a number in the layout is too long or cut off")
        need(match[0][-1] > 0 or (i == 0 and match[0] == b"\0"), "a zero or an overlong number in the layout")
        yield sum((byte & 127) << 7 * k for k, byte in enumerate(match[0]))


class Reader:
    """One repository in a local folder, open for the admin whose secret key is in `gnupghome`.

    `admin` is the fingerprint that a human gives at first contact (§4); without it, roster 1 is taken on faith.
    Raises `DamageError`. Damage that does not stop the reader is told in `problems`, one line each.
    """

    def __init__(self, repository: Path, gnupghome: Path, admin: str | None = None) -> None:
        self.path = repository
        self.problems: list[str] = []
        self._places: dict[tuple[str, str, bytes], list[Place]] = defaultdict(list)
        self._opened: tuple[tuple[bytes, int], bytes] = (b"", 0), b""  # the last block: pack, offset; bytes
        with reading(repository):
            self.roster = self._believe(admin.upper() if admin else None)
            self.id: bytes = self.roster.repository
            self.members = {member.signing_key: member for member in self.roster.members}
            self._open_slot(gnupghome)
        self._read_index()

    def _believe(self, admin: str | None) -> Any:
        """The newest roster that is believed (§4)."""
        files: list[tuple[Path, bytes, Any, Any]] = []
        for path in sorted(self.path.glob("roster/" + "[0-9]" * 8)):
            with reading(path, self.problems):
                raw = read(path, MIB)
                need(raw[:5] + raw[6:8] == b"dedupR\0", "not a roster")
                envelope = msgpack.decode(raw[8:], type=Envelope)
                roster = msgpack.decode(envelope.payload, type=Roster) if raw[5] == 1 else None
                need(roster is None or roster.serial == int(path.name) > 0, "its serial is not its name")
                files.append((path, hashlib.sha256(raw).digest(), envelope, roster))
        firsts = reversed(files) if admin else files[:1]
        first = next((f for f in firsts if signed(f[2], f[3], admin) and (admin or f[3].serial == 1)), None)
        if first is None:
            raise DamageError(f"no roster is signed by {admin or 'an admin of its own'}")
        _, last, _, believed = first
        for path, digest, envelope, roster in files[files.index(first) + 1 :]:
            good = signed(envelope, believed)
            need(not good or roster is not None, f"{path.name} is newer: a newer program is needed")
            if good and (roster.previous, roster.repository) == (last, believed.repository):
                last, believed = digest, roster
            else:
                self.problems.append(f"{path}: passed over, it does not follow roster {believed.serial}")
        known = (believed.format, believed.suite) == (1, 1) and set(believed.critical) <= {"pruned"}
        need(known, f"a newer program is needed, for suite {believed.suite}, {believed.critical}")
        need(len({m.signing_key for m in believed.members}) == len(believed.members), "a signing key twice")
        return believed

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
        signing_key = ed25519.Ed25519PrivateKey.from_private_bytes(slot.signing_key)
        same &= signing_key.public_key().public_bytes_raw() == mine.signing_key
        epochs = [*range(1, len(slot.sealing_keys) + 1)]
        same &= sorted(slot.catalogue_keys) == sorted(slot.sealing_keys) == epochs
        need(same and slot.epoch == len(epochs), "the slot does not fit the roster")
        node_key = blake3(slot.id_key, derive_key_context="dedup1 list node").digest()
        self._id_keys = {"D": slot.id_key, "T": node_key}  # tree packs hold list nodes, data packs the rest
        self._catalogue_keys: dict[int, bytes] = slot.catalogue_keys
        self._sealing: dict[int, hpke.MLKEM768X25519PrivateKey] = {}
        public_keys = {epoch.number: epoch.sealing_key for epoch in self.roster.epochs}
        for epoch, private in slot.sealing_keys.items():
            lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(private[:64])
            curve = x25519.X25519PrivateKey.from_private_bytes(private[64:])
            public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
            need(public == public_keys[epoch], f"another sealing key of epoch {epoch} in the slot")
            self._sealing[epoch] = hpke.MLKEM768X25519PrivateKey(lattice, curve)

    def _catalogue(self, kind: str, shape: Any, names: str = HASH) -> Iterator[tuple[str, Any, Any]]:
        """(name, signer, payload) of every good catalogue file of a kind (§2, §3); the others are noted."""
        found = self.path.joinpath(FOLDERS[kind]).glob("*")
        for path in sorted(path for path in found if re.fullmatch(names, path.name)):
            with reading(path, self.problems):
                raw = read(path)
                header = raw[:HEADER]
                need(header[:24] == b"dedup\x01" + kind.encode() + b"\0" + self.id, "a wrong header")
                key = self._catalogue_keys[number(header[24:28])]
                kdf = HKDF(hashes.SHA256(), 32, header[28:], b"dedup1 file" + kind.encode() + self.id)
                plain = AESGCM(kdf.derive(key)).decrypt(bytes(12), raw[HEADER:], header)
                end = 4 + number(plain[:4])
                zeros = len(plain) - end
                step = 4096 if len(raw) - zeros <= MIB else 65536
                need(zeros == (zeros - len(raw)) % step and not any(plain[end:]), "odd padding")
                body = inflate(plain[4:end], MAX_FILE)
                need(body[:32] in self.members, "its signer is not in the roster")
                signer, signature, payload = self.members[body[:32]], body[32:96], body[96:]
                public = ed25519.Ed25519PublicKey.from_public_bytes(signer.signing_key)
                public.verify(signature, b"dedup1 signed" + header + payload)
                need(signer.role in SIGNERS[kind].split(), f"signed by a {signer.role}, who may not")
                yield path.name, signer, msgpack.decode(payload, type=shape)

    def snapshots(self) -> dict[str, Any]:
        """The snapshots that count (§10, §11), oldest first, by name in hex."""
        stones = {stone.snapshot: stone.previous for _, _, stone in self._catalogue("Z", Tombstone)}
        done: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)  # (run, signer) → snapshots
        for file, signer, record in self._catalogue("E", Done, f"[0-9a-f]{{32}}-{HASH}[.]done"):
            with reading(f"runs/{file}", self.problems):
                need(record.run.hex() == file[:32], "of another run than its name says")
                done[record.run, signer.signing_key].add(record.snapshot)
        found: dict[bytes, dict[bytes, Any]] = defaultdict(dict)  # signer → name → snapshot
        for file, signer, snapshot in self._catalogue("S", Snapshot):
            name, finished = bytes.fromhex(file), done[snapshot.run, signer.signing_key]
            if name in finished and b"" not in finished and name not in stones:
                with reading(f"snapshots/{file}", self.problems):
                    need(snapshot.domain == signer.domain, "not in its signer's domain")
                    names = {s.name for s in snapshot.streams if len(s.name.encode()) <= 255}
                    need(len(names - {".", ".."}) == len(snapshot.streams), "odd names of streams")
                    found[signer.signing_key][name] = snapshot
        for member in self.roster.members:
            if member.removed:  # of its snapshots, only the last counts, and its own heads from there on
                key, name, chain = member.signing_key, member.last_snapshot, dict[bytes, None]()
                own = found[key]
                while name and name not in chain:
                    chain[name] = None
                    name = own[name].heads.get(key, (0, b""))[1] if name in own else stones.get(name, b"")
                found[key] = {name: own[name] for name in chain if name in own}
        every = [(s.time, name.hex(), s) for own in found.values() for name, s in own.items()]
        return {name: snapshot for _, name, snapshot in sorted(every, key=lambda one: one[:2])}

    def _read_index(self) -> None:
        """Fill `_places`: (domain, kind, chunk id) → places, in the order in which they are tried (§8)."""
        domains = {member.domain for member in self.roster.members}
        for name, signer, index in sorted(self._catalogue("I", Index), key=lambda f: (f[2].time, f[0])):
            with reading(f"index/{name}", self.problems):
                own = signer.role == "writer"  # the others rebuild indexes and move blocks
                need(index.domain in ({signer.domain} if own else domains), "not in its signer's domain")
                for pack in index.packs:
                    for chunk, place in self._chunks_of(pack):
                        self._places[index.domain, pack.kind, chunk].append(place)

    def _chunks_of(self, pack: Any) -> Iterator[tuple[bytes, Place]]:
        """The ids and places of a pack's chunks (§7), every bound checked."""
        ids, lengths = split(pack.ids, 32), [number(piece) for piece in split(pack.lengths, 4)]
        count = sum(entry[3] for entry in pack.blocks)
        need((32 * count, 4 * count) == (len(pack.ids), len(pack.lengths)), "an odd table")
        need(all(0 < length <= MAX_CHUNK for length in lengths), "a chunk of a wrong length")
        offset, chunks = HEADER, zip(ids, lengths, strict=True)
        for entry in pack.blocks:
            mine, end = list(itertools.islice(chunks, entry[3])), 0
            size = sum(length for _, length in mine)
            need(entry[0] < len(pack.keys) and size <= MAX_BLOCK, "an odd block")
            need(len(pack.keys[entry[0]][2]) == SEALED[pack.kind], "a sealed key of a wrong length")
            for chunk, length in mine:
                start, end = end, end + length
                yield chunk, (pack, offset, size, entry, start, end)
            offset += entry[2]
        need(offset <= pack.size - TRAILER, "blocks beyond the end of their pack")

    def _block(self, pack: Any, offset: int, size: int, entry: tuple[int, int, int, int]) -> bytes:
        """The chunks of a block, joined (§7)."""
        which, born, stored, _ = entry
        key_id, epoch, sealed = pack.keys[which]
        kind, tail = pack.kind.encode(), self.id + epoch.to_bytes(4, "little") + key_id
        if pack.kind == "D":
            key = SUITE.decrypt(sealed, self._sealing[epoch], info=b"dedup1 data key" + tail)
        else:
            info = b"dedup1 tree key" + self.id + key_id
            key = HKDF(hashes.SHA256(), 32, sealed, info).derive(self._catalogue_keys[epoch])
        name = pack.name.hex()
        with self.path.joinpath(FOLDERS[pack.kind], name[:2], name).open("rb") as file:
            file.seek(offset)
            data = file.read(stored)
        aad = b"dedup1 block" + kind + tail + born.to_bytes(8, "little")
        plain = AESGCM(key).decrypt(born.to_bytes(12, "little"), data, aad)
        need(len(key) == 32 and plain[:1] in (b"\0", b"\1"), "an odd data key or codec")
        chunks = inflate(plain[1:], size) if plain[0] else plain[1:]
        need(len(chunks) == size, "a block is not as long as its chunks")
        return chunks

    def _chunk(self, domain: str, kind: str, name: bytes) -> bytes:
        """A chunk, from the first place that is good (§8)."""
        for pack, offset, size, entry, start, end in self._places.get((domain, kind, name), []):
            with reading(f"pack {pack.name.hex()}, block at {offset}", self.problems):
                if self._opened[0] != (pack.name, offset):
                    self._opened = (pack.name, offset), self._block(pack, offset, size, entry)
                chunk = self._opened[1][start:end]
                need(blake3(chunk, key=self._id_keys[kind]).digest() == name, "a chunk is not its id")
                return chunk
        raise DamageError(f"chunk {name.hex()}: no good copy in the index of domain {domain!r}")

    def _sequence(self, domain: str, root: tuple[int, bytes, int]) -> bytes:
        """The bytes of a sequence (§9): first all of its list nodes, level by level, then its chunks."""
        depth, name, size = root
        need(size > 0 or (depth, name) == (0, b""), "the root of an empty sequence is not empty")
        entries = [(name, size)] if size else []
        for level in range(depth):
            nodes = [self._chunk(domain, "T", name) for name, _ in entries]
            counts = [len(node) // 36 for node in nodes]
            good = all(len(node) in range(36, 36 * MAX_ENTRIES + 1, 36) for node in nodes)
            need(good and (level == 0 or counts == [count for _, count in entries]), "odd list nodes")
            entries = [(e[:32], number(e[32:])) for node in nodes for e in split(node, 36)]
            need(len(entries) <= size, "a sequence has more chunks than bytes")
        need(sum(length for _, length in entries) == size, "a sequence is not as long as its root says")
        chunks = [self._chunk(domain, "D", name) for name, _ in entries]
        need([*map(len, chunks)] == [length for _, length in entries], "a chunk of an odd length")
        return b"".join(chunks)

    def restore(self, snapshot: Any, name: str) -> bytes:
        """A stream of a snapshot (§9, §10)."""
        stream = next((stream for stream in snapshot.streams if stream.name == name), None)
        if stream is None:
            raise DamageError(f"no stream {name!r} in this snapshot")
        roots = stream.skeleton, stream.content, stream.layout
        skeleton, content, layout = (self._sequence(snapshot.domain, root) for root in roots)
        need(stream.size == len(skeleton) + len(content), f"{name}: sizes do not agree")
        if not layout:
            need(not skeleton, f"{name}: a skeleton without a layout")
            return content
        pieces, sources = [], itertools.cycle([io.BytesIO(skeleton), io.BytesIO(content)])
        for source, length in zip(sources, varints(layout), strict=False):
            pieces.append(source.read(length))
            need(len(pieces[-1]) == length, f"{name}: the layout is longer than its sequences")
        need(sum(map(len, pieces)) == stream.size, f"{name}: the layout is shorter than its sequences")
        return b"".join(pieces)


def main() -> None:
    """`REPOSITORY GNUPGHOME list` or `REPOSITORY GNUPGHOME restore SNAPSHOT NAME > out`."""
    repository, home, command, *rest = sys.argv[1:]
    try:
        reader = Reader(Path(repository), Path(home))
        snapshots = reader.snapshots()
        sys.stderr.writelines(f"{problem}\n" for problem in reader.problems)
        if command == "restore":
            need(rest[0] in snapshots, f"no snapshot {rest[0]} that counts")
            sys.stdout.buffer.write(reader.restore(snapshots[rest[0]], rest[1]))
        for name, snapshot in snapshots.items() if command == "list" else ():
            date = time.strftime("%Y.%m.%d", time.gmtime(snapshot.time + snapshot.utc_offset))
            for stream in snapshot.streams:
                print(name, date, snapshot.domain, stream.size, stream.name)
    except DamageError as damage:
        sys.exit(f"independent_reader: {damage}")


if __name__ == "__main__":
    main()
