"""Golden vectors: the bytes of format 1, piece by piece.  None of them may ever change."""

import hashlib
import struct
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from dedupstore.access import Access, Signer
from dedupstore.chunks import splitting
from dedupstore.chunks.chunker import ChunkSizes
from dedupstore.errors import DamageError
from dedupstore.format import blocks, crypto, layout, pack_records, packs, recipes, record_files, records
from dedupstore.format.blocks import BlockKey
from dedupstore.format.layout import Header, Kind
from dedupstore.format.pack_records import (
    HeldBlock,
    Index,
    IndexedPack,
    PackTables,
    PlacedBlock,
    SignedTable,
    Table,
)
from dedupstore.format.run_records import (
    Closing,
    Condemned,
    Done,
    Ended,
    Fence,
    Ledger,
    Origin,
    Root,
    Run,
    Snapshot,
    Stream,
    Tombstones,
)
from tests.store import Marking, Range, sealed_block

REPOSITORY = bytes(range(16))
KEY = bytes(range(32))
PUBLIC = crypto.public_of(KEY)
SIGNER = hashlib.sha256(PUBLIC).digest()
RUN = bytes(range(16, 32))
ONE, TWO = bytes([1]) * 32, bytes([2]) * 32


def access() -> Access:
    """Return the access of an admin whose signing key, and whose catalogue keys, are `KEY`."""
    sizes = ChunkSizes(64, 256, 1024)
    return Access(
        repository=REPOSITORY,
        epoch=2,
        domain="d",
        signers={SIGNER: Signer("admin", "admin", "d", PUBLIC)},
        content_sizes=sizes,
        raw_sizes=sizes,
        skeleton_sizes=sizes,
        layout_sizes=sizes,
        sealing_public=b"",
        id_key=KEY,
        chunker_key=KEY,
        catalogue_keys={2: KEY},
        signing_key=KEY,
    )


def test_magic_and_header() -> None:
    """The clear beginning of a file."""
    header = Header(Kind.SNAPSHOT, REPOSITORY, 7, KEY)
    expected = b"dedup\x01S\x00" + REPOSITORY + b"\x07\x00\x00\x00" + KEY
    assert header.pack() == expected
    assert layout.parse_header(expected, Kind.SNAPSHOT, REPOSITORY, "x") == header


def test_names_of_files() -> None:
    """Where each kind of file lies."""
    digest = hashlib.sha256(b"").digest()
    hexed = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    run = "101112131415161718191a1b1c1d1e1f"
    folders = {
        Kind.INDEX: "index",
        Kind.SNAPSHOT: "snapshots",
        Kind.CHECKPOINT: "checkpoints",
        Kind.LEDGER: "ledgers",
        Kind.CLOSING: "closings",
        Kind.CONDEMNED: "condemned",
        Kind.TOMBSTONES: "tombstones",
        Kind.JOURNAL: "journal",
        Kind.STATEMENT: "statements",
        Kind.SLOT: "slots",
        Kind.DATA: "data/e3",
        Kind.TREE: "tree/e3",
    }
    assert {kind: f"{folder}/{hexed}" for kind, folder in folders.items()} == {
        kind: layout.content_file(kind, digest) for kind in folders
    }
    assert f"runs/{run}.run" == layout.run_file(RUN)
    of_runs = {Kind.DONE: f"runs/{run}-{hexed}.done", Kind.ENDED: f"runs/{run}-{hexed}.ended"}
    for kind, name in {**of_runs, Kind.FENCE: f"fences/{run}-{hexed}"}.items():
        assert name == layout.run_record_file(kind, RUN, digest)
        assert (digest, RUN) == (layout.digest_of(name), layout.run_of(name, kind))
    assert "roster/00000012" == layout.roster_file(12)


def test_keys_derived_from_others() -> None:
    """File key, node key, name of a signer."""
    header = Header(Kind.INDEX, REPOSITORY, 1, bytes(32))
    sealed = crypto.encrypt_once(crypto.file_cipher(KEY, header), b"plain", b"associated")
    assert VECTORS["keys"] == [sealed.hex(), recipes.node_key(KEY).hex(), crypto.signer_of(PUBLIC).hex()]


