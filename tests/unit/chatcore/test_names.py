"""The rules of user names."""

import sys
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore import InvalidName, UserName, canonical_name
from chatcore.names import lookup_name
from tests.support.soak import SOAK

NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
NORMAL_FORMS: tuple[NormalForm, ...] = ("NFC", "NFD", "NFKC", "NFKD")
EVERY_CODE_POINT = tuple(map(chr, range(sys.maxunicode + 1)))
# Above the first two planes, only the second range below has normal forms and only the third is
# ignored by Unicode; the rest are ideographs, private or unassigned.
CODE_POINTS = (
    EVERY_CODE_POINT
    if SOAK
    else EVERY_CODE_POINT[:0x20000]
    + EVERY_CODE_POINT[0x2F800:0x2FA20]
    + EVERY_CODE_POINT[0xE0000:0xE1000]
    + EVERY_CODE_POINT[0x20000::997]
)
# Characters that case and normal forms change; st.text() alone rarely draws them.
CASED_OR_COMBINING = [
    character
    for character in EVERY_CODE_POINT[:0x20000]
    if character.swapcase() != character or unicodedata.category(character)[0] == "M"
]
texts = st.text(max_size=8) | st.text(st.sampled_from(CASED_OR_COMBINING), max_size=6)


def cases(text: str) -> list[str]:
    return [text.lower(), text.upper(), text.title(), text.swapcase(), text.casefold()]


def test_canonical_form_of_every_code_point_is_stable() -> None:
    for character in CODE_POINTS:
        canonical = canonical_name(character)
        assert canonical_name(canonical) == canonical, ascii(character)


def test_every_code_point_is_one_name_in_all_normal_forms_and_cases() -> None:
    apart = set()
    for character in CODE_POINTS:
        forms = {unicodedata.normalize(form, character) for form in NORMAL_FORMS}
        forms.update(cases(character))
        if len({canonical_name(form) for form in forms}) > 1:
            apart.add(character)
    # Unicode treats dotless i as a separate letter; only str.upper maps it to I.
    assert apart == {"ı"}


@given(texts)
def test_canonical_form_is_stable(text: str) -> None:
    canonical = canonical_name(text)
    assert canonical_name(canonical) == canonical


@given(texts)
def test_texts_of_one_normal_form_are_one_name(text: str) -> None:
    assert {canonical_name(unicodedata.normalize(form, text)) for form in NORMAL_FORMS} == {
        canonical_name(text)
    }


@given(texts.filter(lambda text: "ı" not in text))
def test_texts_that_differ_in_case_are_one_name(text: str) -> None:
    # Unicode defines caseless matching on decomposed text (section 3.13.5, D145); case mappings
    # of other forms may separate marks from their letter.
    decomposed = unicodedata.normalize("NFD", text)
    assert {canonical_name(case) for case in cases(decomposed)} == {canonical_name(text)}


