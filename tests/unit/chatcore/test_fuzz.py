"""Broken cursors and names: never an unexpected error, and never two forms of one value."""

from chatcore import Cursor, InvalidName, UserName, canonical_name
from chatcore.names import lookup_name
from tests.support.fuzzing import mutations


def test_broken_cursors_are_refused(seed: int) -> None:
    """Every accepted cursor has one form."""
    taken = 0
    for raw in mutations(seed, b"0123456789abcdef-17-4711", b"a-1-0", b"Z-9223372036854775807-1"):
        text = raw.decode("latin-1")
        if (cursor := Cursor.parse(text)) is not None:
            taken += 1
            assert str(cursor) == text
            assert 0 < cursor.user_id < 2**63
            assert 0 <= cursor.n < 2**63
    assert taken


def test_broken_names_are_refused(seed: int) -> None:
    """Every accepted name is found by any of its spellings, and fits in a path."""
    taken = 0
    good = ("ann", "Bob 2", "\u0416\u0435\u043d\u044f", "e\u0301va", "\u1f80\u03c3", "\uff21\u00df")
    for raw in mutations(seed, *(name.encode() for name in good)):
        # The bytes of a lone surrogate decode to that surrogate.
        text = raw.decode("utf-8", "surrogatepass") if is_text(raw) else raw.decode("latin-1")
        lookup_name(text)
        try:
            name = UserName(text)
        except InvalidName:
            continue
        taken += 1
        assert canonical_name(name.canonical) == name.canonical
        assert lookup_name(text) == name.canonical
        assert UserName(name.canonical).canonical == name.canonical
        assert "/" not in text
        text.encode()
    assert taken


def is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
