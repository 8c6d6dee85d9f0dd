"""For tests: the conformance kit for adapters, and the kit for hosts.

A host tests its own code with `two_users`, `assert_sent`, `VirtualClock` and `Faults`
(docs/testing.md).

The conformance kit holds the promises of `chatcore.ports` as checks of an adapter.

A check is a coroutine function that takes a fresh adapter and raises AssertionError, with the
broken promise and the call, if the adapter breaks it. Checks need no test framework; with pytest
and an asyncio plugin, run all of them on a store like this:

    @pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check):
        async with MyStore(...) as store:
            await check(store)

Each check needs an empty store of its own. Give the runner a time limit: not every check can
distinguish a deadlocked store from a slow one.

`checks_for(MyStore(...))` says which of these tuples an adapter is held to, by the ports that it
implements:

- PEOPLE_CHECKS need a People, ACCOUNT_STORE_CHECKS an AccountStore, REALM_CHECKS a store that is
  both.
- CHAT_STORE_CHECKS need a ChatStore that is a People or a CredentialStore, too, to add users. They
  are CONVERSATION_CHECKS, EVENT_LOG_CHECKS and BLOCK_LIST_CHECKS together.
- ERASURE_CHECKS need such a store that is an Erasure, RENAMING_CHECKS one that is a People.
  A HostTransactions passes them as a ChatStore whose `open_chat`, `chat_with`, `append_message` and
  `replay_of` each run in a host's transaction of their own.
- TOKEN_ISSUER_CHECKS take a function that returns an issuer with a new secret at every call.
- DOORBELL_CHECKS take two doorbells of one store, as two processes have them, or one doorbell
  twice.
"""

from chatcore.testing.accounts import ACCOUNT_STORE_CHECKS, AccountStoreCheck
from chatcore.testing.by_port import (
    BLOCK_LIST_CHECKS,
    CHAT_STORE_CHECKS,
    CONVERSATION_CHECKS,
    EVENT_LOG_CHECKS,
    checks_for,
)
from chatcore.testing.clock import VirtualClock, VirtualTimeLoop, run_in_virtual_time
from chatcore.testing.doorbells import DOORBELL_CHECKS, DoorbellCheck
from chatcore.testing.erasing import ERASURE_CHECKS, ErasureCheck, WholeStore
from chatcore.testing.faults import Faults
from chatcore.testing.hashers import PASSWORD_HASHER_CHECKS, PasswordHasherCheck
from chatcore.testing.hosts import (
    TEST_PASSWORD,
    TwoUsers,
    assert_not_sent,
    assert_sent,
    two_users,
)
from chatcore.testing.people import (
    PEOPLE_CHECKS,
    REALM_CHECKS,
    RENAMING_CHECKS,
    PeopleAndAccounts,
    PeopleAndChats,
    PeopleCheck,
    RealmCheck,
    RenamingCheck,
)
from chatcore.testing.scene import ChatStoreCheck, ChatStoreWithUsers
from chatcore.testing.tokens import TOKEN_ISSUER_CHECKS, NewTokenIssuer, TokenIssuerCheck

__all__ = [
    "ACCOUNT_STORE_CHECKS",
    "BLOCK_LIST_CHECKS",
    "CHAT_STORE_CHECKS",
    "CONVERSATION_CHECKS",
    "DOORBELL_CHECKS",
    "ERASURE_CHECKS",
    "EVENT_LOG_CHECKS",
    "PASSWORD_HASHER_CHECKS",
    "PEOPLE_CHECKS",
    "REALM_CHECKS",
    "RENAMING_CHECKS",
    "TEST_PASSWORD",
    "TOKEN_ISSUER_CHECKS",
    "AccountStoreCheck",
    "ChatStoreCheck",
    "ChatStoreWithUsers",
    "DoorbellCheck",
    "ErasureCheck",
    "Faults",
    "NewTokenIssuer",
    "PasswordHasherCheck",
    "PeopleAndAccounts",
    "PeopleAndChats",
    "PeopleCheck",
    "RealmCheck",
    "RenamingCheck",
    "TokenIssuerCheck",
    "TwoUsers",
    "VirtualClock",
    "VirtualTimeLoop",
    "WholeStore",
    "assert_not_sent",
    "assert_sent",
    "checks_for",
    "run_in_virtual_time",
    "two_users",
]
