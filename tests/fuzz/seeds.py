"""Write small dumps and tars for the fuzzers to begin with: `python tests/fuzz/seeds.py FOLDER`."""

import io
import struct
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from pipelines.formats.splitters import AfsSplitter
from tests.afsdump import make_dump

SAMPLES = Path(__file__).parents[1] / "data" / "afs"
END = bytes.fromhex("043a214b6e")


def dumps() -> dict[str, bytes]:
    """Return dumps by name."""
    plain = make_dump("v", 7, {"a": b"a" * 511, "b": b"b" * 512, "c": b"c" * 1500})
    odd = b"\3\0\0\0\2\0\0\0\2t\1h" + struct.pack(">Q", 600) + b"x" * 600
    odd += b"\3\0\0\0\4\0\0\0\4\x2a\3abc\x2a\x82\0\3abckword\x7b\x7f\x7el\0\1b\0\1"
    return {
        "plain": plain,
        "odd": plain[: -len(END)] + odd + END,
        "huge": plain[: -len(END)] + b"\3\0\0\0\2\0\0\0\2h" + b"\xff" * 8 + bytes(600),
        "long": plain[: -len(END)] + b"\3\0\0\0\2\0\0\0\2\x2a\x88" + b"\xff" * 8 + bytes(600),
        "trailing": plain + b"more",
        "empty": (SAMPLES / "1-empty.dump").read_bytes(),
        "incremental": (SAMPLES / "3-incr.dump").read_bytes()[:3000],
    }


def tars() -> dict[str, bytes]:
    """Return tars by name."""
    made = {}
    for tar_format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
            for name, size in (("a/" * 60, 511), ("b", 512), ("c", 1500)):
                member = tarfile.TarInfo(name)
                member.size = size
                member.mtime = 1.5 if tar_format == tarfile.PAX_FORMAT else 1
                tar.addfile(member, io.BytesIO(b"x" * size))
        made[str(tar_format)] = file.getvalue().rstrip(b"\0") + bytes(2048)
    sized = tarfile.TarInfo("c")
    sized.pax_headers = {"size": "1600", "GNU.sparse.major": "1"}
    stored = b"2\n0\n5\n900\n1083\n".ljust(512, b"\0") + b"x" * 1088 + bytes(448)
    for_all = tarfile.TarInfo.create_pax_global_header({"size": "600"})
    label = tarfile.TarInfo("label")
    label.type = b"V"
    made["global"] = for_all + 2 * (label.tobuf() + b"x" * 600 + bytes(424)) + bytes(1024)
    made["map"] = sized.tobuf(tarfile.PAX_FORMAT) + stored + bytes(1024)
    sparse = bytearray(tarfile.TarInfo("d").tobuf(tarfile.GNU_FORMAT))
    sparse[124:136] = b"\x80" + (700).to_bytes(11)
    sparse[156:157], sparse[482:483] = b"S", b"\1"
    sparse[148:155] = b"%06o\0" % (sum(sparse[:148]) + 8 * ord(" ") + sum(sparse[156:]))
    made["no map"] = made["map"].replace(b"2\n0\n5\n900\n1083\n".ljust(512, b"\0"), b"9" * 512)
    made["sparse"] = bytes(sparse) + bytes(504) + b"\1" + bytes(519) + b"x" * 700 + bytes(1348)
    return made


def write(folder: Path) -> list[Path]:
    """Write each into the folder named for the format, and return all."""
    columns = {}
    for name, data in dumps().items():
        splitter = AfsSplitter()
        splitter.split(data, True)
        columns[name] = splitter.vnodes()[: 40 * 32]
    written = []
    for kind, files in (("afs", dumps()), ("tar", tars()), ("succeed", columns)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = folder / kind / name
            path.write_bytes(data)
            written.append(path)
    return written


if __name__ == "__main__":
    write(Path(sys.argv[1]))
