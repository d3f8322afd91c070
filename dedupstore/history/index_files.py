"""Index files: keep the local cache in step with them, and with the packs that they name.

Invariant: a row of the cache names an index file that was there when it was last listed, that counts under the
present roster, and whose tables were signed by members of the domain.
"""

from collections.abc import Iterable

import msgspec

from dedupstore.access import Access
from dedupstore.cache.index_cache import DescribedIndex
from dedupstore.context import FETCH_THREADS
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import Index
from dedupstore.history import verified
from dedupstore.history.closings import CountingContext


def refresh(context: CountingContext) -> set[bytes]:
    """Read the index files that are new, drop the rows of those that are gone, and return those that were listed."""
    if lost := context.cache.with_lost_packs():  # they may be back
        context.cache.drop_index(lost)
    cached = context.cache.index_signers()
    present = layout.digests(context.backend.names("index"))
    counts = _Counting(context)  # the roster may have changed since a file was read
    counting = {name for name, signer in cached.items() if counts(name, signer)}
    if gone := cached.keys() - (present & counting):
        context.cache.drop_index(gone)
    new = [name for name in sorted(present - counting) if not context.is_rejected(_file(name))]
    for batch in context.fetch(new, lambda name: _read(context, counts, name), at_once=FETCH_THREADS):
        for name, described in batch:
            context.cache.add_index(name, described)
    return present


def _file(name: bytes) -> str:
    return layout.content_file(Kind.INDEX, name)


def verify_recent_packs(context: CountingContext) -> None:
    """List and size the packs of index files not verified yet: a server may lose what it acknowledged."""
    names = context.cache.unverified()
    if not names:
        return
    packs = [(number, pack.file, pack.size) for number, pack in context.cache.packs_of(names)]
    sizes = pack_sizes(context, {name.rsplit("/", 1)[0] for _, name, _ in packs})
    lost = [(number, name) for number, name, size in packs if sizes.get(name) != size]
    if lost:
        context.cache.mark_lost([number for number, _ in lost])
        context.damage += [
            f"{name} is missing or has a wrong size; its chunks will be stored again" for _, name in lost
        ]
    context.cache.mark_verified(names)


def pack_sizes(context: CountingContext, folders: Iterable[str]) -> dict[str, int]:
    """Return the files in these folders of packs, with their sizes."""
    from concurrent.futures import ThreadPoolExecutor  # slow to load, and listing seldom needs it

    # many listings at once hide the round trips: there are 256 folders of each kind
    with ThreadPoolExecutor(64 if context.backend.properties.remote else FETCH_THREADS) as pool:
        listings = pool.map(lambda folder: list(context.backend.list(folder)), sorted(folders))
        return {entry.name: entry.size for listing in listings for entry in listing}


def describe(access: Access, name: bytes, signer: bytes, index: Index) -> DescribedIndex:
    """Return what an index file says, with what is in its packs, when all of it is found to be right.

    Raises `DamageError` if the signer may not index that domain, a table is not what it must be, or there is more
    than an index file may hold.
    """
    from dedupstore.format import packs

    file = layout.content_file(Kind.INDEX, name)
    member = access.signers[signer]
    if member.role == "writer" and index.domain != member.domain:
        raise DamageError(f"{file} names a domain that is not its signer's")
    described, chunks = [], 0
    for pack in index.packs:
        described.append(packs.describe(access, pack, index.domain, file))
        chunks += len(described[-1].lengths)
        if chunks > layout.MAX_PACK_CHUNKS:
            raise DamageError(f"{file} names more chunks than an index file may hold")
    if (
        member.role == "writer"
    ):  # it deletes nothing, and what it says of others' files must not excuse their loss
        index = msgspec.structs.replace(index, replaces=b"")
    return DescribedIndex(signer, index, described)


class _Counting:
    """Tells whether an index file of a signer counts under the present roster."""

    def __init__(self, context: CountingContext) -> None:
        self._context = context
        self._closed: dict[bytes, set[bytes]] = {}

    def __call__(self, name: bytes, signer: bytes) -> bool:
        member = self._context.members.signers.get(signer)
        if member is None or member.closing is None:
            return member is not None
        if signer not in self._closed:
            closing = self._context.closed(signer)
            self._closed[signer] = set(records.names(closing.index)) if closing else set()
        return name in self._closed[signer]


def _read(context: CountingContext, counts: _Counting, name: bytes) -> tuple[bytes, DescribedIndex] | None:
    file = _file(name)
    try:
        found = verified.read(context, Kind.INDEX, file, Index)
    except NotFoundError as error:
        context.damage.append(str(error))
        return None
    if found is None:
        return None
    signer, _, index = found
    del found, _  # the payload is as large as the rest
    try:
        if counts(name, signer):
            return name, describe(context.access, name, signer, index)
        if not context.members.signers[signer].closing or context.closed(signer) is not None:
            context.ignore(file)  # else an alarm says so, and the list may come back
    except DamageError as error:
        context.reject(file, str(error))
    return None
