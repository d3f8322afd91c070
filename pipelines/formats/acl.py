"""Access lists of AFS directories: who has which rights.

Sources in OpenAFS 1.8: src/libacl/acl.h (struct acl_accessList), src/libacl/prs.h (the rights), src/ptserver/ptserver.h
(the numbers of the groups that every cell has).

Invariant: what was parsed has exactly the entries that it counts; anything else is refused.
"""

import struct
from typing import NamedTuple

_HEAD = struct.Struct(">5i")
_ENTRY = struct.Struct(">iI")
_LETTERS = dict(zip("rwildka", range(7), strict=True)) | dict(zip("ABCDEFGH", range(24, 32), strict=True))
_IN_ORDER = "rlidwkaABCDEFGH"  # as `fs listacl` shows them
_KNOWN = sum(1 << bit for bit in _LETTERS.values())
_NAMES = {
    -101: "system:anyuser",
    -102: "system:authuser",
    -203: "system:ptsviewers",
    -204: "system:administrators",
    -205: "system:backup",
    32766: "anonymous",
}


class Grant(NamedTuple):
    """Who (the number of a user, or minus that of a group) and which rights, as bits."""

    who: int
    rights: int

    def __str__(self) -> str:
        """As `fs listacl` shows it, with the number for a name that only the cell's servers know."""
        return f"{_NAMES.get(self.who, self.who)} {letters(self.rights)}"


class Acl(NamedTuple):
    """An access list: what is granted, and what is taken from it again."""

    positive: list[Grant]
    negative: list[Grant]

    @classmethod
    def parse(cls, data: bytes) -> "Acl":
        """Read the bytes of an access list, which may be followed by others.  Raises `ValueError`."""
        if len(data) < _HEAD.size:
            raise ValueError("the access list is cut short")
        _, version, total, positive, negative = _HEAD.unpack_from(data)
        if version != 1 or positive < 0 or negative < 0 or positive + negative != total:
            raise ValueError("the access list is damaged")
        end = _HEAD.size + total * _ENTRY.size
        if end > len(data):
            raise ValueError("the access list is cut short")
        grants = [Grant(*entry) for entry in _ENTRY.iter_unpack(data[_HEAD.size : end])]
        return cls(grants[:positive], grants[positive:])

    def text(self) -> str:
        """Return one line for each entry, such as `system:anyuser rl`; negative ones are marked."""
        return "\n".join([str(one) for one in self.positive] + [f"{one} (negative)" for one in self.negative])


def letters(rights: int) -> str:
    """Return rights as `rlidwka`, `none` if there are none; bits without a letter as a number."""
    text = "".join(letter for letter in _IN_ORDER if rights >> _LETTERS[letter] & 1)
    if rest := rights & ~_KNOWN:
        text += f"+{rest:#x}"
    return text or "none"
