"""Tokens signed with HMAC-SHA256; a token of any other form is refused."""

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

_ALGORITHM = "HS256"
_HEADER = {"alg": _ALGORITHM, "typ": "JWT"}
_CLAIMS = {"exp", "iat", "user_id"}
# Of the second type of token, that of a device session (`sid` as in OpenID Connect).
_SESSION_CLAIMS = _CLAIMS | {"sid"}
_SESSION_ID = re.compile(r"[0-9a-f]{32}")
# RFC 7515, sections 2 and 3.1: three parts of base64url without padding.
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_EPOCH = datetime.fromtimestamp(0, UTC)
_SECOND = timedelta(seconds=1)

# The layer below PyJWT's claims, whose checks are lax and read the system clock.
jws = PyJWS()


class JwtTokens:
    """A TokenIssuer of JWTs signed with HMAC-SHA256.

    Header: `alg` (HS256) and `typ` (JWT). Claims: `iat`, the time of issue in whole seconds,
    rounded down; `exp`, `iat` plus the lifetime; `user_id`, an integer. A token of a device session
    also has `sid`, the session's id, and lives for `session_lifetime`. A token with more, fewer or
    differently typed fields is refused even with a valid signature, and so is a token over
    4,096 characters. A token may be dated ahead of `now`; the expiry has no tolerance.

    The secret has at least 32 bytes (RFC 7518, section 3.2), in UTF-8 if it is a string, and is
    not a key in PEM, SSH or JWK form; otherwise raises ValueError. Services with the same secret
    accept each other's tokens. Tokens of an `old` secret, under the same rules, stay valid until
    they expire; no new ones are issued. Lifetimes are rounded down to whole seconds; a change
    does not affect tokens issued before.
    """

    def __init__(
        self,
        secret: str | bytes,
        *,
        old: str | bytes | None = None,
        lifetime: timedelta = timedelta(hours=12),
        session_lifetime: timedelta = timedelta(hours=1),
    ) -> None:
        self._key = checked_key(secret)
        self._keys = [self._key] if old is None else [self._key, checked_key(old)]
        if len(self._keys) > len({*self._keys}):
            raise ValueError("the old and the new secret are the same")
        self._lifetime = lifetime // _SECOND
        self._session_lifetime = session_lifetime // _SECOND
        if min(self._lifetime, self._session_lifetime) < 1:
            raise ValueError("the lifetime must be at least one second")

    def issue(self, user_id: int, now: datetime, *, session_id: str | None = None) -> str:
        issued = (now - _EPOCH) // _SECOND
        claims: dict[str, object]
        if session_id is None:
            claims = {"exp": issued + self._lifetime, "iat": issued, "user_id": user_id}
        else:
            expires = issued + self._session_lifetime
            claims = {"exp": expires, "iat": issued, "user_id": user_id, "sid": session_id}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return jws.encode(payload, self._key, _ALGORITHM)

    def verify(self, token: str, now: datetime) -> Claims:
        if len(token) > MAX_TOKEN or not COMPACT.fullmatch(token):
            raise InvalidToken
        # The header must not choose the algorithm (RFC 8725, section 3.1). The cause is dropped,
        # since its message might quote the token.
        try:
            signed = self._decode(token)
            decoded = json.loads(signed["payload"], object_pairs_hook=without_duplicates)
        except (PyJWTError, ValueError, RecursionError):
            raise InvalidToken from None
        if signed["header"] != _HEADER:
            raise InvalidToken
        claims = _checked_claims(decoded)
        if now >= claims.expires_at:
            raise InvalidToken
        return claims

    def _decode(self, token: str) -> dict[str, Any]:
        for key in self._keys[:-1]:
            with contextlib.suppress(InvalidSignatureError):
                return jws.decode_complete(token, key, [_ALGORITHM])
        return jws.decode_complete(token, self._keys[-1], [_ALGORITHM])


def checked_key(secret: str | bytes) -> bytes:
    try:
        key = secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ValueError("the secret is not valid Unicode") from None
    if len(key) < MIN_KEY:
        raise ValueError(f"the secret has {len(key)} bytes; {_ALGORITHM} needs {MIN_KEY} or more")
    # PyJWT refuses some keys, but only when it signs the first token.
    try:
        jws.get_algorithm_by_name(_ALGORITHM).prepare_key(key)
    except InvalidKeyError as error:
        raise ValueError(f"the secret cannot be used: {error}") from None
    return key


def _checked_claims(decoded: object) -> Claims:
    if not isinstance(decoded, dict) or decoded.keys() not in (_CLAIMS, _SESSION_CLAIMS):
        raise InvalidToken
    if "sid" in decoded and not _is_session_id(decoded["sid"]):
        raise InvalidToken
    session_id = decoded.pop("sid", None)
    # Not isinstance: true is an instance of int.
    if any(type(value) is not int for value in decoded.values()):
        raise InvalidToken
    user_id, issued, expires = decoded["user_id"], decoded["iat"], decoded["exp"]
    if not (1 <= user_id <= MAX_INT64 and issued < expires):
        raise InvalidToken
    try:
        times = _EPOCH + issued * _SECOND, _EPOCH + expires * _SECOND
        return Claims(user_id, *times, session_id)
    except OverflowError:
        raise InvalidToken from None


def _is_session_id(claim: object) -> bool:
    return isinstance(claim, str) and _SESSION_ID.fullmatch(claim) is not None


def without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(members := dict(pairs)) < len(pairs):
        raise ValueError("duplicate name")
    return members
