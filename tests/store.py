"""A repository for tests of the store: plain keys, no GPG, small packs."""

import hashlib
import io
import secrets
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dedupstore.access import Access, BlockSizes, Membership, Signer
from dedupstore.backends.contract import Backend
from dedupstore.backends.local import LocalBackend
from dedupstore.chunks.chunker import ChunkSizes
from dedupstore.format import blocks, crypto, record_files
from dedupstore.format.blocks import BlockKey
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Stream
from dedupstore.repository import Repository, SnapshotInfo
from dedupstore.state.folder import StateFolder
from dedupstore.writing.session import RunDetails, Session


class World:
    """One repository's secrets, and its members: an admin and any number of writers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "repository"
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        self.signers: dict[bytes, Signer] = {}
        self.rosters: list[bytes] = []
        self.base = Access(
            repository=secrets.token_bytes(16),
            epoch=1,
            domain="",
            signers=self.signers,
            content_sizes=ChunkSizes(4096, 16384, 65536),
            raw_sizes=ChunkSizes(4096, 16384, 65536),
            skeleton_sizes=ChunkSizes(2048, 8192, 32768),
            layout_sizes=ChunkSizes(256, 1024, 4096),
            block_sizes=BlockSizes(content=1 << 20, raw=1 << 20),
            sealing_public=mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(),
            id_key=secrets.token_bytes(32),
            chunker_key=secrets.token_bytes(32),
            catalogue_keys={1: secrets.token_bytes(32)},
            signing_key=b"",
            sealing_private={1: mlkem.private_bytes_raw() + x25519.private_bytes_raw()},
        )
        self.admin = self.member("admin", role="admin")
        self.writer = self.member("writer")

    def member(self, name: str, domain: str = "", role: str = "writer") -> Access:
        """Return the access of a new member."""
        key = secrets.token_bytes(32)
        public = crypto.public_of(key)
        self.signers[crypto.signer_of(public)] = Signer(name, role, domain or name, public)
        self.roster()
        private = self.base.sealing_private if role == "admin" else {}
        return replace(self.base, domain=domain or name, signing_key=key, sealing_private=private)

    def roster(self) -> tuple[int, bytes]:
        """Return serial and hash of the roster that has the present members: each change makes a new one."""
        digest = hashlib.sha256(repr(sorted(self.signers.items())).encode()).digest()
        if self.rosters[-1:] != [digest]:
            self.rosters.append(digest)
        return len(self.rosters), digest

    def remove(self, access: Access, *, closing: bytes | None = None) -> list[str]:
        """Make a member a former one, of whom counts what this closing list names: all that does now, if not given.

        Return what the making of the list reported.
        """
        signer, reported = signer_of(access), []
        if closing is None:
            with self.open(self.admin) as repository:
                closing = repository.closing_of(signer)
                reported = list(repository.damage)
        self.signers[signer] = replace(self.signers[signer], closing=closing)
        return reported

    def sign(self, access: Access, kind: Kind, record: msgspec.Struct, run: bytes = b"") -> bytes:
        """Write a record file as that member, and return its hash; `run` is for kinds whose names have it.

        The member may be of a role that may not sign such a file.
        """
        return record_files.publish_record(self.backend(), self.forging(access), kind, record, run)

    def forging(self, access: Access) -> Access:
        """Return the access of a member whose program lets it sign everything."""
        signer = signer_of(access)
        known = self.signers.get(signer, Signer("?", "admin", access.domain, b""))
        return replace(access, signers={**self.signers, signer: replace(known, role="admin")})

    def backend(self) -> Backend:
        """Return the plain back end."""
        return LocalBackend(self.path)

    def open(self, access: Access, *, host: str = "", backend: Backend | None = None) -> Repository:
        """Open the repository as that member, on a host of that name (by default one for each member)."""
        state = StateFolder(self.folder / "state" / (host or access.domain))
        members = Membership(access.repository, *self.roster(), self.signers)
        return Repository(backend or self.backend(), members, lambda: access, state)

    def put(
        self,
        data: bytes,
        name: str = "s",
        access: Access | None = None,
        *,
        time: int = 1_700_000_000,
        host: str = "",
    ) -> SnapshotInfo:
        """Store one stream in a run of its own."""
        with self.open(access or self.writer, host=host) as repository, begin(repository, time) as session:
            session.put(name, io.BytesIO(data), allow_empty=True)
            return session.finish()

    def get(self, name: str = "s", access: Access | None = None, *, host: str = "") -> bytes:
        """Return the newest stream of that name, as the admin unless told otherwise."""
        with self.open(access or self.admin, host=host) as repository:
            for snapshot in reversed(repository.snapshots()):
                for stream in repository.streams(snapshot):
                    if stream.name == name:
                        return b"".join(repository.read(snapshot, stream))
        raise LookupError(f"no stream {name} is listed")

    def stored(self) -> int:
        """Return the bytes of all files."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def files(self, folder: str) -> list[Path]:
        """Return the files below a folder of the repository."""
        return sorted(path for path in (self.path / folder).rglob("*") if path.is_file())


