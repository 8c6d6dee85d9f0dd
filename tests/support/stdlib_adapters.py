"""A password hasher and a token issuer of the standard library alone, which pass the same
conformance checks as the shipped adapters."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta

from chatcore import InvalidToken
from chatcore.ports import Claims


class ScryptHasher:
    """Cheap enough for tests: 2 MiB and a few milliseconds a hash."""

    def __init__(self, n: int = 2**11) -> None:
        self._n = n
        self._decoy = self._hash("decoy", b"salt")

    async def hash(self, password: str) -> str:
        return await asyncio.to_thread(self._hash, password, secrets.token_bytes(16))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return await asyncio.to_thread(self._verify, password, password_hash)

    def needs_rehash(self, password_hash: str) -> bool:
        return not password_hash.startswith(f"{self._n}$")

    def _hash(self, password: str, salt: bytes, n: int | None = None) -> str:
        n = n or self._n
        key = hashlib.scrypt(password.encode(), salt=salt, n=n, r=8, p=1, dklen=32)
        return f"{n}${salt.hex()}${key.hex()}"

    def _verify(self, password: str, password_hash: str | None) -> bool:
        try:
            n, salt, _ = (password_hash or self._decoy).split("$")
            made = self._hash(password, bytes.fromhex(salt), int(n))
        except ValueError:
            return False
        return password_hash is not None and hmac.compare_digest(
            made.encode(), password_hash.encode()
        )


class QuickHasher(ScryptHasher):
    """Costs next to nothing and needs no thread, so it also works in virtual time."""

    def __init__(self, n: int = 2) -> None:
        super().__init__(n)

    async def hash(self, password: str) -> str:
        return self._hash(password, secrets.token_bytes(16))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return self._verify(password, password_hash)


class HmacTokens:
    """Claims and their HMAC, each in base64."""

    def __init__(self, secret: bytes, lifetime: timedelta = timedelta(hours=12)) -> None:
        self._secret = secret
        self._lifetime = lifetime

    def issue(self, user_id: int, now: datetime) -> str:
        issued_at = int(now.timestamp())
        expires_at = issued_at + int(self._lifetime.total_seconds())
        body = base64.urlsafe_b64encode(json.dumps([user_id, issued_at, expires_at]).encode())
        return f"{body.decode()}.{self._sign(body)}"

    def verify(self, token: str, now: datetime) -> Claims:
        body, _, signature = token.encode(errors="surrogatepass").partition(b".")
        if not hmac.compare_digest(signature, self._sign(body).encode()):
            raise InvalidToken
        try:
            user_id, issued_at, expires_at = json.loads(base64.urlsafe_b64decode(body))
        except (ValueError, binascii.Error):
            raise InvalidToken from None
        claims = Claims(
            user_id, datetime.fromtimestamp(issued_at, UTC), datetime.fromtimestamp(expires_at, UTC)
        )
        if now >= claims.expires_at:
            raise InvalidToken
        return claims

    def _sign(self, body: bytes) -> str:
        digest = hmac.digest(self._secret, body, "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
