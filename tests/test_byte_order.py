"""No number of the format, or of any file, is read or written in the byte order of the machine.

On a little-endian machine such a mistake changes nothing, so the source itself is looked at; `tests/big_endian` runs
what it can of the program on a big-endian one.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
STRUCT = {"Struct", "pack", "pack_into", "unpack", "unpack_from", "iter_unpack", "calcsize"}
NATIVE = {  # all that is native on purpose: none of it leaves the process
    ("dedupstore/backends/sftp/ssh.py", "@ll"),  # the kernel's struct timeval
    ("dedupstore/backends/listing.py", "array Q"),  # sizes, in memory
    ("dedupstore/format/packs.py", "array I"),  # lengths in memory, made of little-endian columns
    ("dedupstore/format/pack_records.py", "array I"),
    ("dedupstore/reading/random_access.py", "array Q"),  # the same, put together
    ("dedupstore/reading/random_access.py", "frombytes"),
    ("dedupstore/chunks/splitting.py", "cast Q"),  # numbers from dedupstore.chunks._divide
    ("dedupstore/chunks/ids.py", "array Q"),  # offsets for dedupstore.chunks._identify
    ("pipelines/formats/afs/names.py", "=IIB"),  # an index in memory
    ("pipelines/formats/afs/names.py", "array Q"),
    ("pipelines/formats/tar/sparse.py", "array Q"),  # regions of a sparse file, in memory
}


def native(path: Path) -> Iterator[str]:
    """Yield what a module packs, unpacks or casts in the machine's order."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id: text(node.value, {})
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        form = text(node.args[0], constants)
        if name == "cast" and isinstance(node.func, ast.Attribute) and form not in ("B", ""):
            yield f"cast {form}"
        elif name == "array":
            yield f"array {form}"
        elif name in ("frombytes", "fromfile"):
            yield name
        elif name in STRUCT and form and form[0] not in "<>!" and set(form) - set("0123456789scxbB?"):
            yield form


def text(node: ast.expr, constants: dict[str, str]) -> str:
    """Return the format that an expression makes, with 1 for a number that is not known here; "" if it is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return constants.get(node.value.id, "") or "1" if isinstance(node.value, ast.Name) else "1"
    return ""


def test_nothing_but_what_stays_in_memory_is_in_the_order_of_the_machine() -> None:
    modules = [
        path for package in ("dedupstore", "keys", "pipelines") for path in (ROOT / package).rglob("*.py")
    ]
    found = {(str(path.relative_to(ROOT)), form) for path in modules for form in native(path)}
    assert set() == found - NATIVE
    assert NATIVE == found & NATIVE
