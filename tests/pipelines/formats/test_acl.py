"""Access lists, as `fs listacl` shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.formats.acl import Acl, letters
from tests.pipelines.formats.afs.model import make_acl


def test_names_that_every_cell_has_and_numbers_of_others() -> None:
    acl = Acl.parse(make_acl({-204: 0x7F, -101: 9, 1001: 0x3F, -230: 0}, {-102: 1 << 24 | 2}))
    assert [
        "system:administrators rlidwka",
        "system:anyuser rl",
        "1001 rlidwk",
        "-230 none",
        "system:authuser wA (negative)",
    ] == acl.text().splitlines()


@given(st.integers(0, 2**32 - 1))
def test_every_bit_of_rights_is_shown(rights: int) -> None:
    text, _, rest = letters(rights).partition("+")
    values = dict(zip("rwildkaABCDEFGH", [*range(7), *range(24, 32)], strict=True))
    shown = 0 if text == "none" else sum(1 << values[letter] for letter in text)
    assert rights == shown + (int(rest, 16) if rest else 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_access_list_or_refused(data: bytes) -> None:
    for head in (b"", b"\0\0\0\0\0\0\0\1"):
        try:
            acl = Acl.parse(head + data)
        except ValueError:
            continue
        assert 20 + 8 * (len(acl.positive) + len(acl.negative)) <= len(head + data)


@pytest.mark.parametrize("size", range(28))
def test_an_access_list_cut_short_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"cut short|damaged"):
        Acl.parse(make_acl({-101: 9})[:size])
