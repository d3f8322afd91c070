"""Open and verify files that members signed, once each; what small ones say is kept in the cache.

Invariant: what is returned was signed by a member, present or former, who may sign such files; a name alone
proves nothing.  A refused file is reported each time, and read again only if its bytes may have been repaired.
"""

from collections.abc import Collection
from typing import TypeVar

import msgspec

from dedupstore.context import Context
from dedupstore.errors import DamageError, NewerFormatError, NotFoundError
from dedupstore.format import layout, records
from dedupstore.format.layout import Kind

T = TypeVar("T", bound=msgspec.Struct)

_AT_ONCE = 64
_OF_RUNS = (Kind.DONE, Kind.ENDED, Kind.FENCE)
_LISTINGS = 3  # files move on, into ledgers for instance, while they are read


def read(context: Context, kind: Kind, file: str, record: type[T]) -> tuple[bytes, bytes, T] | None:
    """Return signer, payload and record of a file; None for one that is refused, which is then reported.

    Raises `NotFoundError`.
    """
    from dedupstore.format import record_files

    if context.is_rejected(file):
        return None
    data = b""
    try:
        data = context.backend.read(file)
        signer, payload = record_files.open_payload(context.access, kind, file, data)
        found = records.decode(payload, record, file)
        if kind in _OF_RUNS and getattr(found, "run") != layout.run_of(file, kind):  # noqa: B009
            raise DamageError(f"{file} belongs to another run than its name says")
        return signer, payload, found
    except NewerFormatError as error:
        context.newer.append(str(error))
    except DamageError as error:
        if data and layout.sha256(data) == layout.digest_of(file):
            context.reject(file, str(error))
        else:
            context.damage.append(str(error))  # the right bytes may be put back
    return None


def known(
    context: Context, kind: Kind, files: Collection[str], record: type[T], gone: list[str]
) -> dict[str, tuple[bytes, T]]:
    """Return signer and record of those of a folder's files that are right; `gone` gets those that are not there."""
    rows = context.cache.records.of(kind.folder)
    if dropped := rows.keys() - files:
        context.cache.records.drop(dropped)

    def fresh(file: str) -> tuple[str, bytes, bytes] | None:
        try:
            found = read(context, kind, file, record)
        except NotFoundError:
            gone.append(file)
            return None
        return (file, *found[:2]) if found else None

    for batch in context.fetch(sorted(set(files) - rows.keys()), fresh, _AT_ONCE):
        context.cache.records.add(batch)
        rows.update((file, (signer, payload)) for file, signer, payload in batch)
    return {
        file: (signer, records.decode(payload, record, file))
        for file, (signer, payload) in rows.items()
        if file not in dropped and signer in context.members.signers
    }


def listed(context: Context, kind: Kind, record: type[T]) -> dict[str, tuple[bytes, T]]:
    """List a folder of files that have the hash of their bytes for a name, and return those that are right."""
    for _ in range(_LISTINGS):
        gone: list[str] = []
        files = {file for file in context.backend.names(kind.folder) if layout.digest_of(file)}
        found = known(context, kind, files, record, gone)
        if not gone:
            return found
    context.damage += [f"{file} is listed, but cannot be read" for file in gone]
    return found
