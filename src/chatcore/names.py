"""The rules of user names.

Two names that differ only by normal form or case are one name. Others see a name as it was typed;
names are compared by their canonical form. It follows NFKC_Casefold (Unicode Standard, section
3.13.5, D146-D147), which the standard library does not offer in one call.
"""

import re
import unicodedata
from dataclasses import dataclass, field

from chatcore.errors import InvalidName
from chatcore.model import is_encodable

MAX_NAME = 64
MAX_SPELLING = 16 * MAX_NAME
"""Longer than any spelling of a valid name: decomposed, a character becomes up to four."""

# Default_Ignorable_Code_Point (DerivedCoreProperties.txt), except category C, which `UserName`
# refuses anyway. They are invisible, so "bob" with one of them must be the same name as "bob".
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2065\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_LOOKALIKE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK"})


def canonical_name(name: str) -> str:
    """Return the form in which names are compared. Idempotent; accepts any text, also names that
    `UserName` refuses."""
    if name.isascii():
        return name.lower()
    # Decompose before the fold, or an iota subscript swallows the accent of the letter that it
    # folds to (D145). Compose last, after removing invisible characters, which would keep marks
    # from their letter. Other orders are not idempotent: NFKC(casefold(x)) is not for 637 code
    # points. This order is for every code point and so for every text, since only the order of
    # marks depends on more than one.
    folded = _INVISIBLE.sub("", unicodedata.normalize("NFKD", name).casefold())
    return unicodedata.normalize("NFKC", folded)


def lookup_name(name: str) -> str | None:
    """Return the canonical form to look up, or None for a text that no store can hold.

    Deliberately laxer than `UserName`: those rules apply at registration, and a user whose name
    an older version accepted must still be found.
    """
    # The limit keeps clients from stalling the event loop: ordering combining marks takes time
    # that grows with the square of their count, 0.8 s for 64 KiB.
    if len(name) > MAX_SPELLING or "\0" in name or not is_encodable(name):
        return None
    return canonical_name(name)


@dataclass(frozen=True, slots=True)
class UserName:
    """A name that may be registered: displayable, and valid in a URL's path.

    Raises InvalidName for, as typed or in canonical form: fewer than 1 or more than 64 code
    points; anything of category C (controls, formats, surrogates, private use, unassigned) and
    U+FFFD; `/`, and the names `.` and `..`, which no path segment can carry (RFC 3986, sections
    3.3 and 5.2.4); a leading `:`; white space other than single spaces between other characters;
    letters of more than one of the scripts Latin, Cyrillic and Greek, which look alike.
    """

    typed: str
    canonical: str = field(init=False)

    def __post_init__(self) -> None:
        _check(self.typed)
        _check(canonical := canonical_name(self.typed))
        scripts = {script for character in self.typed + canonical for script in _scripts(character)}
        if len(scripts) > 1:
            raise InvalidName(f"a name does not mix {' and '.join(sorted(scripts))} letters")
        object.__setattr__(self, "canonical", canonical)


def _check(form: str) -> None:
    if not 1 <= len(form) <= MAX_NAME:
        raise InvalidName(f"a name has 1 to {MAX_NAME} characters")
    if form.startswith(":"):
        raise InvalidName("a name does not begin with a colon")
    if form in {".", ".."} or "/" in form:
        raise InvalidName("a name has no slash and is neither . nor ..")
    if form.split(" ") != form.split():
        raise InvalidName("a name has no white space except single spaces between other characters")
    if "\ufffd" in form or any(unicodedata.category(character)[0] == "C" for character in form):
        raise InvalidName("a name has no control, format, unassigned or replacement character")


def _scripts(character: str) -> frozenset[str]:
    if not character.isalpha():
        return frozenset()
    return _LOOKALIKE_SCRIPTS.intersection(unicodedata.name(character, "").split())
