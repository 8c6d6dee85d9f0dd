"""CHATCORE_SECRET: one key, or a new key and an old key."""

import hmac
import re
from collections.abc import Collection

from chatcore_jwt import JwtTokens
from chatcore_server.settings import CannotStart

# A random key in hex or base64 contains neither a colon nor a comma.
_TWO = re.compile(r"new:(.*),old:(.*)", re.DOTALL)
_MEANT_AS_TWO = ("new:", "old:")


def tokens_of(secret: str) -> JwtTokens:
    """Create a token issuer from the secret.

    A secret of the form `new:KEY,old:KEY` signs with the new key; tokens of the old key stay
    valid until they expire. Raises CannotStart for an unusable key, without quoting it.
    """
    two = _TWO.fullmatch(secret)
    if two is None and secret.startswith(_MEANT_AS_TWO):
        raise CannotStart("CHATCORE_SECRET must be one key, or new:KEY,old:KEY")
    new, old = two.groups() if two else (secret, None)
    try:
        JwtTokens(new)
    except ValueError as error:
        raise CannotStart(_refusal(error, "new" if two else "")) from None
    try:
        return JwtTokens(new, old=old)
    except ValueError as error:
        raise CannotStart(_refusal(error, "old")) from None


def key_digests(secret: str, store: str) -> Collection[str]:
    """Return a digest of each key of a secret that `tokens_of` accepts, for the store of this name.

    It is an HMAC under the key, as a token's signature is, so it helps as little to guess the key.
    The spaces in the text keep it from being the signature of any token.
    """
    two = _TWO.fullmatch(secret)
    keys = two.groups() if two else (secret,)
    text = f"a key of the nodes of the store {store}".encode()
    return [hmac.digest(key.encode(), text, "sha256").hex() for key in keys]


def _refusal(error: ValueError, which: str) -> str:
    place = f"CHATCORE_SECRET, {which} key," if which else "CHATCORE_SECRET"
    return f"{place} cannot be used: {error}"
