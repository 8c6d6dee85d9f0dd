"""The key set of an issuer: which keys count, and how they are cached, rotated and outlive it."""

import asyncio
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chatcore import AuthenticationUnavailable
from chatcore.testing import VirtualClock
from chatcore_jwt import JwksKeys
from chatcore_jwt.keys import (
    MAX_KEYS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    SERVE_SECONDS,
    UNKNOWN_KEY_SECONDS,
    WAIT_SECONDS,
    keys_in,
)
from tests.support.issuer import Issuer, ec_key, jwk, key_set, rsa_key


class Reader:
    """Finds the keys of an issuer as time passes."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.issuer = Issuer(self.clock)
        self.keys = JwksKeys("https://x/", fetch=self.issuer.fetch, seconds=self.clock.seconds)

    def wait(self, seconds: float) -> None:
        self.clock.passed += seconds

    async def finds(self, kid: str | None = "r1", algorithm: str = "RS256") -> int:
        return len(await self.keys.find(kid, algorithm))

    async def settle(self) -> None:
        """Let a reading in the background end."""
        for _ in range(10):
            await asyncio.sleep(0)


async def test_keys_are_read_with_the_first_token_and_cached() -> None:
    reader = Reader()
    assert reader.issuer.reads == 0
    for _ in range(10):
        assert await reader.finds() == await reader.finds("e1", "ES256") == 1
    reader.wait(REFRESH_SECONDS - 1)
    assert await reader.finds() == 1
    assert reader.issuer.reads == 1


async def test_key_is_found_only_for_its_own_algorithm() -> None:
    reader = Reader()
    for kid, algorithm in (("r1", "ES256"), ("e1", "RS256"), ("r1", "HS256"), ("r1", "none")):
        assert await reader.finds(kid, algorithm) == 0
    assert reader.issuer.reads == 1


async def test_unknown_key_makes_them_be_read_at_most_once_a_minute() -> None:
    reader = Reader()
    assert await reader.finds() == 1
    for n in range(100):
        assert await reader.finds(f"unknown {n}") == 0
    assert reader.issuer.reads == 1
    reader.wait(UNKNOWN_KEY_SECONDS)
    for n in range(100):
        assert await reader.finds(f"unknown {n}") == 0
    assert reader.issuer.reads == 2


async def test_rotated_key_is_found_at_once_and_the_old_one_ends() -> None:
    reader = Reader()
    assert await reader.finds() == 1
    reader.wait(UNKNOWN_KEY_SECONDS)
    reader.issuer.keys = {"r2": rsa_key(1)}
    assert await reader.finds("r2") == 1
    assert await reader.finds("r1") == 0


async def test_removed_key_ends_after_five_minutes() -> None:
    reader = Reader()
    assert await reader.finds("r1") == 1
    del reader.issuer.keys["r1"]
    reader.wait(REFRESH_SECONDS)
    # Served once more, while they are read in the background.
    assert await reader.finds("r1") == 1
    await reader.settle()
    reader.wait(1)
    assert await reader.finds("r1") == 0
    assert reader.issuer.reads == 2


async def test_removed_key_does_not_return_after_a_pause() -> None:
    reader = Reader()
    assert await reader.finds("r1") == 1
    del reader.issuer.keys["r1"]
    reader.wait(WAIT_SECONDS)
    assert await reader.finds("r1") == 0


async def test_known_keys_serve_for_an_hour_without_the_issuer() -> None:
    reader = Reader()
    assert await reader.finds() == 1
    reader.issuer.up = False
    for _ in range(int((SERVE_SECONDS - 1) / 100)):
        reader.wait(100)
        assert await reader.finds() == 1
        await reader.settle()
    reader.wait(SERVE_SECONDS)
    with pytest.raises(AuthenticationUnavailable):
        await reader.finds()
    reader.issuer.up = True
    reader.wait(RETRY_SECONDS)
    assert await reader.finds() == 1


async def test_unknown_key_is_unavailable_while_the_issuer_is_down() -> None:
    reader = Reader()
    assert await reader.finds() == 1
    reader.issuer.up = False
    reader.wait(UNKNOWN_KEY_SECONDS)
    for _ in range(10):
        with pytest.raises(AuthenticationUnavailable):
            await reader.finds("r2")
        assert await reader.finds("r1") == 1
    assert reader.issuer.reads == 2


async def test_issuer_that_was_never_up_is_asked_every_five_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = Reader()
    reader.issuer.up = False
    with caplog.at_level(logging.WARNING):
        for attempts in (1, 2):
            for _ in range(10):
                with pytest.raises(AuthenticationUnavailable):
                    await reader.finds()
            assert reader.issuer.reads == attempts
            reader.wait(RETRY_SECONDS)
    assert [record.getMessage() for record in caplog.records] == [
        "cannot read the keys of https://x/: OSError('the issuer is down')"
    ] * 2
    reader.issuer.up = True
    assert await reader.finds() == 1


async def test_simultaneous_tokens_share_one_reading() -> None:
    reader = Reader()
    assert await asyncio.gather(*(reader.finds() for _ in range(50))) == [1] * 50
    assert reader.issuer.reads == 1


async def test_cancelled_caller_does_not_end_the_reading_of_others() -> None:
    reader = Reader()
    first, second = asyncio.create_task(reader.finds()), asyncio.create_task(reader.finds())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    assert reader.issuer.reads == 1


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"[]", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b"\xff"),
        b"[" * 100_000,
        key_set(*[{}] * (MAX_KEYS + 1)),
    ],
    ids=["empty", "cut off", "list", "object", "two lists", "not UTF-8", "deep", "many"],
)
async def test_document_that_is_no_key_set_leaves_the_known_keys(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, several messages
        keys_in(document)
    reader = Reader()
    assert await reader.finds() == 1

    async def broken() -> bytes:
        return document

    reader.keys._fetch = broken
    reader.wait(UNKNOWN_KEY_SECONDS)
    with pytest.raises(AuthenticationUnavailable):
        await reader.finds("unknown")
    assert await reader.finds() == 1


async def test_token_without_a_key_id_needs_a_single_key() -> None:
    reader = Reader()
    assert await reader.finds(None) == 1
    assert await reader.finds(None, "ES256") == 1
    reader.issuer.keys["r2"] = rsa_key(1)
    reader.wait(UNKNOWN_KEY_SECONDS)
    assert await reader.finds("r2") == 1
    assert await reader.finds(None) == 0


def test_keys_are_bound_to_the_algorithm_of_their_type() -> None:
    found = keys_in(key_set(jwk(rsa_key(), "r"), jwk(ec_key(), "e"), jwk(rsa_key(1), None)))
    assert [(key.id, key.algorithm) for key in found] == [
        ("r", "RS256"),
        ("e", "ES256"),
        (None, "RS256"),
    ]


IGNORED: dict[str, Any] = {
    "for encryption": jwk(rsa_key(), "k", use="enc"),
    "for signing": jwk(rsa_key(), "k", key_ops=["sign"]),
    "of another algorithm": jwk(rsa_key(), "k", alg="RS512"),
    "padded otherwise": jwk(rsa_key(), "k", alg="PS256"),
    "for encryption by its algorithm": jwk(rsa_key(), "k", alg="RSA-OAEP"),
    "of none": jwk(rsa_key(), "k", alg="none"),
    "symmetric": {"kty": "oct", "kid": "k", "k": "x" * 64},
    "symmetric, called RSA": {"kty": "RSA", "kid": "k", "k": "x" * 64},
    "Edwards curve": {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "x" * 43},
    "P-384": jwk(ec.generate_private_key(ec.SECP384R1()), "k"),
    "point off the curve": jwk(ec_key(), "k", x=jwk(ec_key(1), "k")["x"]),
    "1,024 bits": jwk(rsa_key(0, 1024), "k"),
    "16,384 bits": jwk(rsa_key(), "k", n="_" * 2731),
    "exponent of 1": jwk(rsa_key(), "k", e="AQ"),
    "exponent of 2": jwk(rsa_key(), "k", e="Ag"),
    "number of another type": jwk(rsa_key(), "k", n=5),
    "not base64": jwk(rsa_key(), "k", n="!"),
    "id of another type": jwk(rsa_key(), "k") | {"kid": 5},
    "operations of another type": jwk(rsa_key(), "k", key_ops="verify"),
    "not an object": 5,
}


@pytest.mark.parametrize("member", IGNORED.values(), ids=IGNORED.keys())
def test_key_that_is_none_to_verify_with_is_ignored(member: Any) -> None:
    [good] = keys_in(key_set(member, jwk(rsa_key(), "good", alg="RS256", key_ops=["verify"])))
    assert good.id == "good"


def test_private_parts_of_a_published_key_are_dropped() -> None:
    [key] = keys_in(key_set(jwk(rsa_key(), "k", d="x", p="x", q="x")))
    assert not hasattr(key.material, "private_numbers")
