"""The password hasher and the token issuer for tests. The conformance kit has their promises."""

from datetime import UTC, datetime

from chatcore_memory import InsecureTestHasher, InsecureTestTokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_hash_says_that_it_is_insecure() -> None:
    assert (await InsecureTestHasher().hash("password")).startswith("insecure-test$")


async def test_hash_of_other_rounds_needs_a_rehash_and_verifies() -> None:
    earlier, today = InsecureTestHasher(rounds=2), InsecureTestHasher()
    made = await earlier.hash("password")
    assert today.needs_rehash(made)
    assert await today.verify("password", made)


async def test_hash_with_absurd_rounds_verifies_nothing() -> None:
    assert not await InsecureTestHasher().verify("password", f"insecure-test${10**30}$00$00")


def test_issuers_with_one_secret_accept_the_tokens_of_each_other() -> None:
    one, other = InsecureTestTokens(b"secret"), InsecureTestTokens(b"secret")
    assert other.verify(one.issue(1, NOW), NOW).user_id == 1
