"""Sizes, names, tables."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import text
from pipelines.reports import listing


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1049, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (2**63 - 1, "9.2 EB"),
        (10**24, "1000000.0 EB"),
    ],
)
def test_sizes_are_powers_of_ten_with_one_decimal(count: int, shown: str) -> None:
    assert shown == text.size(count)


def test_what_was_saved_is_a_part_of_the_whole() -> None:
    assert ["97.2 %", "0.0 %", "0.0 %", "100.0 %"] == [
        text.saved(1000, 28),
        text.saved(1000, 1000),
        text.saved(0, 0),
        text.saved(5, 0),
    ]


@given(st.text(st.characters(exclude_categories=[])))
def test_safe_text_has_nothing_that_moves_a_cursor(value: str) -> None:
    shown = text.safe(value)
    assert all(unicodedata.category(c)[0] not in "C" and c not in "\u2028\u2029" for c in shown)
    shown.encode()


def test_safe_text_is_unchanged_where_it_can_be() -> None:
    assert "übung #1 日本" == text.safe("übung #1 日本")
    assert r"\x1b[2J\n\u202e\udcff" == text.safe("\x1b[2J\n\u202e\udcff")


def test_a_table_is_aligned_and_one_line_a_row() -> None:
    expected = "SIZE  NAME\n   1  a\\nb\n1000  c\n"
    assert expected == listing.table(("SIZE", "NAME"), [("1", "a\nb"), ("1000", "c")], right=[0])


def test_json_is_plain_ascii() -> None:
    shown = listing.to_json({"name": "ü\x1b"})
    assert shown.isascii()
    assert "\x1b" not in shown
    assert {"name": "ü\x1b"} == json.loads(shown)
