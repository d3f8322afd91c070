"""What the store needs to work on a repository: plain keys, signers and settings.

Invariant: these values never reach a log or an exception; `repr` shows none of the secrets.  The store does not
know where they come from (package `keys` takes them from GPG slots and the roster).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from dedupstore.chunks.chunker import ChunkSizes


@dataclass(frozen=True)
class Signer:
    """A member, present or former, whose signature the store accepts; `role` is admin, writer, pruner or reader.

    `key` is the Ed25519 public key.  `closing` is None for a present member; of a former one it is the SHA-256 of
    the closing list that names what counts (nothing does, if it is empty).
    """

    name: str
    role: str
    domain: str
    key: bytes
    closing: bytes | None = None


@dataclass(frozen=True)
class Membership:
    """What the newest accepted roster says, which needs no secret: its serial and SHA-256, and who may sign.

    `signers` maps the names of signers (SHA-256 of the signing public key) to members.  `not_for_writing` says what a
    program must know to write, and this one does not; it is empty if nothing is missing.
    """

    repository: bytes
    serial: int
    digest: bytes
    signers: dict[bytes, Signer]
    not_for_writing: str = ""

    @property
    def roster(self) -> tuple[int, bytes]:
        """The roster's serial and SHA-256, as snapshots name it."""
        return self.serial, self.digest


class BlockSizes(NamedTuple):
    """About how many bytes a block has before compression, by what is in it; `nodes` are lists of chunks."""

    content: int = 2 << 20
    raw: int = 2 << 20
    skeleton: int = 1 << 20
    layout: int = 1 << 20
    nodes: int = 256 << 10


@dataclass(frozen=True)
class Access:
    """One member's access to one repository.

    `epoch` is the newest, the one to write with.  `sealing_public` is its public key (1216 bytes).
    `sealing_private` maps epochs to private keys (96 bytes) and is empty for all but admins and readers.
    `signing_key` is an Ed25519 seed (32 bytes).  `signers` is as in `Membership`.  `content_sizes` are those of
    streams with a skeleton, `raw_sizes` those of the others.
    """

    repository: bytes
    epoch: int
    domain: str
    signers: dict[bytes, Signer]
    content_sizes: ChunkSizes
    raw_sizes: ChunkSizes
    skeleton_sizes: ChunkSizes
    layout_sizes: ChunkSizes
    sealing_public: bytes = field(repr=False)
    id_key: bytes = field(repr=False)
    chunker_key: bytes = field(repr=False)
    catalogue_keys: dict[int, bytes] = field(repr=False)
    signing_key: bytes = field(repr=False)
    sealing_private: dict[int, bytes] = field(repr=False, default_factory=dict)
    block_sizes: BlockSizes = field(default_factory=BlockSizes)
