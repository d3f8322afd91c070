"""Index files: the local cache is kept true with those that there are, and with the packs that they name.

Invariant: a row of the cache names an index file that was there when it was last listed, written by a member for
its own domain.
"""

from collections.abc import Iterable

from dedupstore import layout
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.layout import Kind
from dedupstore.opened import FETCH_THREADS, Opened
from dedupstore.records import Index


def refresh(opened: Opened) -> None:
    """Read the index files that are new, and drop the rows of those that are gone."""
    if lost := opened.cache.with_lost_packs():  # they may be back
        opened.cache.drop_index(lost)
    cached = opened.cache.index_files()
    present = layout.digests(opened.backend.names("index"))
    if gone := cached - present:
        opened.cache.drop_index(gone)
    for batch in opened.fetch(
        sorted(present - cached), lambda name: _read(opened, name), at_once=FETCH_THREADS
    ):
        for name, index in batch:
            try:
                opened.cache.add_index(name, index)
            except DamageError as error:
                opened.damage.append(f"{layout.content_file(Kind.INDEX, name)}: {error}")


def verify_recent_packs(opened: Opened) -> None:
    """List and size the packs of index files not verified yet: a server may lose what it acknowledged."""
    names = opened.cache.unverified()
    if not names:
        return
    packs = [
        (number, layout.content_file(Kind(pack.kind.encode()), pack.name), pack.size)
        for number, pack in opened.cache.packs_of(names)
    ]
    sizes = pack_sizes(opened, {name.rsplit("/", 1)[0] for _, name, _ in packs})
    lost = [(number, name) for number, name, size in packs if sizes.get(name) != size]
    if lost:
        opened.cache.mark_lost([number for number, _ in lost])
        opened.damage += [
            f"{name} is missing or has a wrong size; its chunks are stored anew" for _, name in lost
        ]
    opened.cache.mark_verified(names)


def pack_sizes(opened: Opened, folders: Iterable[str]) -> dict[str, int]:
    """Return the files in these folders of packs, with their sizes."""
    from concurrent.futures import ThreadPoolExecutor  # slow to load, and listing seldom needs it

    # a far back end has more listings under way: there are 256 folders of each kind, a few turns each
    with ThreadPoolExecutor(FETCH_THREADS if opened.backend.uploads == 1 else 64) as pool:
        listings = pool.map(lambda folder: list(opened.backend.list(folder)), sorted(folders))
        return {entry.name: entry.size for listing in listings for entry in listing}


def _read(opened: Opened, name: bytes) -> tuple[bytes, Index] | None:
    from dedupstore import catalogue

    file = layout.content_file(Kind.INDEX, name)
    try:
        signer, index = catalogue.open_record(
            opened.access, Kind.INDEX, file, opened.backend.read(file), Index
        )
        member = opened.access.signers[signer]
        domains = {other.domain for other in opened.access.signers.values()}
        free = member.role == "admin" and member.last_snapshot is None and index.domain in domains
        if index.domain != member.domain and not free:
            raise DamageError(f"{file} names a domain that is not its signer's")
    except (DamageError, NotFoundError) as error:
        opened.damage.append(str(error))
        return None
    return name, index
