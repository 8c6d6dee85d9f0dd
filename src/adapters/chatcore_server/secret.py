"""CHATCORE_SECRET: one key, or a new and an old one."""

import re

from chatcore_jwt import JwtTokens
from chatcore_server.settings import CannotStart

# Nothing that a key made at random has in it, nor one that was chosen before there were two.
_TWO = re.compile(r"new:(.*),old:(.*)", re.DOTALL)
_MEANT_AS_TWO = ("new:", "old:")


def tokens_of(secret: str) -> JwtTokens:
    """Tokens signed with the secret; or, if that has the form `new:KEY,old:KEY`, with the new
    key, while those of the old one are valid until they expire.

    Raises CannotStart for a key that cannot be used, in words that do not quote it.
    """
    two = _TWO.fullmatch(secret)
    if two is None and secret.startswith(_MEANT_AS_TWO):
        raise CannotStart("CHATCORE_SECRET is one key, or new:KEY,old:KEY")
    new, old = two.groups() if two else (secret, None)
    try:
        JwtTokens(new)
    except ValueError as error:
        raise CannotStart(_refusal(error, "new" if two else "")) from None
    try:
        return JwtTokens(new, old=old)
    except ValueError as error:
        raise CannotStart(_refusal(error, "old")) from None


def _refusal(error: ValueError, which: str) -> str:
    place = f"CHATCORE_SECRET, {which} key," if which else "CHATCORE_SECRET"
    return f"{place} cannot be used: {error}"
