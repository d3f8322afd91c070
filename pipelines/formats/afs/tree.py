"""The paths of a volume, out of its dumps: what `ls`, `extract`, `find` and `diff` see.

Directories come first in a dump, so all names are known before the first file.  Contents are skipped unless they
are asked for.

Invariant: whatever a dump holds, each of its vnodes comes out once under a path of its own, and no path comes twice;
what no directory names, or only in a way that leads nowhere, is under `__lost__`.  Memory grows with the names
(docs/decisions/0016-merge.md says how much), never with the contents.
"""

from pipelines.formats.acl import Acl
from pipelines.formats.afs import directory, tags
from pipelines.formats.afs.join import check_chain, living
from pipelines.formats.afs.names import Name, Names
from pipelines.formats.afs.reader import DumpReader
from pipelines.formats.afs.vnodes import Status, read_status
from pipelines.formats.entries import Contents, Entries, Entry, Kind
from pipelines.formats.stream import InputStream

ROOT = 1  # the vnode of a volume's root directory
_LONGEST_PATH = 4096  # PATH_MAX of Linux; what lies deeper starts again under __lost__
_LONGEST_TARGET = 4096
_PERMISSIONS = 0o7777


def entries(stream: InputStream, *incrementals: InputStream) -> Entries:
    """Yield every name, with what yields its contents if it is a file that has some.

    `stream` is a full dump; with `incrementals` after it, from the oldest to the newest, the names are those of the
    volume as of the last of them.  They come in the order of the dump; of a file with several names the first is the
    file, the others are hard links to it.  Raises `StreamError`, as `merge` does.
    """
    dumps = [DumpReader(stream), *map(DumpReader, incrementals)]
    check_chain(dumps)
    return _entries(dumps)


def _entries(dumps: list[DumpReader]) -> Entries:
    folders = _Folders()
    vnodes = living(dumps)
    for dump, vnode in vnodes:
        status = read_status(vnode.head)
        if not vnode.vnode & 1:
            yield from folders.entries()
            yield from folders.of(status, dump)
            break
        if status.kind == tags.DIRECTORY and status.size <= directory.LIMIT:
            folders.add(status, b"".join(dump.copy_contents()))
        else:
            folders.add(status, b"")
    else:
        yield from folders.entries()
    for dump, vnode in vnodes:
        yield from folders.of(read_status(vnode.head), dump)


class _Folders:
    """All directories of a volume, and the names in them."""

    def __init__(self) -> None:
        self._statuses: dict[int, Status] = {}
        self._names = Names()
        self._paths: dict[int, bytes] = {}
        self._lost = b"__lost__"

    def add(self, status: Status, contents: bytes) -> None:
        """Take in a directory."""
        here = status.vnode
        self._statuses[here] = status
        for text, vnode, unique in directory.names(contents):
            self._names.add(vnode, here, unique, text)
            if here == ROOT and text.startswith(self._lost):
                self._lost = text + b"_"

    def entries(self) -> Entries:
        """Yield the directories themselves, once all are taken in."""
        self._names.sort()
        for vnode, status in self._statuses.items():
            kind: Kind = "dir" if status.kind == tags.DIRECTORY else "other"
            yield _entry(self._path(vnode), kind, status, acl=_acl(status.acl)), None

    def of(self, status: Status, dump: DumpReader) -> Entries:
        """Yield the names of a vnode that is no directory; `dump` stands at it."""
        contents: Contents | None = None
        kind: Kind = "other"
        target = b""
        if status.kind == tags.FILE:
            kind, contents = "file", dump.copy_contents
        elif status.kind == tags.SYMLINK and status.size <= _LONGEST_TARGET:
            target = b"".join(dump.copy_contents())
            kind = "mount" if not status.mode & 0o111 and target[:1] in (b"#", b"%") else "symlink"
        first, *others = self._file_paths(status)
        yield _entry(first, kind, status, target), contents
        for path in others:
            yield _entry(path, "hardlink", status, first), None

    def _file_paths(self, status: Status) -> list[bytes]:
        paths = []
        for name in self._names.of(status.vnode):
            if name.unique == status.unique:
                above = self._paths[name.folder]
                paths.append(above + b"/" + name.text if above else name.text)
        return paths or [self._lost_path(status)]

    def _path(self, vnode: int) -> bytes:
        """Return where a directory is.  A path never leads through a directory that is not in the dump."""
        below: list[tuple[int, bytes]] = []
        on_the_way = set()
        while vnode not in self._paths:
            name = None if vnode in on_the_way else self._name_of_folder(vnode)
            if vnode == ROOT:
                self._paths[vnode] = b""
            elif name is None:
                self._paths[vnode] = self._lost_path(self._statuses[vnode])
            else:
                on_the_way.add(vnode)
                below.append((vnode, name.text))
                vnode = name.folder
        path = self._paths[vnode]
        for vnode, text in reversed(below):
            if vnode in self._paths:  # a loop, in which this one is lost
                path = self._paths[vnode]
                continue
            path = path + b"/" + text if path else text
            if len(path) > _LONGEST_PATH:
                path = self._lost_path(self._statuses[vnode])
            self._paths[vnode] = path
        return path

    def _name_of_folder(self, vnode: int) -> Name | None:
        """Return the name of a directory: the one in its parent, if there are several."""
        status = self._statuses[vnode]
        names = [name for name in self._names.of(vnode) if name.unique == status.unique]
        in_parent = [name for name in names if name.folder == status.parent]
        return next(iter(in_parent or names), None)

    def _lost_path(self, status: Status) -> bytes:
        return b"%s/%d.%d" % (self._lost, status.vnode, status.unique)


def _acl(data: bytes) -> Acl | None:
    try:
        return Acl.parse(data)
    except ValueError:
        return None


def _entry(path: bytes, kind: Kind, status: Status, target: bytes = b"", acl: Acl | None = None) -> Entry:
    return Entry(
        path,
        kind,
        status.mode & _PERMISSIONS,
        status.owner,
        status.group,
        status.modified,
        status.size,
        target,
        (status.vnode, status.unique, status.version),
        acl,
    )
