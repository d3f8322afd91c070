"""What a newer program wrote into a map, and this one does not know: it goes into the next such map unread.

Invariant: the value of such a key keeps every bit.
"""

from typing import TypeAlias

import msgspec

from dedupstore.format import records

Encoded: TypeAlias = bytes | msgspec.Raw


def fields(data: Encoded) -> dict[str, msgspec.Raw]:
    """Return the keys of a map that was decoded before, with their values unread."""
    return records.decode(memoryview(data), dict[str, msgspec.Raw], "a map")


def items(data: Encoded) -> list[msgspec.Raw]:
    """Return the items of an array that was decoded before, unread."""
    return records.decode(memoryview(data), list[msgspec.Raw], "an array")


def carry(old: Encoded | None, new: msgspec.Struct) -> dict[str, object]:
    """Return the fields of `new`, and those of the map `old` (if there is one) that its type does not know."""
    known = {name: getattr(new, name) for name in new.__struct_fields__}
    return known | {name: value for name, value in (fields(old) if old else {}).items() if name not in known}