@pytest.mark.parametrize(
    "spellings",
    [
        ("bob", "Bob", "BOB", "ＢＯＢ", "𝓫𝓸𝓫", "b\u034fob", "bob\ufe0f"),
        ("straße", "STRASSE", "STRAẞE"),
        ("\u00e9ric", "e\u034f\u0301ric", "E\ufe0f\u0301RIC"),
        ("\u00e5sa", "a\u030asa", "\u212bsa", "A\u030aSA"),
        ("σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("\u1fb7", "\u1fb7".title(), "\u1fb7".upper()),
        ("fish", "ﬁsh", "FISH"),
        ("İ", "i\u0307"),
        ("екатерина", "Екатерина"),
    ],
    ids=lambda spellings: str(spellings[0]),
)
def test_spellings_of_one_name_share_a_canonical_form(spellings: tuple[str, ...]) -> None:
    assert len({canonical_name(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("Bob", "bob"),
        ("A\u030asa", "\u00e5sa"),
        ("STRAẞE", "strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("\u1fb7", "\u1fb6\u03b9"),
        ("\u1100\u1161\u11a8", "\uac01"),
        ("ｶﾞ", "ガ"),
        ("Iı", "iı"),
        ("İ", "i\u0307"),
        ("b\u3164o\ufe0fb", "bob"),
    ],
    ids=ascii,
)
def test_canonical_form_does_not_change_between_versions(name: str, canonical: str) -> None:
    # Stores keep the canonical form: changing it would lose every account.
    assert canonical_name(name) == canonical


FINE = [
    *("bob", "Екатерина", "名前", "o'neil", "a.b", "messages", "null"),
    *("Ann Smith", "a:b", "...", "-", "0", "%", "%2F", "a\\b", "a?b#c", "~", '"', "<b>", "&amp;"),
    *("Straße", "Ελλάς", "Ёлка2", "محمد", "ישראל", "ไทย", "한글", "e\u0301ric"),
    *("😀", "❤\ufe0f", "👍🏽", "🇫🇷", "Анна ✝", "№5", "①", "ª"),
    *("x" * 64, "😀" * 64, "ß" * 32, "\ufdfa" * 3, "a" + "\u0301" * 63),
]

REFUSED = {
    "too short or too long": ["", "x" * 65, "😀" * 65],
    "too short or too long when folded": ["\u3164", "\u115f\ufe0f", "ß" * 33, "\ufdfa" * 4],
    "control": ["\0", "a\0b", "a\nb", "\t", "\x1b", "\x7f", "\x85"],
    "format": ["a\u200db", "\u202egnp", "\ufeffbob", "bo\u00adb", "a\u200bb", "🏴\U000e0067"],
    "surrogate, private, unassigned": ["\ud800", "a\udfff", "\ue000", "\u0378", "\uffff"],
    "replacement": ["\ufffd", "b\ufffdb"],
    "no path segment": ["/", "a/b", ".", ".."],
    "no path segment when folded": ["a／b", "℀", "\u2024", "．", "\u2025", "．."],
    "colon in front": [":", ":bob", "：bob", "\ufe13bob"],
    "white space": [" ", " bob", "bob ", "a  b", "a\u00a0b", "a\u3000b", "a\u2003b", "a\u2028b"],
    "Latin and Cyrillic": ["pаypal", "Аnn", "яR", "№Я"],
    "Latin and Greek": ["αlpha", "Oμ", "bob\u00b5", "bob\u0374"],
    "Cyrillic and Greek": ["яα", "Ωмега"],
}


@pytest.mark.parametrize("name", FINE, ids=ascii)
def test_valid_name_is_accepted(name: str) -> None:
    user_name = UserName(name)
    assert user_name.typed == name
    assert user_name.canonical == canonical_name(name)


@pytest.mark.parametrize(
    ("rule", "name"), [(rule, name) for rule, names in REFUSED.items() for name in names], ids=ascii
)
def test_invalid_name_is_refused(rule: str, name: str) -> None:
    with pytest.raises(InvalidName):
        UserName(name)


@given(texts)
def test_canonical_form_is_a_valid_name(text: str) -> None:
    try:
        canonical = UserName(text).canonical
    except InvalidName:
        return
    assert UserName(canonical).canonical == canonical
    assert lookup_name(text) == canonical


@given(st.sampled_from(FINE), st.sampled_from(NORMAL_FORMS))
def test_a_name_is_looked_up_in_any_normal_form(name: str, form: NormalForm) -> None:
    assert lookup_name(unicodedata.normalize(form, name)) == UserName(name).canonical


@pytest.mark.parametrize(
    "name",
    ["\0", "bob\0", "\ud800", "bob\udfff", "x" * 1025, "\u0301\u0323" * 16_000],
    ids=lambda name: ascii(name)[:20],
)
def test_name_that_no_store_can_hold_is_not_looked_up(name: str) -> None:
    assert lookup_name(name) is None
