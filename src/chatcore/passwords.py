"""The most common passwords, which attackers try first.

`passwords.txt` holds the 10,000 most common passwords except the 6,605 that have fewer than 8
characters and are refused anyway. They are the first 10,000 of the list "passwords" in zxcvbn
4.5.0 (PyPI), sorted:

    from zxcvbn.frequency_lists import FREQUENCY_LISTS
    common = sorted(each for each in FREQUENCY_LISTS["passwords"][:10_000] if len(each) >= 8)

The file begins with the licence of the list. zxcvbn is not a dependency.
"""

import functools
import importlib.resources
import unicodedata


def is_common(password: str) -> bool:
    """Whether it is one of the most common passwords, ignoring case and Unicode compatibility
    forms: attackers also try "Password" and "ｐａｓｓｗｏｒｄ"."""
    return unicodedata.normalize("NFKC", password).casefold() in _common()


@functools.cache
def _common() -> frozenset[str]:
    # Read at the first use, once: a program that only verifies tokens never needs it.
    text = importlib.resources.files("chatcore").joinpath("passwords.txt").read_text("ascii")
    return frozenset(text.partition("\n---\n")[2].split())
