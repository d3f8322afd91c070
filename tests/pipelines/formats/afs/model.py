"""A volume that is edited, and dumped as a volume server would dump it.

The clock stands still between edits and is set by the test; what is dumped as changed goes by the time of a vnode's
last change, as in volserver's DumpVnodeIndex.  Vnode numbers are used again at once, with a new uniquifier.
"""

import random
import struct
from dataclasses import dataclass, field

from tests.afsdump import ADMINISTRATORS, ALL, ANYUSER, make_directory

FILE, FOLDER, SYMLINK = 1, 2, 3
ROOT = 1
END = b"\x04" + struct.pack(">I", 0x3A214B6E)


def make_acl(positive: dict[int, int], negative: dict[int, int] | None = None) -> bytes:
    negative = negative or {}
    total = len(positive) + len(negative)
    entries = [struct.pack(">iI", *entry) for entry in (*positive.items(), *negative.items())]
    head = struct.pack(">5i", 20 + 8 * total, 1, total, len(positive), len(negative))
    return (head + b"".join(entries)).ljust(192, b"\0")


@dataclass
class Node:
    number: int
    unique: int
    kind: int
    mode: int
    parent: int
    changed: int  # of the server's clock; what an incremental goes by
    modified: int
    links: int = 1
    version: int = 1
    owner: int = 0
    group: int = 0
    content: bytes = b""
    acl: bytes = b""
    names: dict[bytes, int] = field(default_factory=dict)  # of a folder


