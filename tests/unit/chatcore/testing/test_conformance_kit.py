"""The conformance kit: each planted fault fails its named check, and each check has a fault."""

import asyncio
import inspect
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chatcore import LocalDoorbell
from chatcore.ports import AccountStore, ChatStore, Doorbell, PasswordHasher, People, TokenIssuer
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
    checks_for,
)
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.people import PeopleStore
from tests.support.planted import (
    accounts,
    adapters,
    blocks,
    chats,
    doorbells,
    keys,
    logs,
    messages,
    people,
    sessions,
    states,
    tombstones,
    trims,
    voids,
)

# A store that hangs is caught at once, and a slow machine never looks like one.
pytestmark = pytest.mark.virtual_time

ACCOUNT_FAULTS = accounts.FAULTS | voids.FAULTS | tombstones.ACCOUNT_FAULTS | sessions.FAULTS

CHAT_FAULTS = (
    chats.FAULTS
    | messages.FAULTS
    | keys.FAULTS
    | states.FAULTS
    | logs.FAULTS
    | trims.FAULTS
    | blocks.FAULTS
)


def methods(*ports: type) -> set[str]:
    return {name for port in ports for name in dir(port) if not name.startswith("_")}


STORES = methods(AccountStore, People, ChatStore)


def named(value: Any) -> str:
    return str(value.__name__)


@contextmanager
def caught(check: Any, calls: set[str]) -> Iterator[None]:
    """Expect that the check fails: its message names one of the calls, and a note has the
    promise."""
    with pytest.raises(AssertionError) as broken:
        yield
    # What the adapter returned may contain any word.
    message = str(broken.value).partition(": found")[0]
    words = set(re.findall(r"\w+", message))
    assert words & calls, f"the message names no call: {broken.value}"
    promise = " ".join(check.__doc__.split())
    assert broken.value.__notes__ == [f"{check.__name__}: {promise}"]


@pytest.mark.parametrize(("wrong", "check"), ACCOUNT_FAULTS.items(), ids=named)
async def test_a_wrong_account_store_is_caught(
    wrong: type[MemoryStore], check: AccountStoreCheck
) -> None:
    with caught(check, STORES):
        await check(wrong())


PEOPLE_FAULTS = people.FAULTS | people.RENAMING_FAULTS | people.REALM_FAULTS


@pytest.mark.parametrize(("wrong", "check"), PEOPLE_FAULTS.items(), ids=named)
async def test_a_wrong_store_of_people_is_caught(
    wrong: type[MemoryStore], check: PeopleCheck
) -> None:
    with caught(check, STORES):
        await check(wrong())


@pytest.mark.parametrize(("wrong", "check"), CHAT_FAULTS.items(), ids=named)
async def test_a_wrong_chat_store_is_caught(
    wrong: type[MemoryStore], check: ChatStoreCheck
) -> None:
    with caught(check, STORES):
        await check(wrong())


@pytest.mark.parametrize(("wrong", "check"), tombstones.FAULTS.items(), ids=named)
async def test_a_wrong_whole_store_is_caught(wrong: type[MemoryStore], check: ErasureCheck) -> None:
    with caught(check, STORES):
        await check(wrong())


@pytest.mark.parametrize(("wrong", "check"), doorbells.FAULTS.items(), ids=named)
async def test_a_wrong_doorbell_is_caught(wrong: type[LocalDoorbell], check: DoorbellCheck) -> None:
    doorbell = wrong()
    with caught(check, methods(Doorbell) | {"wake"}):
        await check(doorbell, doorbell)


@pytest.mark.parametrize(("wrong", "check"), adapters.HASHER_FAULTS.items(), ids=named)
def test_a_wrong_hasher_is_caught(
    wrong: Callable[[], PasswordHasher], check: PasswordHasherCheck
) -> None:
    async def run() -> None:
        await check(wrong())

    # Hashers work in threads, for which virtual time does not wait.
    with caught(check, methods(PasswordHasher)):
        asyncio.run(run())


