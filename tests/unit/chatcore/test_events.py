"""Cursors and their text form."""

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore import Cursor
from chatcore.events import mark_of

LETTERS = string.ascii_letters + string.digits
BEYOND = 2**63 - 1

MARK = 0xD7072318

kinds, ids = st.integers(0, 3), st.integers(0, BEYOND)
cursors = st.builds(
    Cursor,
    st.text(LETTERS, min_size=1, max_size=32),
    st.integers(1, BEYOND),
    st.integers(1, BEYOND),
    st.none() | st.integers(0, 2**32 - 1),
)


@given(cursors)
def test_a_cursor_survives_the_wire(cursor: Cursor) -> None:
    text = str(cursor)
    assert Cursor.parse(text) == cursor
    assert len(text) <= 81
    assert set(text) <= {*LETTERS, "-"}


def test_the_longest_cursor_has_81_characters() -> None:
    assert len(str(Cursor("x" * 32, BEYOND, BEYOND, 2**32 - 1))) == 81


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        ("a-1-0", Cursor("a", 1, 0)),
        ("a-1-7", Cursor("a", 1, 7)),
        ("a-1-7-0", Cursor("a", 1, 7, 0)),
        ("a-1-7-c0ffee", Cursor("a", 1, 7, 0xC0FFEE)),
    ],
)
def test_cursor_may_leave_out_its_mark(text: str, cursor: Cursor) -> None:
    assert Cursor.parse(text) == cursor
    assert str(cursor) == text
    assert cursor.at(3, 4) == Cursor("a", 1, 3, 4)
    assert cursor.at(3).mark is None


@given(kind=kinds, chat_id=ids, seq=ids, at_us=ids)
def test_mark_has_32_bits(kind: int, chat_id: int, seq: int, at_us: int) -> None:
    assert 0 <= mark_of(kind, chat_id, seq, at_us) < 2**32


def test_marks_of_similar_entries_differ() -> None:
    near = [*itertools.product((0, 1, 2, 3), range(1, 9), range(8), range(10**15, 10**15 + 9))]
    assert len({mark_of(*entry) for entry in near}) == len(near)


def test_marks_never_change() -> None:
    assert mark_of(1, 2, 3, 1_767_225_600_123_456) == MARK


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "--", "a", "a-", "a-1", "a-1-", "-1-1", "a--1", "a-1-0-1", "a-1-1-"),
        *("a-1-1-00", "a-1-1-01", "a-1-1-A", "a-1-1-g", "a-1-1-123456789", "a-1-1-1-1", "a-1-0-0"),
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