def signer_of(access: Access) -> bytes:
    """Return a member's name as a signer."""
    return crypto.signer_of(crypto.public_of(access.signing_key))


def begin(
    repository: Repository,
    time: int = 1_700_000_000,
    pack_size: int = 1 << 20,
    parent_of: Callable[[Stream], bytes] = lambda stream: b"",
) -> Session:
    """Begin a run with packs of 1 MiB."""
    return Session(repository, RunDetails("host", "test", time, 0), 3, pack_size, parent_of)


def noise(size: int, seed: object = 0) -> bytes:
    """Return bytes that do not compress, the same for the same seed."""
    return hashlib.shake_128(repr(seed).encode()).digest(size)


def text(size: int, seed: int = 0) -> bytes:
    """Return bytes that compress well and repeat little."""
    words = [
        hashlib.sha1(b"%d %d" % (seed, n)).hexdigest()[: 3 + n % 8].encode() for n in range(size // 6 + 1)
    ]
    return b" ".join(words)[:size].ljust(size, b".")


class Alternating:
    """A toy splitter: runs of bytes alternate between skeleton and content."""

    def __init__(self, skeleton: int, content: int) -> None:
        self.lengths = (skeleton, content)
        self.inside, self.left = (0, skeleton) if skeleton else (1, content)

    def split(self, data: memoryview, ended: bool) -> bytes:
        """Mark ranges by their lengths alone."""
        ranges, at = [], 0
        while at < len(data):
            part = min(self.left, len(data) - at)
            self.left -= part
            at += part
            ranges.append(Range(part, content=bool(self.inside), ends=self.left == 0))
            if not self.left:
                self.inside ^= bool(self.lengths[self.inside ^ 1])
                self.left = self.lengths[self.inside]
        return column(ranges)


class Range(NamedTuple):
    """What a splitter marks."""

    length: int
    content: bool
    ends: bool = False


class Marking:
    """A splitter that marks the ranges it was told, whatever the buffers."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.ranges = deque(ranges)

    def split(self, data: memoryview, ended: bool) -> bytes:
        """Mark as many bytes as there are."""
        found, left = [], len(data)
        while left:
            length, content, ends = self.ranges[0]
            part = min(left, length)
            found.append(Range(part, content, ends and part == length))
            self.ranges.popleft()
            if part < length:
                self.ranges.appendleft(Range(length - part, content, ends))
            left -= part
        return column(found)


def column(ranges: Iterable[Range]) -> bytes:
    """Return ranges as a splitter gives them."""
    return b"".join(struct.pack("<Q", r.length << 2 | r.ends << 1 | r.content) for r in ranges)


def sealed_block(key: BlockKey, number: int, plaintext: bytes) -> bytes:
    """Return a block's plaintext encrypted, with its tag."""
    sealed = bytearray(len(plaintext) + crypto.TAG_SIZE)
    blocks.seal_block(key, number, plaintext, memoryview(sealed))
    return bytes(sealed)


def flip_bit(path: Path, at: int | None = None) -> None:
    """Change one bit of a file, by default one in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 4
    path.chmod(0o600)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """Cut a file to half."""
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[: len(data) // 2])
