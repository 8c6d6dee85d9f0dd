"""The keys that verify a host's tokens: a secret, or the key set (JWKS) of an issuer."""

import asyncio
import json
import logging
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from jwt import PyJWK, PyJWTError
from jwt.algorithms import has_crypto

from chatcore.errors import AuthenticationUnavailable
from chatcore.model import Seconds, elapsed
from chatcore_jwt.fetching import Fetch, fetch_of
from chatcore_jwt.tokens import checked_key, without_duplicates

REFRESH_SECONDS = 300.0
"""The age at which the keys of an issuer are read again, so that removed ones end."""

WAIT_SECONDS = 360.0
"""The age from which a token waits for that reading, so that a removed key cannot return."""

SERVE_SECONDS = 3600.0
"""The age up to which keys serve while their issuer cannot be reached."""

UNKNOWN_KEY_SECONDS = 60.0
"""The pause before a token with an unknown key makes the issuer be asked again."""

RETRY_SECONDS = 5.0
"""The same pause while there are no keys to serve with."""

MAX_KEYS = 100

# RFC 7518, section 3.3; the upper bound keeps verification cheap.
_RSA_BITS = range(2048, 8193)
_MAX_NUMBER = 1400  # characters of base64url: 8,192 bits and some

logger = logging.getLogger("chatcore")


class Key(NamedTuple):
    """A key, bound to the one algorithm that it verifies."""

    algorithm: str
    material: Any
    """What PyJWT verifies with."""
    id: str | None = None


class Keys(Protocol):
    """A source of keys."""

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys with which a token with this `kid` and `alg` may be signed. Raises
        AuthenticationUnavailable."""
        ...


class SecretKeys:
    """Keys for HS256: a secret that the host shares, or several while it changes.

    Each follows the rules of `JwtTokens`, or ValueError is raised.
    """

    def __init__(self, *secrets: str | bytes) -> None:
        if not secrets:
            raise ValueError("a secret is missing")
        self._keys = [Key("HS256", checked_key(secret)) for secret in secrets]

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        return [key for key in self._keys if key.algorithm == algorithm]


class JwksKeys:
    """The RSA and P-256 keys of an issuer's key set (RFC 7517), for RS256 and ES256.

    `url` is `https://…`, or `file:///…` for a file that the host keeps current. At most 256 KiB are
    read, within 5 s, without following redirects and past every proxy; `tls` replaces the system's
    trusted certificates. Raises ValueError for another URL, ImportError without the package
    `cryptography`.

    The keys are read with the first token, and again after 5 minutes; a removed key is refused from
    6 minutes on. A token with an unknown key makes them be read at once, but at most once in 60 s.
    If reading fails, the known keys serve for an hour after they were read. From then on, and for
    unknown keys, AuthenticationUnavailable is raised. A failed reading is logged.

    Ignored are keys for other uses, types and algorithms, symmetric keys, private parts, and RSA
    keys outside 2,048 to 8,192 bits.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        fetch: Fetch | None = None,
        seconds: Seconds = elapsed,
    ) -> None:
        if not has_crypto:
            raise ImportError(
                "RS256 and ES256 need the package cryptography: pip install 'chatcore[jwks]'"
            )
        self._url = url
        self._fetch = fetch or fetch_of(url, tls)
        self._seconds = seconds
        self._keys: Sequence[Key] = ()
        self._read_at = self._tried_at = float("-inf")
        self._failed = False
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        age = self._seconds() - self._read_at
        if age >= SERVE_SECONDS:
            await self._read_now(RETRY_SECONDS)
        elif age >= REFRESH_SECONDS:
            self._read_soon(UNKNOWN_KEY_SECONDS)
            if age >= WAIT_SECONDS:
                await self._end_of_reading()
        if key_id is not None and not any(key.id == key_id for key in self._keys):
            await self._read_now(UNKNOWN_KEY_SECONDS)
        found = [key for key in self._keys if key.algorithm == algorithm]
        if key_id is None:
            # Without a name it must be clear which key is meant (RFC 7515, section 4.1.4).
            return found if len(found) == 1 else ()
        return [key for key in found if key.id == key_id]

    async def _read_now(self, pause: float) -> None:
        """Wait for a reading, unless one ended within `pause` seconds. Raises
        AuthenticationUnavailable if the last one failed."""
        self._read_soon(pause)
        await self._end_of_reading()
        if self._failed:
            raise AuthenticationUnavailable

    async def _end_of_reading(self) -> None:
        if self._reading is not None:
            # Not cancelled with a caller: others wait for it, too.
            await asyncio.wait([self._reading])

    def _read_soon(self, pause: float) -> None:
        """Start a reading, unless one is under way or began within `pause` seconds."""
        now = self._seconds()
        if self._reading is None and now - self._tried_at >= pause:
            self._tried_at = now
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            self._keys = keys_in(await self._fetch())
            self._read_at = self._seconds()
            self._failed = False
        except Exception as error:
            self._failed = True
            logger.warning("cannot read the keys of %s: %r", self._url, error)
        finally:
            self._reading = None


def keys_in(document: bytes) -> Sequence[Key]:
    """Return the keys of a key set that verify RS256 or ES256. Raises ValueError."""
    try:
        decoded = json.loads(document.decode(), object_pairs_hook=without_duplicates)
    except RecursionError:
        raise ValueError("not a key set: too deep") from None
    members = decoded.get("keys") if isinstance(decoded, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a key set: no list of keys")
    if len(members) > MAX_KEYS:
        raise ValueError(f"a key set of over {MAX_KEYS} keys")
    return [key for member in members if (key := _key_of(member)) is not None]


def _key_of(member: object) -> Key | None:
    """Return the public key, or None if it is none to verify with."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    operations, key_id = member.get("key_ops", ["verify"]), member.get("kid")
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(key_id, str | None):
        return None
    match member:
        case {"kty": "RSA", "n": str(n), "e": str(e)} if len(n) + len(e) <= _MAX_NUMBER:
            # Nothing else of the member counts, such as a private part.
            algorithm, public = "RS256", {"kty": "RSA", "n": n, "e": e}
        case {"kty": "EC", "crv": "P-256", "x": str(x), "y": str(y)}:
            algorithm, public = "ES256", {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        case _:
            return None
    if member.get("alg", algorithm) != algorithm:
        return None
    try:
        material = PyJWK.from_dict(public, algorithm).key
    except (PyJWTError, ValueError):
        return None
    if algorithm == "RS256" and material.key_size not in _RSA_BITS:
        return None
    return Key(algorithm, material, key_id)