def test_a_block() -> None:
    """Codec, nonce and associated data of a block, and its seal."""
    key = BlockKey(Kind.DATA, REPOSITORY, bytes(16), KEY)
    sealed = sealed_block(key, 258, b"\0abc")
    assert VECTORS["block"] == [sealed.hex(), blocks.seal_of(sealed).hex()]
    assert b"abc" == blocks.open_block(key, 258, sealed, 3, "x")


def test_a_data_key_that_was_sealed_once_still_opens() -> None:
    """HPKE with MLKEM768-X25519."""
    private = bytes(range(96))
    opened = crypto.open_data_key(bytes.fromhex(VECTORS["sealed"]), private, REPOSITORY, 2, bytes(16))
    assert KEY == opened


def test_a_tree_key_that_was_sealed_once_still_opens() -> None:
    """A salt, and the key encrypted."""
    sealed = bytes.fromhex(VECTORS["tree"])
    assert 80 == len(sealed)
    assert KEY == crypto.open_tree_key(sealed, bytes(32), REPOSITORY, bytes(16))


def test_a_catalogue_file() -> None:
    """Header, padding, frame and signature: the file that was made once is made again, and opens."""
    header = Header(Kind.RUN, REPOSITORY, 2, ONE)
    payload = records.encode(Run(RUN, 1, "h"))
    body = b"\x93\xc4\x20" + SIGNER + b"\xc4\x40" + crypto.sign(KEY, header, payload)
    body += b"\xc4" + bytes([len(payload)]) + payload
    # a Zstandard frame of one segment, its size stated in a byte, and one block that is stored as it is
    frame = b"\x28\xb5\x2f\xfd\x20" + bytes([len(body)]) + (len(body) << 3 | 1).to_bytes(3, "little") + body
    plain = struct.pack("<I", len(frame)) + frame
    plain = plain.ljust(4096 - 60 - 16, b"\0")
    data = header.pack() + crypto.encrypt_once(crypto.file_cipher(KEY, header), plain, header.pack())
    assert [4096, VECTORS["file"]] == [len(data), hashlib.sha256(data).hexdigest()]
    name = layout.run_file(RUN)
    assert (SIGNER, Run(RUN, 1, "h")) == record_files.open_record(access(), Kind.RUN, name, data, Run)


def test_signatures() -> None:
    """Ed25519 is deterministic: of a file, and of a table."""
    signature = crypto.sign(KEY, Header(Kind.RUN, REPOSITORY, 1, bytes(32)), b"payload")
    assert VECTORS["signatures"] == [
        signature.hex(),
        crypto.sign_table(KEY, REPOSITORY, b"payload").hex(),
    ]


HELD = [HeldBlock(20, 1, b"seal" * 4), HeldBlock(300, 2, b"leas" * 4)]
TABLE = Table(
    key=RUN,
    kind="T",
    domain="d",
    blocks=pack_records.hold_blocks(HELD),
    ids=bytes(48),
    lengths=struct.pack("<III", 3, 4, 5),
)
SIGNED = SignedTable(SIGNER, b"s" * 64, b"p")
PLACED = pack_records.place_blocks([PlacedBlock(0, 1), PlacedBlock(1, 258)])
PACK = IndexedPack(ONE, "D", 9000, [(RUN, ((1, b"k" * 80), (2, b"l" * 80)))], PLACED[:8], [SIGNED])
STREAM = Stream("a/b", "tar", 9, 1, 2, 3, Root(2, ONE, 4, 7), Root(0, TWO, 5), Root(1, ONE, 6, 2), b"\x80")
HEADS = {ONE: (5, TWO)}
ABOUT: dict[str, Any] = {
    "time": 6,
    "utc_offset": -3600,
    "started": 7,
    "finished": 8,
    "host": "h",
    "program": "p",
}
ORIGIN = Origin(REPOSITORY, ONE, TWO, 9)

PLAIN_PACK = {
    "name": ONE,
    "kind": "D",
    "size": 9000,
    "keys": [[RUN, [[1, b"k" * 80], [2, b"l" * 80]]]],
    "blocks": bytes([0, 0, 0, 0, 1, 0, 0, 0]),
    "tables": [[SIGNER, b"s" * 64, b"p"]],
}
PLAIN_STREAM = {
    "name": "a/b",
    "kind": "tar",
    "size": 9,
    "time": 1,
    "stored": 2,
    "new": 3,
    "content": [2, ONE, 4, 7],
    "skeleton": [0, TWO, 5, 0],
    "layout": [1, ONE, 6, 2],
    "facts": b"\x80",
}
PLAIN_ORIGIN = {"repository": REPOSITORY, "snapshot": ONE, "signer": TWO, "sequence": 9}