@pytest.mark.parametrize(("wrong", "check"), adapters.TOKEN_FAULTS.items(), ids=named)
async def test_a_wrong_token_issuer_is_caught(
    wrong: Callable[[bytes], TokenIssuer], check: TokenIssuerCheck
) -> None:
    with caught(check, methods(TokenIssuer)):
        await check(lambda: wrong(secrets.token_bytes(32)))


@pytest.mark.parametrize(
    ("checks", "caught_by"),
    [
        (ACCOUNT_STORE_CHECKS, ACCOUNT_FAULTS.values()),
        (CHAT_STORE_CHECKS, CHAT_FAULTS.values()),
        (ERASURE_CHECKS, tombstones.FAULTS.values()),
        (PEOPLE_CHECKS, people.FAULTS.values()),
        (RENAMING_CHECKS, people.RENAMING_FAULTS.values()),
        (REALM_CHECKS, people.REALM_FAULTS.values()),
        (DOORBELL_CHECKS, doorbells.FAULTS.values()),
        (PASSWORD_HASHER_CHECKS, adapters.HASHER_FAULTS.values()),
        (TOKEN_ISSUER_CHECKS, adapters.TOKEN_FAULTS.values()),
    ],
    ids=[
        *("accounts", "chats", "erasures", "people", "renaming", "realms"),
        *("doorbells", "hashers", "tokens"),
    ],
)
def test_every_check_catches_a_fault(checks: Any, caught_by: Any) -> None:
    assert len(set(checks)) == len(checks)
    assert set(checks) == set(caught_by)


@pytest.mark.parametrize("method", sorted(STORES))
async def test_a_method_that_is_not_written_yet_is_named(method: str) -> None:
    class HalfWritten(MemoryStore):
        pass

    async def returns_none(*arguments: object, **options: object) -> None:
        """Return None, as the body `...` does."""

    setattr(HalfWritten, method, returns_none)
    held = [check for checks in checks_for(MemoryStore()).values() for check in checks]
    # Those that call it themselves first: one of them will do.
    for check in sorted(held, key=lambda check: method not in inspect.getsource(check)):
        try:
            await check(HalfWritten())
        except AssertionError as broken:
            if method in str(broken).partition(": found")[0]:
                return
    pytest.fail(f"no check names {method}")


def test_an_adapter_is_held_to_the_checks_of_its_ports() -> None:
    chats = ["CHAT_STORE_CHECKS", "ERASURE_CHECKS", "RENAMING_CHECKS"]
    assert [*checks_for(PeopleStore())] == ["PEOPLE_CHECKS", *chats]
    all_of_a_store = ["PEOPLE_CHECKS", "ACCOUNT_STORE_CHECKS", "REALM_CHECKS", *chats]
    assert [*checks_for(MemoryStore())] == all_of_a_store
    assert [*checks_for(LocalDoorbell())] == ["DOORBELL_CHECKS"]
    assert [*checks_for(InsecureTestTokens(b"secret"))] == ["TOKEN_ISSUER_CHECKS"]
    assert [*checks_for(InsecureTestHasher())] == ["PASSWORD_HASHER_CHECKS"]
    assert checks_for(object()) == {}


def test_a_store_without_sessions_is_held_to_the_checks_of_accounts() -> None:
    class BeforeSessions(MemoryStore):
        add_session = None  # type: ignore[assignment]

    assert checks_for(BeforeSessions())["ACCOUNT_STORE_CHECKS"] == ACCOUNT_STORE_CHECKS


def test_every_check_has_a_docstring() -> None:
    people = (*PEOPLE_CHECKS, *RENAMING_CHECKS, *REALM_CHECKS)
    stores = (*ACCOUNT_STORE_CHECKS, *CHAT_STORE_CHECKS, *ERASURE_CHECKS)
    checks = (*stores, *people, *DOORBELL_CHECKS)
    assert [named(check) for check in checks if not check.__doc__] == []


def test_faults_are_caught_without_asserts_too() -> None:
    script = """
import asyncio
from tests.support.planted.messages import StripsTexts
from chatcore.testing.messages import texts_are_kept_exactly
try:
    asyncio.run(texts_are_kept_exactly(StripsTexts()))
except AssertionError as broken:
    print(broken)
"""
    done = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True)
    assert "returns the text exactly" in done.stdout, done.stderr
