"""An issuer of a host's tokens, with keys that rotate."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from chatcore.testing import VirtualClock

ISSUER, AUDIENCE = "https://login.shop.example/", "chat"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the same key for the same arguments: making one takes long."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key: PrivateKey, kid: str | None, **members: Any) -> dict[str, Any]:
    """Return the public key as a member of a key set. A member that is None is left out."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    else:
        public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    public.pop("key_ops", None)
    shown = public | {"kid": kid, "use": "sig"} | members
    return {name: value for name, value in shown.items() if value is not None}


def key_set(*members: dict[str, Any]) -> bytes:
    return json.dumps({"keys": members}).encode()


@dataclass
class Issuer:
    """Signs tokens, and shows its key set as long as it is up."""

    clock: VirtualClock
    keys: dict[str, PrivateKey] = field(default_factory=lambda: {"r1": rsa_key(), "e1": ec_key()})
    up: bool = True
    reads: int = 0

    async def fetch(self) -> bytes:
        self.reads += 1
        if not self.up:
            raise OSError("the issuer is down")
        return key_set(*(jwk(key, kid) for kid, key in self.keys.items()))

    def token(
        self,
        kid: str | None = "r1",
        key: PrivateKey | None = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Sign a token of Ann, for an hour. A claim that is None is left out."""
        key = key or self.keys[str(kid)]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        known = {} if kid is None else {"kid": kid}
        return jwt.encode(
            claims_of(self.clock, **claims), key, algorithm, headers=known | (headers or {})
        )


def claims_of(clock: VirtualClock, **claims: Any) -> dict[str, Any]:
    now = int(clock().timestamp())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "17", "name": "Ann", "exp": now + 3600} | claims
    return {name: value for name, value in made.items() if value is not None}