# Each record, and its MessagePack as plain values, key by key.
RECORDS: list[tuple[msgspec.Struct, dict[str, Any]]] = [
    (
        TABLE,
        {
            "key": RUN,
            "kind": "T",
            "domain": "d",
            "blocks": b"\x14\0\0\0\x01\0\0\0" + b"seal" * 4 + b"\x2c\x01\0\0\x02\0\0\0" + b"leas" * 4,
            "ids": bytes(48),
            "lengths": b"\3\0\0\0\4\0\0\0\5\0\0\0",
        },
    ),
    (
        PackTables(PLACED, [SIGNED]),
        {"blocks": b"\0\0\0\0\1\0\0\0\1\0\0\0\2\1\0\0", "tables": [[SIGNER, b"s" * 64, b"p"]]},
    ),
    (
        Index(RUN, "d", 5, [PACK], ONE + TWO),
        {"run": RUN, "domain": "d", "time": 5, "packs": [PLAIN_PACK], "replaces": ONE + TWO},
    ),
    (
        Snapshot(
            run=RUN,
            domain="d",
            sequence=4,
            heads=HEADS,
            **ABOUT,
            roster=(3, TWO),
            streams=[STREAM],
            origin=ORIGIN,
        ),
        {
            "run": RUN,
            "domain": "d",
            "sequence": 4,
            "heads": {ONE: [5, TWO]},
            **ABOUT,
            "roster": [3, TWO],
            "streams": [PLAIN_STREAM],
            "origin": PLAIN_ORIGIN,
        },
    ),
    (Run(RUN, 1, "h"), {"run": RUN, "started": 1, "host": "h"}),
    (Done(RUN, ONE, TWO, 9), {"run": RUN, "snapshots": ONE, "index": TWO, "finished": 9}),
    (Ended(RUN, 9), {"run": RUN, "time": 9}),
    (Ledger(9, ONE, RUN + ONE + TWO), {"time": 9, "replaces": ONE, "done": RUN + ONE + TWO}),
    (
        Closing(SIGNER, 9, ONE, TWO, ONE + TWO),
        {"signer": SIGNER, "time": 9, "snapshots": ONE, "index": TWO, "records": ONE + TWO},
    ),
    (
        Condemned(9, ONE, TWO, b"", ONE + TWO),
        {"time": 9, "packs": ONE, "index": TWO, "snapshots": b"", "abandoned": ONE + TWO},
    ),
    (Fence(RUN, 9), {"run": RUN, "time": 9}),
    (
        Tombstones(9, ONE, ONE + SIGNER + TWO + b"\2\1" + bytes(6), TWO),
        {"time": 9, "replaces": ONE, "snapshots": ONE + SIGNER + TWO + b"\2\1" + bytes(6), "index": TWO},
    ),
]


@pytest.mark.parametrize(("record", "plain"), RECORDS, ids=[type(record).__name__ for record, _ in RECORDS])
def test_a_record(record: msgspec.Struct, plain: dict[str, Any]) -> None:
    """The MessagePack of each record, byte for byte."""
    encoded = records.encode(record)
    assert msgspec.msgpack.encode(plain) == encoded
    assert record == records.decode(encoded, type(record), "x")


def test_what_tables_ledgers_and_tombstones_have_in_their_columns() -> None:
    """The rows of columns with several numbers."""
    assert HELD == TABLE.held
    assert [3, 4, 5] == list(TABLE.sizes)
    assert [PlacedBlock(0, 1)] == list(PACK.placed())
    assert [(RUN, ONE, TWO)] == list(Ledger(9, b"", RUN + ONE + TWO).entries())
    (stone,) = Tombstones(9, b"", ONE + SIGNER + TWO + b"\2\1" + bytes(6), b"").entries()
    assert (ONE, SIGNER, TWO, 258) == tuple(stone)


def test_a_signed_table_opens() -> None:
    """A table with its signature, as packs and index files have it."""
    payload = records.encode(TABLE)
    signed = SignedTable(SIGNER, crypto.sign_table(KEY, REPOSITORY, payload), payload)
    assert VECTORS["signed table"] == hashlib.sha256(records.encode(signed)).hexdigest()
    assert b"\x93\xc4\x20" + SIGNER + b"\xc4\x40" == records.encode(signed)[:37]
    assert TABLE == packs.open_table(access(), signed, "x")
    with pytest.raises(DamageError, match="does not bear the signature"):
        packs.open_table(replace(access(), repository=bytes(16)), signed, "x")


