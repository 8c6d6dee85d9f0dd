"""An Authenticator by a host's own JSON Web Tokens."""

import base64
import json
import logging
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Protocol

from jwt import InvalidSignatureError, PyJWTError

from chatcore import (
    Clock,
    InvalidHandle,
    InvalidName,
    InvalidToken,
    RequestHead,
    Session,
    User,
)
from chatcore.model import utc_now
from chatcore_jwt.keys import Key, Keys
from chatcore_jwt.tokens import COMPACT, jws, without_duplicates

MAX_HOST_TOKEN = 8192
MAX_NAMES = 10_000
CLOCK_SKEW = timedelta(seconds=30)

# Explicit types of other tokens, such as logout+jwt, are refused (RFC 8725, section 3.11).
_TYPES = {"jwt", "at+jwt"}

logger = logging.getLogger("chatcore")


class PutUser(Protocol):
    """Adds or renames a host's user: `Messenger.user`."""

    def __call__(self, handle: str, *, name: str) -> Awaitable[User]: ...


class JwtAuthenticator:
    """An Authenticator by the tokens of a host or its issuer, as bearer tokens.

    A token is valid if one of `keys` signed it with that key's own algorithm, `iss` equals
    `issuer`, `aud` has one of `audience`, and `exp` is in the future; `nbf`, if present, may be up
    to 30 s ahead. Keys and URLs inside a token are ignored. A token over 8,192 characters is
    refused.

    The handle is in the claim `handle_claim`, the name in `name_claim`, each a text or an integer;
    without a `name_claim`, the name is the handle. A token that lacks one is refused, and the first
    is logged. `put_user`, as a rule `messenger.user`, adds the user or renames it. Of two tokens of
    a user with different names, the one with the later `iat` counts.

    With `cookie`, the token is the value of that cookie, and so an ambient credential.
    """

    def __init__(
        self,
        put_user: PutUser,
        keys: Keys,
        *,
        issuer: str,
        audience: str | Iterable[str],
        handle_claim: str = "sub",
        name_claim: str | None = "name",
        cookie: str | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._audiences = {audience} if isinstance(audience, str) else {*audience}
        if not issuer or not self._audiences or "" in self._audiences:
            raise ValueError("issuer and audience are needed: tokens for others must not be valid")
        self.ambient = cookie is not None
        self._put_user = put_user
        self._keys = keys
        self._issuer = issuer
        self._handle_claim = handle_claim
        self._name_claim = name_claim
        self._cookie = cookie
        self._clock = clock
        self._complaints = set[str]()
        self._names: dict[str, tuple[float, str]] = {}
        """Of each handle, the name in its newest token, and when that was issued."""

    def credential(self, request: RequestHead) -> str | None:
        if self._cookie is None:
            token = request.bearer_token()
        else:
            token = request.cookies.get(self._cookie)
        if token is not None and len(token) > MAX_HOST_TOKEN:
            raise InvalidToken
        return token or None

    async def session(self, credential: Any) -> Session:
        """Verify the token, and add or rename its user. Raises InvalidToken,
        AuthenticationUnavailable, and as `put_user` does."""
        header = _header_of(credential)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
            raise InvalidToken
        claims = _verified(credential, await self._keys.find(key_id, algorithm))
        expires_at = self._checked_times(claims)
        if claims.get("iss") != self._issuer:
            self._refuse("is of another issuer (iss)")
        audiences = claims.get("aud")
        if not any(
            each in self._audiences
            for each in (audiences if isinstance(audiences, list) else [audiences])
            if isinstance(each, str)
        ):
            self._refuse("is for another audience (aud)")
        handle = _text(claims.get(self._handle_claim))
        name = handle if self._name_claim is None else _text(claims.get(self._name_claim))
        if handle is None or name is None:
            self._refuse(f"lacks {self._handle_claim!a} or {self._name_claim!a}")
        return Session(await self._user(handle, name, claims.get("iat")), expires_at)

    async def _user(self, handle: str, name: str, issued: object) -> User:
        """Add or rename the user. A device that still uses a token from before a rename would
        otherwise undo it, and two would do so in turn."""
        dated = (issued, name) if isinstance(issued, int | float) else None
        newest = self._names.get(handle)
        if dated is not None and newest is not None and dated[0] <= newest[0]:
            name = newest[1]
        try:
            user = await self._put_user(handle, name=name)
        except (InvalidHandle, InvalidName) as error:
            self._log(f"has a handle or a name that no user can have ({error.code})")
            raise
        if dated is not None:
            # Only names that the store took: another one would refuse older tokens, too.
            newest = self._names.pop(handle, dated)
            if len(self._names) >= MAX_NAMES:
                del self._names[next(iter(self._names))]
            self._names[handle] = newest if newest[0] >= dated[0] else dated
        return user

    def _checked_times(self, claims: dict[str, Any]) -> datetime:
        """Return the expiry. Raises InvalidToken if it has passed, or is missing."""
        now = self._clock()
        if "exp" not in claims:
            self._refuse("never expires (exp)")
        expires_at = _moment(claims["exp"])
        if now >= expires_at or ("nbf" in claims and _moment(claims["nbf"]) > now + CLOCK_SKEW):
            raise InvalidToken
        return expires_at

    def _refuse(self, why: str) -> NoReturn:
        """Refuse a token whose signature is right."""
        self._log(why)
        raise InvalidToken

    def _log(self, why: str) -> None:
        """Log each reason once, without the token's text: as a rule, a setting is wrong."""
        if why not in self._complaints:
            self._complaints.add(why)
            logger.warning("refused a well-signed token: it %s; logged once", why)


def _header_of(token: str) -> dict[str, Any]:
    """Return the header of the token, unverified. Raises InvalidToken."""
    if not COMPACT.fullmatch(token):
        raise InvalidToken
    try:
        header = json.loads(_decoded(token).decode(), object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError):
        raise InvalidToken from None
    if not isinstance(header, dict) or "crit" in header:
        raise InvalidToken
    kind = header.get("typ", "jwt")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise InvalidToken
    return header


def _decoded(token: str) -> bytes:
    header = token.partition(".")[0]
    return base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))


def _verified(token: str, keys: Iterable[Key]) -> dict[str, Any]:
    """Return the claims of the token. Raises InvalidToken unless one of the keys signed it."""
    for key in keys:
        try:
            signed = jws.decode_complete(token, key.material, [key.algorithm])
            claims = json.loads(
                signed["payload"].decode(),
                object_pairs_hook=without_duplicates,
                parse_constant=_no_constants,
            )
        except InvalidSignatureError:
            continue
        except (PyJWTError, ValueError, RecursionError):
            break
        if isinstance(claims, dict):
            return claims
        break
    # Outside the handlers: an error of PyJWT may quote the token.
    raise InvalidToken


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _moment(value: object) -> datetime:
    """Return the time of a NumericDate (RFC 7519, section 2). Raises InvalidToken."""
    # Not isinstance: true is an instance of int.
    if type(value) in (int, float):
        try:
            # Python refuses infinity by OverflowError, what is not a number by ValueError.
            return datetime.fromtimestamp(value, UTC)  # type: ignore[arg-type]
        except (OverflowError, OSError, ValueError):
            pass
    raise InvalidToken


def _text(value: object) -> str | None:
    return str(value) if type(value) is int else value if isinstance(value, str) else None
