"""Issue tokens, and believe none that was not issued here."""

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from jwt import InvalidKeyError, InvalidSignatureError, PyJWS, PyJWTError

from chatcore.errors import InvalidToken
from chatcore.model import MAX_INT64
from chatcore.ports import Claims

MIN_KEY = 32
MAX_TOKEN = 4096
CLOCK_SKEW = timedelta(seconds=30)

_ALGORITHM = "HS256"
_HEADER = {"alg": _ALGORITHM, "typ": "JWT"}
_CLAIMS = {"exp", "iat", "user_id"}
# RFC 7515, sections 2 and 3.1: three parts of base64url without padding.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_EPOCH = datetime.fromtimestamp(0, UTC)
_SECOND = timedelta(seconds=1)

# The layer below PyJWT's own reading of claims, which is lax and asks the system for the time.
_jws = PyJWS()


class JwtTokens:
    """A TokenIssuer of JWTs signed with HMAC-SHA256.

    Header: `alg` (HS256) and `typ` (JWT). Claims: `iat`, the time of issue in whole seconds,
    rounded down; `exp`, which is `iat` and the lifetime; `user_id`, an integer. A token with
    anything more, less or of another type is refused, whoever signed it, as is one of over
    4,096 characters. Another service may run its clock up to 30 s ahead of this one; no such
    allowance is made for the expiry.

    The secret is at least 32 bytes (RFC 7518, section 3.2), those of its UTF-8 if it is a
    string, and no key in PEM, SSH or JWK form; otherwise ValueError. Whoever has the same
    secret issues the same tokens. Those of an `old` secret, another one under the same rules, are
    valid until they expire; none are issued any more. Of a lifetime, whole seconds count; a change
    of it leaves tokens as they were issued.
    """

    def __init__(
        self,
        secret: str | bytes,
        *,
        old: str | bytes | None = None,
        lifetime: timedelta = timedelta(hours=12),
    ) -> None:
        self._key = _checked_key(secret)
        self._keys = [self._key] if old is None else [self._key, _checked_key(old)]
        if len(self._keys) > len({*self._keys}):
            raise ValueError("the old secret is the new one")
        self._lifetime = lifetime // _SECOND
        if self._lifetime < 1:
            raise ValueError("a token lives for at least one second")

    def issue(self, user_id: int, now: datetime) -> str:
        issued = (now - _EPOCH) // _SECOND
        claims = {"exp": issued + self._lifetime, "iat": issued, "user_id": user_id}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return _jws.encode(payload, self._key, _ALGORITHM)

    def verify(self, token: str, now: datetime) -> Claims:
        if len(token) > MAX_TOKEN or not _COMPACT.fullmatch(token):
            raise InvalidToken
        # The algorithm is never the header's to choose (RFC 8725, section 3.1), and what went
        # wrong goes no further, since it might quote the token.
        try:
            jws = self._decode(token)
            said = json.loads(jws["payload"], object_pairs_hook=_without_duplicates)
        except (PyJWTError, ValueError, RecursionError):
            raise InvalidToken from None
        if jws["header"] != _HEADER:
            raise InvalidToken
        claims = _checked_claims(said)
        if now >= claims.expires_at or claims.issued_at - now > CLOCK_SKEW:
            raise InvalidToken
        return claims

    def _decode(self, token: str) -> dict[str, Any]:
        for key in self._keys[:-1]:
            with contextlib.suppress(InvalidSignatureError):
                return _jws.decode_complete(token, key, [_ALGORITHM])
        return _jws.decode_complete(token, self._keys[-1], [_ALGORITHM])


def _checked_key(secret: str | bytes) -> bytes:
    try:
        key = secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ValueError("the secret is no valid Unicode") from None
    if len(key) < MIN_KEY:
        raise ValueError(f"the secret has {len(key)} bytes; {_ALGORITHM} needs {MIN_KEY} or more")
    # PyJWT would refuse some keys, but only when the first token is signed.
    try:
        _jws.get_algorithm_by_name(_ALGORITHM).prepare_key(key)
    except InvalidKeyError as error:
        raise ValueError(f"the secret cannot be used: {error}") from None
    return key


def _checked_claims(said: object) -> Claims:
    if not isinstance(said, dict) or said.keys() != _CLAIMS:
        raise InvalidToken
    # Not isinstance: true is an instance of int.
    if any(type(value) is not int for value in said.values()):
        raise InvalidToken
    user_id, issued, expires = said["user_id"], said["iat"], said["exp"]
    if not (1 <= user_id <= MAX_INT64 and issued < expires):
        raise InvalidToken
    try:
        return Claims(user_id, _EPOCH + issued * _SECOND, _EPOCH + expires * _SECOND)
    except OverflowError:
        raise InvalidToken from None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(members := dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return members