def test_where_lists_are_cut_and_what_their_nodes_are() -> None:
    """Nodes of content and skeleton: of chunks, and of nodes."""
    nodes: list[bytes] = []
    writer = recipes.ListWriter(KEY, lambda id_, node: nodes.append(node))
    ids = [hashlib.sha256(struct.pack("<I", n)).digest() for n in range(500)]
    writer.extend(ids, [n + 1 for n in range(500)])
    root = writer.finish()
    assert VECTORS["list"] == [root.depth, root.size, root.entries, root.id.hex()]
    assert VECTORS["nodes"] == [len(node) for node in nodes]
    assert ids[0] + b"\1\0\0\0" + ids[1] + b"\2\0\0\0" == nodes[0][:72]
    of_first = sum(range(1, 61)).to_bytes(8, "little") + b"\x3c\0\0\0"
    assert blake3(nodes[0], key=KEY).digest() + of_first == nodes[-1][:44]


def test_what_nodes_of_layouts_are() -> None:
    """Nodes of layouts have sums of skeleton and content, too."""
    nodes: list[bytes] = []
    writer = recipes.ListWriter(KEY, lambda id_, node: nodes.append(node), recipes.LAYOUT)
    ids = [hashlib.sha256(struct.pack("<I", n)).digest() for n in range(100)]
    writer.extend(ids, [n + 1 for n in range(100)], [(n, 258) for n in range(100)])
    root = writer.finish()
    assert VECTORS["layout list"] == [root.depth, root.size, root.entries, root.id.hex()]
    assert VECTORS["layout nodes"] == [len(node) for node in nodes]
    assert ids[1] + b"\2\0\0\0" + b"\1" + bytes(7) + b"\2\1" + bytes(6) == nodes[0][52:104]
    count = len(nodes[0]) // 52
    sums = [sum(range(1, count + 1)), sum(range(count)), 258 * count]
    of_first = struct.pack("<QIQQ", sums[0], count, *sums[1:])
    assert blake3(nodes[0], key=KEY).digest() + of_first == nodes[-1][:60]


def test_a_layout() -> None:
    """How lengths are written."""
    ranges = [Range(5, False), Range(300, True), Range(1, False), Range(2, False)]
    divider = splitting.Divider(Marking(ranges))
    written = divider.divide(memoryview(bytearray(308)), 0, 308, ended=True).layout
    assert "05ac0203" == (written + divider.finish()).hex()


