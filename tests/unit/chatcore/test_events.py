"""Cursors and their text form."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore import Cursor

LETTERS = string.ascii_letters + string.digits
BEYOND = 2**63 - 1

cursors = st.builds(
    Cursor,
    st.text(LETTERS, min_size=1, max_size=32),
    st.integers(1, BEYOND),
    st.integers(0, BEYOND),
)


@given(cursors)
def test_a_cursor_survives_the_wire(cursor: Cursor) -> None:
    text = str(cursor)
    assert Cursor.parse(text) == cursor
    assert len(text) <= 72
    assert set(text) <= {*LETTERS, "-"}


def test_the_longest_cursor_has_72_characters() -> None:
    assert len(str(Cursor("x" * 32, BEYOND, BEYOND))) == 72


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "--", "a", "a-", "a-1", "a-1-", "-1-1", "a--1", "a-1-1-1", "a-1-1-"),
        *("a-0-1", "a-01-1", "a-1-01", "a-1-00", "a--1-1", "a-1--1", "a-+1-1", "a-1-+1"),
        *(" a-1-1", "a-1-1 ", "a-1-1\n", "\na-1-1", "a-1-1\0", "a-1- 1", "a-1_0-1", "a-1-1_0"),
        *("a-1-1.0", "a-1e1-1", "a-0x1-1", "a-١-1", "a-1-１", "é-1-1", "a_b-1-1", "\ud800-1-1"),
        # Numbers that no store can hold.
        *(f"a-{2**63}-1", f"a-1-{2**63}", f"a-1-{10**19 - 1}", "a-1-" + "9" * 100_000),
        "x" * 33 + "-1-1",
        "x" * 1_000_000,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_invalid_cursor_parses_to_none(text: str) -> None:
    assert Cursor.parse(text) is None


@given(st.text(st.sampled_from("aZ09-١ \n"), max_size=12))
def test_a_cursor_has_one_form(text: str) -> None:
    cursor = Cursor.parse(text)
    assert cursor is None or str(cursor) == text