class Volume:
    def __init__(self, name: str = "model", number: int = 536870930, now: int = 1_700_000_000) -> None:
        self.name, self.number, self.now = name, number, now
        self.parent = number
        self.kind = 0
        self.created = self.updated = now
        self.unique = 1
        self.tail = b""  # of the header of each whole vnode: tags that nobody knows
        acl = make_acl({ADMINISTRATORS: ALL, ANYUSER: ALL})
        self.nodes = {ROOT: Node(ROOT, 1, FOLDER, 0o777, 0, now, now, links=2, acl=acl)}

    # -- edits --------------------------------------------------------------------------------------------

    def _touch(self, node: Node) -> None:
        node.changed = self.updated = self.now

    def _renamed_in(self, folder: Node) -> None:
        folder.version += 1
        folder.modified = self.now
        self._touch(folder)

    def make(self, folder: int, name: bytes, kind: int, content: bytes = b"", mode: int = 0o644) -> Node:
        number = 1 if kind == FOLDER else 2
        while number in self.nodes:
            number += 2
        self.unique += 1
        above = self.nodes[folder]
        node = Node(number, self.unique, kind, mode, folder, self.now, self.now, content=content)
        if kind == FOLDER:
            node.links, node.acl = 2, above.acl
            above.links += 1
        self.nodes[number] = node
        above.names[name] = number
        self._renamed_in(above)
        return node

    def mkdir(self, folder: int, name: bytes) -> int:
        return self.make(folder, name, FOLDER, mode=0o755).number

    def write(self, folder: int, name: bytes, content: bytes) -> int:
        if name not in self.nodes[folder].names:
            return self.make(folder, name, FILE, content).number
        node = self.nodes[self.nodes[folder].names[name]]
        node.content, node.modified = content, self.now
        node.version += 1
        self._touch(node)
        return node.number

    def link(self, folder: int, name: bytes, number: int) -> None:
        self.nodes[number].links += 1
        self._touch(self.nodes[number])
        self.nodes[folder].names[name] = number
        self._renamed_in(self.nodes[folder])

    def remove(self, folder: int, name: bytes) -> None:
        above = self.nodes[folder]
        node = self.nodes[above.names.pop(name)]
        if node.kind == FOLDER:
            assert not node.names
            above.links -= 1
            node.links = 0
        else:
            node.links -= 1
            self._touch(node)
        if not node.links:
            del self.nodes[node.number]
        self._renamed_in(above)

    def rename(self, folder: int, name: bytes, to: int, new: bytes) -> None:
        source, target = self.nodes[folder], self.nodes[to]
        number = source.names.pop(name)
        target.names[new] = number
        node = self.nodes[number]
        if folder != to:
            node.parent = to
            self._touch(node)
            if node.kind == FOLDER:
                source.links -= 1
                target.links += 1
                self._renamed_in(node)
            self._renamed_in(source)
        self._renamed_in(target)

    def chmod(self, number: int, mode: int, owner: int, group: int) -> None:
        node = self.nodes[number]
        node.mode, node.owner, node.group = mode, owner, group
        self._touch(node)

    def set_acl(self, number: int, acl: bytes) -> None:
        self.nodes[number].acl = acl
        self._touch(self.nodes[number])

    def within(self, number: int, folder: int) -> bool:
        while number and number != folder:
            number = self.nodes[number].parent
        return number == folder

    def edit(self, chance: random.Random) -> None:
        """Change something."""
        folders = [node for node in self.nodes.values() if node.kind == FOLDER]
        folder = chance.choice(folders)
        names = list(folder.names)
        new = chance.choice(
            [b"%d" % chance.randrange(1000), chance.randbytes(3).hex().encode() * 20, b"\xff\xe9"]
        )
        kind = chance.choice(
            ["write"] * 4 + ["mkdir", "symlink", "mount", "chmod", "acl", "link", "rename", "remove"]
        )
        if kind == "acl":
            self.set_acl(folder.number, make_acl({-101: chance.randrange(128)}, {7: chance.randrange(128)}))
        elif kind in ("write", "mkdir", "symlink", "mount"):
            if new not in folder.names or (kind == "write" and self.nodes[folder.names[new]].kind == FILE):
                if kind == "write":
                    self.write(folder.number, new, chance.randbytes(chance.choice([0, 1, 100, 600, 5000])))
                elif kind == "mkdir":
                    self.mkdir(folder.number, new)
                elif kind == "symlink":
                    self.make(folder.number, new, SYMLINK, b"../to/" + new, 0o755)
                else:
                    self.make(folder.number, new, SYMLINK, b"#root.cell.", 0o644)
        elif names:
            name = chance.choice(names)
            node = self.nodes[folder.names[name]]
            other = chance.choice(folders)
            if kind == "chmod":
                owner, group = chance.randrange(3), chance.choice([0, 0, 50])
                self.chmod(node.number, chance.randrange(0o10000), owner, group)
            elif kind == "link" and node.kind == FILE and new not in folder.names:
                self.link(folder.number, new, node.number)
            elif kind == "rename" and new not in other.names and not self.within(other.number, node.number):
                if node.kind == FOLDER or node.links == 1 or other is folder:
                    self.rename(folder.number, name, other.number, new)
            elif kind == "remove" and not node.names:
                self.remove(folder.number, name)

    # -- dumps --------------------------------------------------------------------------------------------

    def content(self, node: Node) -> bytes:
        if node.kind != FOLDER:
            return node.content
        above = self.nodes[node.parent or ROOT]
        entries = [(b".", node.number, node.unique), (b"..", above.number, above.unique)]
        return make_directory(
            [*entries, *((name, n, self.nodes[n].unique) for name, n in node.names.items())]
        )

    def paths(self) -> dict[bytes, Node]:
        """All names, by path."""
        found = {b"": self.nodes[ROOT]}
        todo = [(b"", self.nodes[ROOT])]
        while todo:
            path, folder = todo.pop()
            for name, number in folder.names.items():
                node = self.nodes[number]
                below = path + b"/" + name if path else name
                found[below] = node
                if node.kind == FOLDER:
                    todo.append((below, node))
        return found

    def header(self, since: int, until: int) -> bytes:
        name = b"n" + self.name.encode() + b"\0"
        begin = b"\x01" + struct.pack(">II", 0xB3A11322, 1) + _numbers(v=self.number) + name
        return begin + b"t" + struct.pack(">HII", 2, since, until)

    def volume_header(self) -> bytes:
        name = b"n" + self.name.encode() + b"\0"
        blocks = sum(max(1, -(-len(self.content(node)) // 1024)) for node in self.nodes.values())
        head = b"\x02" + _numbers(i=self.number, v=1) + name + b"s\x01b\x01"
        head += _numbers(u=self.unique + 200) + b"t" + bytes([self.kind])
        head += _numbers(p=self.parent, c=0, q=0, m=0, d=blocks, f=len(self.nodes), a=0, o=0)
        head += _numbers(C=self.created, A=0, U=self.updated, E=0, B=0) + b"O\0M\0"
        return head + b"W" + struct.pack(">H7I", 7, *range(7)) + _numbers(D=0, Z=0)

    def vnode(self, node: Node) -> tuple[bytes, bytes]:
        """The header of a whole vnode, and its contents."""
        content = self.content(node)
        head = struct.pack(">BIIcBcH", 3, node.number, node.unique, b"t", node.kind, b"l", node.links)
        head += _numbers(v=node.version, m=node.modified, a=node.owner, o=node.owner)
        head += _numbers(g=node.group) if node.group else b""
        head += b"b" + struct.pack(">H", node.mode) + _numbers(p=node.parent, s=node.changed)
        head += (b"A" + node.acl if node.kind == FOLDER else b"") + self.tail
        return head + _numbers(f=len(content)), content

    def in_order(self) -> list[Node]:
        return sorted(self.nodes.values(), key=lambda node: (node.number % 2 == 0, node.number))

    def parts(
        self, since: int = 0, *, until: int | None = None, omit_folders: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """As `dump`, in pairs of headers and contents."""
        parts = [(self.header(since, self.now if until is None else until) + self.volume_header(), b"")]
        for node in self.in_order():
            if node.changed >= since or (node.kind == FOLDER and not omit_folders):
                parts.append(self.vnode(node))
            else:
                parts.append((struct.pack(">BII", 3, node.number, node.unique), b""))
        return [*parts, (END, b"")]

    def dump(self, since: int = 0, *, until: int | None = None, omit_folders: bool = False) -> bytes:
        """What `vos dump -time SINCE` writes, by default up to now."""
        parts = self.parts(since, until=until, omit_folders=omit_folders)
        return b"".join(head + content for head, content in parts)


def _numbers(**numbers: int) -> bytes:
    return b"".join(tag.encode() + struct.pack(">I", number) for tag, number in numbers.items())


def history(
    seed: int, dumps: int, *, edits: int = 30, start: int = 1_700_000_000
) -> tuple[Volume, list[list[tuple[bytes, bytes]]]]:
    """A volume with random edits, and the parts of its dumps: a full one, then incrementals of either kind.

    The dumps are 1000 s apart; some overlap.
    """
    chance = random.Random(seed)
    volume = Volume(now=start)
    made = []
    for index in range(dumps):
        for _ in range(edits):
            volume.now += 1
            volume.edit(chance)
        since = 0 if index == 0 else start + 1000 * index - chance.choice([0, 0, 5, 500])
        volume.now = start + 1000 * (index + 1)
        made.append(volume.parts(since, omit_folders=chance.random() < 0.5))
    return volume, made
