"""Hashers and token issuers that break one promise each, with the check that catches it."""

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from chatcore.errors import InvalidToken
from chatcore.ports import Claims, PasswordHasher, TokenIssuer
from chatcore.testing import PasswordHasherCheck, TokenIssuerCheck, hashers, tokens
from chatcore_memory import InsecureTestHasher, InsecureTestTokens

SECRET = b"a secret of thirty-two bytes, ok"


class ComparesLengths(InsecureTestHasher):
    async def verify(self, password: str, password_hash: str | None) -> bool:
        return len(await self.hash(password)) == len(password_hash or "")


class SaltsNothing(InsecureTestHasher):
    def _hash(self, password: str, salt: bytes, rounds: int) -> str:
        return super()._hash(password, b"salt", rounds)


class HashesThe72FirstBytes(InsecureTestHasher):
    def _hash(self, password: str, salt: bytes, rounds: int) -> str:
        return super()._hash(password.encode()[:72].decode(errors="ignore"), salt, rounds)


class VerifiesTheDecoy(InsecureTestHasher):
    async def verify(self, password: str, password_hash: str | None) -> bool:
        return await super().verify(password, password_hash) or password_hash is None


class RaisesOnDamage(InsecureTestHasher):
    async def verify(self, password: str, password_hash: str | None) -> bool:
        if password_hash is not None and password_hash.count("$") != 3:
            raise ValueError("no hash")
        return await super().verify(password, password_hash)


class KnowsUnknownUsersAtOnce(InsecureTestHasher):
    def __init__(self) -> None:
        super().__init__(rounds=1_000)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return password_hash is not None and await super().verify(password, password_hash)


class IsNeverUpToDate(InsecureTestHasher):
    def needs_rehash(self, password_hash: str) -> bool:
        return True


class HashesOnTheLoop(InsecureTestHasher):
    def __init__(self) -> None:
        super().__init__(rounds=1_000)

    async def hash(self, password: str) -> str:
        await asyncio.sleep(0)
        return await super().hash(password)


class SaysIdsAsFloats(InsecureTestTokens):
    def verify(self, token: str, now: datetime) -> Claims:
        claims = super().verify(token, now)
        return claims._replace(user_id=int(float(claims.user_id)))


class BreaksLines(InsecureTestTokens):
    def _sign(self, body: bytes) -> str:
        return base64.encodebytes(super()._sign(body).encode()).decode()


class ExpiresASecondLate(InsecureTestTokens):
    def verify(self, token: str, now: datetime) -> Claims:
        return super().verify(token, now - timedelta(seconds=1))


class ExpiresAfterTheMoment(InsecureTestTokens):
    def verify(self, token: str, now: datetime) -> Claims:
        return super().verify(token, now - timedelta(microseconds=1))


class RefusesTheFuture(InsecureTestTokens):
    def verify(self, token: str, now: datetime) -> Claims:
        claims = super().verify(token, now)
        if claims.issued_at - now > timedelta(seconds=30):
            raise InvalidToken
        return claims


class TakesEveryTimeForUtc(InsecureTestTokens):
    def issue(self, user_id: int, now: datetime, *, session_id: str | None = None) -> str:
        return super().issue(user_id, now.replace(tzinfo=UTC), session_id=session_id)


class ForgetsTheSession(InsecureTestTokens):
    def issue(self, user_id: int, now: datetime, *, session_id: str | None = None) -> str:
        return super().issue(user_id, now)


class LooksAtHalfTheSignature(InsecureTestTokens):
    def _sign(self, body: bytes) -> str:
        return super()._sign(body)[:20] + "A" * 23

    def verify(self, token: str, now: datetime) -> Claims:
        return super().verify(token[:-23] + "A" * 23, now)


class HasOneSecretForAll(InsecureTestTokens):
    def _sign(self, body: bytes) -> str:
        return InsecureTestTokens(SECRET)._sign(body)


class TripsOverGarbage(InsecureTestTokens):
    def verify(self, token: str, now: datetime) -> Claims:
        token.encode("ascii")
        return super().verify(token, now)


class TakesWhatFollows(InsecureTestTokens):
    def verify(self, token: str, now: datetime) -> Claims:
        return super().verify(token.rstrip("\0"), now)


HASHER_FAULTS: dict[Callable[[], PasswordHasher], PasswordHasherCheck] = {
    ComparesLengths: hashers.a_hash_verifies_its_password_alone,
    SaltsNothing: hashers.every_hash_is_salted,
    HashesThe72FirstBytes: hashers.passwords_count_to_their_last_byte,
    VerifiesTheDecoy: hashers.without_a_hash_nothing_is_verified,
    RaisesOnDamage: hashers.a_malformed_hash_verifies_nothing,
    KnowsUnknownUsersAtOnce: hashers.an_unknown_user_costs_as_much_as_a_wrong_password,
    IsNeverUpToDate: hashers.a_fresh_hash_needs_no_rehash,
    HashesOnTheLoop: hashers.the_event_loop_is_not_blocked,
}

TOKEN_FAULTS: dict[Callable[[bytes], TokenIssuer], TokenIssuerCheck] = {
    SaysIdsAsFloats: tokens.claims_are_what_was_issued,
    ForgetsTheSession: tokens.a_token_names_its_session,
    BreaksLines: tokens.a_token_is_visible_ascii,
    ExpiresASecondLate: tokens.a_token_is_valid_until_it_expires,
    ExpiresAfterTheMoment: tokens.a_token_is_valid_until_it_expires,
    RefusesTheFuture: tokens.a_token_may_be_dated_ahead,
    TakesEveryTimeForUtc: tokens.time_zones_make_no_difference,
    LooksAtHalfTheSignature: tokens.an_altered_token_is_refused,
    HasOneSecretForAll: tokens.a_token_of_another_issuer_is_refused,
    TripsOverGarbage: tokens.a_malformed_token_is_refused,
    TakesWhatFollows: tokens.a_malformed_token_is_refused,
}
