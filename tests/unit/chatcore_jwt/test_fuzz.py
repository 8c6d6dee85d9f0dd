"""Broken tokens and key sets: only tokens that were issued verify, with their own claims."""

from datetime import UTC, datetime
from typing import Any

from chatcore import InvalidToken, Session, User
from chatcore.testing import VirtualClock
from chatcore_jwt import JwksKeys, JwtAuthenticator, JwtTokens
from chatcore_jwt.keys import keys_in
from tests.support.fuzzing import mutations
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, ec_key, jwk, key_set, rsa_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_broken_tokens_are_refused(seed: int) -> None:
    """A token that verifies carries the claims of a token issued here."""
    tokens, others = JwtTokens("k" * 32), JwtTokens("o" * 32)
    good = [tokens.issue(user_id, NOW).encode() for user_id in (1, 7, 2**63 - 1)]
    issued = {tokens.verify(token.decode(), NOW) for token in good}
    for raw in mutations(seed, *good, others.issue(1, NOW).encode()):
        try:
            claims = tokens.verify(raw.decode("latin-1"), NOW)
        except InvalidToken:
            continue
        assert claims in issued


async def test_broken_tokens_of_a_host_are_refused(seed: int) -> None:
    clock = VirtualClock()
    issuer = Issuer(clock)

    async def put_user(handle: str, *, name: str) -> User:
        return User(1, handle, name, "shop")

    keys = JwksKeys("https://x/", fetch=issuer.fetch, seconds=clock.seconds)
    login = JwtAuthenticator(put_user, keys, issuer=ISSUER, audience=AUDIENCE, clock=clock)
    good = [issuer.token(kid, sub=sub) for kid, sub in (("r1", "17"), ("e1", "42"))]
    issued = [await login.session(token) for token in good]
    forged = issuer.token("r1", rsa_key(1))
    for raw in mutations(seed, *(token.encode() for token in (*good, forged))):
        try:
            session: Any = await login.session(raw.decode("latin-1"))
        except InvalidToken:
            continue
        assert isinstance(session, Session)
        assert session in issued


def test_broken_key_sets_raise_nothing_but_value_error(seed: int) -> None:
    good = key_set(jwk(rsa_key(), "r1"), jwk(ec_key(), "e1", alg="ES256"))
    for raw in mutations(seed, good):
        try:
            found = keys_in(raw)
        except ValueError:
            continue
        assert {key.algorithm for key in found} <= {"RS256", "ES256"}
