"""A password hasher and a token issuer for tests, of the standard library alone.

They are as correct as the ones of a deployment and cost microseconds. Never deploy them: a stolen
hash gives its password away.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta

from chatcore.errors import InvalidToken
from chatcore.ports import Claims

_MARK = "insecure-test"
"""How every hash begins, so that one in a real database is noticed."""


class InsecureTestHasher:
    """A PasswordHasher for tests, without threads, so it also works in virtual time.

    It keeps every promise of its port but one: `hash` and `verify` run on the event loop, for
    microseconds. `rounds` are the parameters of a hash, for tests of a rehash.
    """

    def __init__(self, rounds: int = 1) -> None:
        self._rounds = rounds
        self._decoy = self._hash("decoy", b"salt", rounds)

    async def hash(self, password: str) -> str:
        return self._hash(password, secrets.token_bytes(16), self._rounds)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        try:
            _, rounds, salt, _ = (password_hash or self._decoy).split("$")
            made = self._hash(password, bytes.fromhex(salt), int(rounds))
        except (ValueError, OverflowError):
            return False
        return password_hash is not None and hmac.compare_digest(
            made.encode(), password_hash.encode()
        )

    def needs_rehash(self, password_hash: str) -> bool:
        return not password_hash.startswith(f"{_MARK}${self._rounds}$")

    def _hash(self, password: str, salt: bytes, rounds: int) -> str:
        key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
        return f"{_MARK}${rounds}${salt.hex()}${key.hex()}"


class InsecureTestTokens:
    """A TokenIssuer for tests: the claims and their HMAC, each in base64. Without a `secret`, each
    issuer has a random one."""

    def __init__(
        self, secret: bytes | None = None, *, lifetime: timedelta = timedelta(hours=12)
    ) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._lifetime = lifetime

    def issue(self, user_id: int, now: datetime, *, session_id: str | None = None) -> str:
        issued_at = int(now.timestamp())
        expires_at = issued_at + int(self._lifetime.total_seconds())
        claims = [user_id, issued_at, expires_at, session_id]
        body = base64.urlsafe_b64encode(json.dumps(claims).encode())
        return f"{body.decode()}.{self._sign(body)}"

    def verify(self, token: str, now: datetime) -> Claims:
        body, _, signature = token.encode(errors="surrogatepass").partition(b".")
        if not hmac.compare_digest(signature, self._sign(body).encode()):
            raise InvalidToken
        try:
            user_id, issued_at, expires_at, session_id = json.loads(base64.urlsafe_b64decode(body))
        except (ValueError, binascii.Error):
            raise InvalidToken from None
        claims = Claims(
            user_id,
            datetime.fromtimestamp(issued_at, UTC),
            datetime.fromtimestamp(expires_at, UTC),
            session_id,
        )
        if now >= claims.expires_at:
            raise InvalidToken
        return claims

    def _sign(self, body: bytes) -> str:
        digest = hmac.digest(self._secret, body, "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
