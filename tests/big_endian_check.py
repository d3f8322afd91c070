"""Reads a repository as `dedup check` does, on whatever machine it runs, and prints what it found.

    big_endian_check.py FOLDER       what `test_big_endian.py` has left there

On s390x it runs with Debian's cryptography, which is older than what the project needs: it knows no HPKE, with which
data packs are opened, and takes only bytes.  All else is real.
"""

import json
import random
import sys
import types
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import aead

if sys.byteorder == "big":

    class Bytes(aead.AESGCM):
        """Takes any buffer, as newer versions do."""

        def __init__(self, key: Any) -> None:
            super().__init__(bytes(key))

        def decrypt(self, nonce: Any, data: Any, associated_data: Any) -> bytes:
            return super().decrypt(bytes(nonce), bytes(data), associated_data and bytes(associated_data))

        def decrypt_into(self, nonce: Any, data: Any, associated_data: Any, buffer: Any) -> int:
            plain = self.decrypt(nonce, data, associated_data)
            buffer[: len(plain)] = plain
            return len(plain)

    class Anything:
        """What is never used here."""

        def __getattr__(self, _: str) -> Any:
            return Anything()

        def __call__(self, *_: Any) -> Any:
            return Anything()

    aead.AESGCM = Bytes
    for missing in ("hpke", "asymmetric.mlkem"):
        module: Any = types.ModuleType(missing)
        module.__getattr__ = lambda _: Anything()
        sys.modules[f"cryptography.hazmat.primitives.{missing}"] = module

from dedupstore.access import Access, Signer
from dedupstore.backends.local import LocalBackend
from dedupstore.cache import row_formats
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.chunks.ids import identify
from dedupstore.format import pack_records, packs, record_files, run_records
from dedupstore.format.layout import Kind
from dedupstore.maintenance import check_packs

SIZES = ChunkSizes(1024, 4096, 16384)


def main(folder: Path) -> None:
    """Check packs, records, chunks."""
    given = json.loads((folder / "access.json").read_text())
    access = Access(
        repository=bytes.fromhex(given["repository"]),
        epoch=1,
        domain="",
        signers={
            bytes.fromhex(signer): Signer(name, role, domain, bytes.fromhex(key))
            for signer, (name, role, domain, key) in given["signers"].items()
        },
        content_sizes=SIZES,
        skeleton_sizes=SIZES,
        layout_sizes=SIZES,
        raw_sizes=SIZES,
        sealing_public=b"",
        id_key=bytes.fromhex(given["id_key"]),
        chunker_key=bytes.fromhex(given["chunker_key"]),
        catalogue_keys={1: bytes.fromhex(given["catalogue_key"])},
        signing_key=b"",
        sealing_private={},
    )
    backend = LocalBackend(folder / "repository")
    for name in sorted(backend.names("index")):
        _, index = record_files.open_record(access, Kind.INDEX, name, backend.read(name), pack_records.Index)
        for pack in index.packs:
            kind = pack.file_kind
            described = packs.describe(access, pack, index.domain, name)
            claimed, domain = row_formats.cached_pack(pack, described), row_formats.domain_key(index.domain)
            chunks = check_packs._read_pack(backend, access, claimed, domain, open_blocks=kind is Kind.TREE)
            print(kind.name, pack.name.hex(), chunks, *described.lengths)
    for name in sorted(backend.names("snapshots")):
        print(
            record_files.open_record(access, Kind.SNAPSHOT, name, backend.read(name), run_records.Snapshot)[1]
        )
    data = random.Random(1).randbytes(1_000_000)
    ends = Chunker(access.chunker_key, SIZES).cuts(data, final=True)
    print(*ends, *(id_.hex() for id_ in identify(memoryview(data), [0, *ends[:-1]], ends, access.id_key)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
