"""Golden vectors: the bytes of format 1, piece by piece.  None of them may ever change."""

import hashlib
import struct
from typing import Any

import pytest

from dedupstore import blocks, layout, recipes, records, sealing, splitting
from dedupstore.blocks import BlockKey
from dedupstore.layout import Header, Kind
from dedupstore.records import Done, Index, IndexedPack, PackTable, Root, Run, Snapshot, Stream
from tests.store import Marking, Range, sealed_block

REPOSITORY = bytes(range(16))
KEY = bytes(range(32))


def short(data: bytes) -> str:
    """Return enough of a hash to tell data apart."""
    return hashlib.sha256(data).hexdigest()[:24]


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
    assert layout.content_file(Kind.DATA, digest) == f"data/e3/{hexed}"
    assert layout.content_file(Kind.TREE, digest) == f"tree/e3/{hexed}"
    assert layout.content_file(Kind.INDEX, digest) == f"index/{hexed}"
    assert layout.content_file(Kind.SNAPSHOT, digest) == f"snapshots/{hexed}"
    assert layout.content_file(Kind.CHECKPOINT, digest) == f"checkpoints/{hexed}"
    assert layout.run_file(REPOSITORY) == "runs/000102030405060708090a0b0c0d0e0f.run"
    done = f"runs/000102030405060708090a0b0c0d0e0f-{hexed}.done"
    assert layout.done_file(REPOSITORY, digest) == done
    assert layout.digest_of(done) == digest
    assert layout.run_done(done) == REPOSITORY
    assert layout.roster_file(12) == "roster/00000012"


def test_keys_derived_from_others() -> None:
    """File key, tree key, node key."""
    header = Header(Kind.INDEX, REPOSITORY, 1, bytes(32))
    sealed = sealing.encrypt_once(sealing.file_cipher(KEY, header), b"plain", b"associated")
    tree = sealing.tree_key(KEY, bytes(32), REPOSITORY, bytes(16))
    assert [sealed.hex(), tree.hex(), recipes.node_key(KEY).hex()] == VECTORS["keys"]


def test_a_block() -> None:
    """Codec, nonce and associated data of a block."""
    key = BlockKey(Kind.DATA, REPOSITORY, 3, bytes(16), KEY)
    sealed = sealed_block(key, 258, b"\0abc")
    assert sealed.hex() == VECTORS["block"]
    assert blocks.open_block(key, 258, sealed, 3, "x") == b"abc"


def test_a_data_key_that_was_sealed_once_still_opens() -> None:
    """HPKE with MLKEM768-X25519."""
    private = bytes(range(96))
    opened = sealing.open_data_key(bytes.fromhex(VECTORS["sealed"]), private, REPOSITORY, 2, bytes(16))
    assert opened == KEY


def test_a_signature() -> None:
    """Ed25519 is deterministic."""
    signature = sealing.sign(KEY, Header(Kind.RUN, REPOSITORY, 1, bytes(32)), b"payload")
    assert signature.hex() == VECTORS["signature"]


@pytest.mark.parametrize("name", ["index", "table", "snapshot", "run", "done"])
def test_a_record(name: str) -> None:
    """The MessagePack of each record."""
    pack = IndexedPack(bytes(32), "D", 9000, [(bytes(16), 1, b"s")], [(0, 0, 17, 1)], bytes(32), bytes(4))
    stream = Stream("n", "raw", 5, 6, 7, 8, Root(1, bytes(32), 5), Root(), Root(), {"a": 1})
    made = {
        "index": Index(REPOSITORY, "d", 5, [pack]),
        "table": PackTable("d", [(0, 0, 17, 1)], bytes(32), bytes(4)),
        "snapshot": Snapshot(
            *(REPOSITORY, "d", 1, {bytes(32): (1, KEY)}, 2, 3600, 3, 4, "h", "p", (1, KEY), [stream])
        ),
        "run": Run(REPOSITORY, 1, "h", [KEY]),
        "done": Done(REPOSITORY, KEY, 9),
    }
    encoded = records.encode(made[name])
    assert short(encoded) == VECTORS[name]
    assert records.decode(encoded, type(made[name]), name) == made[name]


def test_a_list_and_a_layout() -> None:
    """Where lists of chunks are cut, and how lengths are written."""
    nodes: list[bytes] = []
    writer = recipes.ListWriter(KEY, lambda id_, node: nodes.append(node))
    ids = [hashlib.sha256(struct.pack("<I", n)).digest() for n in range(500)]
    writer.extend(ids, [n + 1 for n in range(500)])
    root = writer.finish()
    assert [root.depth, root.size, short(root.id), [len(node) // 36 for node in nodes]] == VECTORS["list"]
    ranges = [Range(5, False), Range(300, True), Range(1, False), Range(2, False)]
    divider = splitting.Divider(Marking(ranges))
    written = divider.divide(memoryview(bytearray(308)), 0, 308, ended=True).layout
    assert (written + divider.finish()).hex() == "05ac0203"


VECTORS: dict[str, Any] = {
    "keys": [
        "79017101a6d15833b1d0493cd8d585f8b725872033",
        "30494e6c13c5bdd33daa43c64729cd8dca9301b199e6c977f82dbffc36647c05",
        "78e9c2bb002c700bb7bf13f9e81095505bdbf5930833889ef06bb95c7fd8a09a",
    ],
    "block": "d21c3a170055c7587602e1ec82012d2d618e8953",
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
    "signature": (
        "44cc52efb2bf05e6127893584eae2cca1128a372e2f87cd9278be266feb4f8e6453340d9feb670c37192affe4623ba50"
        "f34e395984118aa5525fd5db32a71f0b"
    ),
    "index": "80abecde45907680739fd4f7",
    "table": "fbf26693fcca6e387a9fd00e",
    "snapshot": "1957078eb5dd9b78279bdd5a",
    "run": "b02ccf5d06ed3db38ec0cd7e",
    "done": "d81dcf4d460076f8825de5e1",
    "list": [2, 125250, "137e83b26d5da1f4c9e601fa", [60, 183, 75, 35, 89, 47, 11, 7]],
}