VECTORS: dict[str, Any] = {
    "keys": [
        "79017101a6d15833b1d0493cd8d585f8b725872033",
        "78e9c2bb002c700bb7bf13f9e81095505bdbf5930833889ef06bb95c7fd8a09a",
        "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c",
    ],
    "block": [
        "d21c3a17b014e12ed1bf766b96da6d2b93611b22",
        "d439dd5ad21d4180e940dacdbd81fcf4",
    ],
    "sealed": (
        "0ad5e80c626d7de5623209f40721dbce271437ccf20d54ba44cd2a4c1e61230d484333f041e6075d7ff1bd53c6910e6a"
        "00402be6c2d8c1dd96042bb38745436fa8faefe123ccf60b0c37c944fefff0056de615d02b35feeaaa1b2ad761f1457a"
        "f164df48c3c9710c377fae2ef3d23dc04277484b07d9018a514c63399fe3af5acd90c66aca1e0ce32a8a83eae7d77509"
        "cc3dcceee823279f597b2b8299cc3794d90ceeb68ef8b89c949abc964caf95c8ed644662d3e75baadd5a5dbf763c01cd"
        "006ee0eaaa7fea1f16a40a9750bd216e252a6f74d0923f58f595b5635d4469413bdf12a11a05cbf15dbb9333471659d6"
        "b61a465dbee9a8a1778d234ef4a2826b6dde5c3837c971f7d635aacd15370fc2244e54977f0b82b7c2cdacd5a8f820ae"
        "f2659461fb982a959c9ead9b965aec33bf71f3087728620090827c0df15496852fe422fb7f908b8d70e8b5c8410308df"
        "6e9775b6ec4a267e4604b5d02b8556b04a534ceac2d6d45bbb0b6d061f27f74fad3c25ca12e5d136b3704c6c214919f9"
        "5b6c3becc278f41ba13c0bfcfadc214fe343b9f3b3c195368d1ecf8a1419c544ed1e0d7c7e0d4cf410d25558b1c8eeb5"
        "c07b6113f6a1dda1c9dcc145a61f1a1ccbd964b583ea549acfaa8770973f1a209d52bcee8ea12d985e63cecb8d779436"
        "36c9103d9d6936a3d457c5d113c622686d506e5e6b6863dcd391ec96ebbfc5e3d59ba6878eefd11643cb8fe5b81ab86b"
        "48d19b2acbf8b08327e0511011aa263e4fbe9ea00243675855cccc5696fb930a8e0152f7978e28c8fbd6aa2c7493e091"
        "01d6d4d3e70136f2e6b0c3869c9298a1ebf203428edbf984e66db5adeaae3174e5616a808f9d1e9aee788239e2af9d36"
        "b57ef92001774d015017bd45c4b44b99197347c40b007be33b689875ef0482788c5def681ae09181f2a50545a3bf9d79"
        "537a6addf38cf112396aea5f31db51b30a78f2cefafc54c3e9576ffe4dccbd66ddbe9fccdec96896683a997e12cba715"
        "25a35a3f462010ca7da60dbaf2d05f2af0b94e96f68188f76d089cddb190602f0d66271b3b78056bdbdc76b45b8ee391"
        "07cf97cbda8d55d66b5b3a75d81aa0c4fc7b97217850a7bafe8f253d6148a9e184c10643a2e3537ef52ebf398fd6aee4"
        "8e46300c60c3c935d84ad00559616a9fa9e4a41d5cd7551a7a7a1c6bbee5bbadc28ddfd869a6a5f125d6516fba4148f6"
        "4aed8685cef6a8a1accbc4093c99aec67e9f0a989e11eef82f252562e9aa5408f80ec170912c0f5f4e604cb28bdbebc1"
        "970531975c292a443ed21dea13b305f7260dccaac2700b01e8eb6ebb2c3cc6589ee34d01fc594c646cd3a1dd68548ff8"
        "5214b51e9a39539a8a967e08bda259b664f6516f28699502b97b418b03eb42fe74713c483c3670c5aea0f6a9b923625d"
        "d4a225619071d3aa7d95061473ea45c744a7f7c2bc1cb821ac9aeed5743829b0bd5f50ee3a6e94b7e053f5d2d9a60dea"
        "28ea5c6162909b98799235450e8f44c70e91daca2d9f15deed02d5c368d888c1b492e223ad01b40f0a8c55e02d6d19a8"
        "4277c8cfa1a5229429817e7c91e761201e9d866e859eabcac3cf418624427250b112c2c12102f18fae89c3e5065c02a9"
        "9f7d2b14041379bdd27dad26cf0d914a"
    ),
    "tree": (
        "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5fced363b133a7693bb29e629c43"
        "6be73e0563da8950b3fb59fcae1ce9f492d45062ace2b64f657586bcd6ea09be791ba1"
    ),
    "file": "5eb6e2c5bce21e726d2ef8ea7557982f407e5a8887d2df47506f5bd28de6f42d",
    "signatures": [
        (
            "44cc52efb2bf05e6127893584eae2cca1128a372e2f87cd9278be266feb4f8e6453340d9feb670c37192affe46"
            "23ba50f34e395984118aa5525fd5db32a71f0b"
        ),
        (
            "109e5b50adc5bcce7a96f3fd235bbe5989474810aa850bc85cefd45e6866f3d00e91b98ef977a9ef01806fb358"
            "1e8f55e38b650c977a288b874a72129f5f3a06"
        ),
    ],
    "signed table": "d30f99b7c0f0216791ec477714e4e832a2d4cd1b6a745734c204182ced0967e5",
    "list": [2, 125250, 7, "132d3482f25549df1cf39e0064d34de891183b937a0a80367ee12f0eee230db2"],
    "nodes": [2160, 6588, 2700, 1260, 3204, 1692, 396, 308],
    "layout nodes": [3120, 2080, 120],
    "layout list": [2, 5050, 2, "2ccbb02180697b84a9eeef4b8b97e9fd115b5dc8c641afa96a40683a24f7fe16"],
}
