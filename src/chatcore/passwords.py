"""Which passwords everybody guesses first.

`passwords.txt` holds the 10,000 most common passwords, but for the 6,605 of them that have fewer
than 8 characters and are refused for that. They are the first 10,000 of the list "passwords" in
zxcvbn 4.5.0 (PyPI), sorted:

    from zxcvbn.frequency_lists import FREQUENCY_LISTS
    common = sorted(each for each in FREQUENCY_LISTS["passwords"][:10_000] if len(each) >= 8)

Its licence stands above them. zxcvbn is no dependency: nothing of it is needed at run time.
"""

import functools
import importlib.resources
import unicodedata


def is_common(password: str) -> bool:
    """Whether it is one of the most common passwords, however its letters are cased or
    shaped: whoever guesses tries "Password" and "ｐａｓｓｗｏｒｄ" next."""
    return unicodedata.normalize("NFKC", password).casefold() in _common()


@functools.cache
def _common() -> frozenset[str]:
    # Read once, when first asked for: a program that only verifies tokens never does.
    text = importlib.resources.files("chatcore").joinpath("passwords.txt").read_text("ascii")
    return frozenset(text.partition("\n---\n")[2].split())
