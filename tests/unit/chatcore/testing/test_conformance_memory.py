"""The adapters without dependencies pass the checks."""

import pytest

from chatcore import LocalDoorbell
from chatcore.testing import (
    ACCOUNT_STORE_CHECKS,
    CHAT_STORE_CHECKS,
    DOORBELL_CHECKS,
    ERASURE_CHECKS,
    PASSWORD_HASHER_CHECKS,
    PEOPLE_CHECKS,
    REALM_CHECKS,
    RENAMING_CHECKS,
    TOKEN_ISSUER_CHECKS,
    AccountStoreCheck,
    ChatStoreCheck,
    DoorbellCheck,
    ErasureCheck,
    PasswordHasherCheck,
    PeopleCheck,
    TokenIssuerCheck,
)
from chatcore.testing.hashers import the_event_loop_is_not_blocked
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore


@pytest.mark.parametrize("check", ACCOUNT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_account_store(check: AccountStoreCheck) -> None:
    await check(MemoryStore())


@pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_chat_store(check: ChatStoreCheck) -> None:
    await check(MemoryStore())


@pytest.mark.parametrize("check", ERASURE_CHECKS, ids=lambda check: check.__name__)
async def test_whole_store(check: ErasureCheck) -> None:
    await check(MemoryStore())


@pytest.mark.parametrize(
    "check",
    [*PEOPLE_CHECKS, *RENAMING_CHECKS, *REALM_CHECKS],
    ids=lambda check: check.__name__,
)
async def test_store_of_people(check: PeopleCheck) -> None:
    await check(MemoryStore())


@pytest.mark.parametrize("check", DOORBELL_CHECKS, ids=lambda check: check.__name__)
async def test_doorbell(check: DoorbellCheck) -> None:
    doorbell = LocalDoorbell()
    await check(doorbell, doorbell)


# It works on the event loop, as a test in virtual time needs, for microseconds.
HASHER_CHECKS = [it for it in PASSWORD_HASHER_CHECKS if it is not the_event_loop_is_not_blocked]


@pytest.mark.parametrize("check", HASHER_CHECKS, ids=lambda check: check.__name__)
async def test_password_hasher(check: PasswordHasherCheck) -> None:
    await check(InsecureTestHasher())


@pytest.mark.parametrize("check", TOKEN_ISSUER_CHECKS, ids=lambda check: check.__name__)
async def test_token_issuer(check: TokenIssuerCheck) -> None:
    await check(InsecureTestTokens)
