"""The rules of user names.

Two names that Unicode holds for the same, by normal form or by case, are one name. What a
user typed is what others see; the canonical form is what is compared. It follows
NFKC_Casefold (Unicode Standard, section 3.13.5, D146-D147), which the standard library
does not offer in one call.
"""

import re
import unicodedata
from dataclasses import dataclass, field

from chatcore.errors import InvalidName
from chatcore.model import is_encodable

MAX_NAME = 64
MAX_SPELLING = 16 * MAX_NAME
"""Longer than any spelling that folds to a name: decomposed, a character is up to four."""

# Default_Ignorable_Code_Point (DerivedCoreProperties.txt) outside category C, which no name
# may hold anyway: they show as nothing, so "bob" with one of them must not be another bob.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2065\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_LOOKALIKE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK"})


def canonical_name(name: str) -> str:
    """The form in which names are compared. Idempotent; total, also on names that
    `UserName` refuses."""
    if name.isascii():
        return name.lower()
    # Decomposed before the fold, or an iota subscript swallows the accent of the letter that it
    # folds to (D145). Composed after it, and after what is invisible has gone, which would keep
    # marks from their letter. Other orders are not final: NFKC(casefold(x)) is not for 637 code
    # points. This one is for every code point and so for every text, as only the order of marks
    # depends on more than one.
    folded = _INVISIBLE.sub("", unicodedata.normalize("NFKD", name).casefold())
    return unicodedata.normalize("NFKC", folded)


def lookup_name(name: str) -> str | None:
    """The canonical form to look up, or None for what no store can hold, let alone find.

    Deliberately laxer than `UserName`: its rules hold at registration, and a user whom an
    older version let in must still be found.
    """
    # The limit keeps strangers from stalling the event loop: putting combining marks in order
    # takes a time that grows with their square, 0.8 s for 64 KiB of them.
    if len(name) > MAX_SPELLING or "\0" in name or not is_encodable(name):
        return None
    return canonical_name(name)


@dataclass(frozen=True, slots=True)
class UserName:
    """A name that may be registered: it can be shown, and it fits in a URL's path.

    Refused with InvalidName, as typed or in canonical form: fewer than 1 or more than 64
    code points; anything of category C (controls, formats, surrogates, private use,
    unassigned) and U+FFFD; `/`, and the names `.` and `..`, which no path segment can carry
    (RFC 3986, section 3.3 and 5.2.4); a `:` in front; white space other than single spaces
    between other characters; letters of more than one of the scripts Latin, Cyrillic and
    Greek, whose letters pass for each other.
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
        raise InvalidName("a name fits in one segment of a URL's path")
    if form.split(" ") != form.split():
        raise InvalidName("a name has no white space but single spaces between other characters")
    if "\ufffd" in form or any(unicodedata.category(character)[0] == "C" for character in form):
        raise InvalidName("a name has no control, format, unassigned or replacement character")


def _scripts(character: str) -> frozenset[str]:
    if not character.isalpha():
        return frozenset()
    return _LOOKALIKE_SCRIPTS.intersection(unicodedata.name(character, "").split())
