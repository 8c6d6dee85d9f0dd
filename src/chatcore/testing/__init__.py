"""The conformance kit: the promises of `chatcore.ports` as checks of an adapter.

A check is a coroutine function that takes a fresh adapter and raises AssertionError, with the
broken promise and the call, if the adapter breaks it. Checks need no test framework; with pytest
and an asyncio plugin, run all of them on a store like this:

    @pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check):
        async with MyStore(...) as store:
            await check(store)

Each check needs an empty store of its own. Give the runner a time limit: not every check can
distinguish a deadlocked store from a slow one.

- CHAT_STORE_CHECKS need a ChatStore with the method `add_user` of an AccountStore, to add users.
- ERASURE_CHECKS need a store that is both an AccountStore and a ChatStore.
- TOKEN_ISSUER_CHECKS take a function that returns an issuer with a new secret at every call.
- DOORBELL_CHECKS take two doorbells of one store, as two processes have them, or one doorbell
  twice.
"""

from chatcore.testing import (
    blocking,
    chats,
    events,
    keys,
    messages,
    numbering,
    pages,
    states,
    trimming,
)
from chatcore.testing.accounts import ACCOUNT_STORE_CHECKS, AccountStoreCheck
from chatcore.testing.doorbells import DOORBELL_CHECKS, DoorbellCheck
from chatcore.testing.erasing import ERASURE_CHECKS, ErasureCheck, WholeStore
from chatcore.testing.hashers import PASSWORD_HASHER_CHECKS, PasswordHasherCheck
from chatcore.testing.scene import ChatStoreCheck, ChatStoreWithUsers
from chatcore.testing.tokens import TOKEN_ISSUER_CHECKS, NewTokenIssuer, TokenIssuerCheck

CHAT_STORE_CHECKS: tuple[ChatStoreCheck, ...] = (
    *chats.CHAT_CHECKS,
    *messages.MESSAGE_CHECKS,
    *numbering.NUMBERING_CHECKS,
    *keys.KEY_CHECKS,
    *pages.PAGE_CHECKS,
    *states.STATE_CHECKS,
    *events.LOG_CHECKS,
    *trimming.TRIM_CHECKS,
    *blocking.BLOCK_CHECKS,
)

__all__ = [
    "ACCOUNT_STORE_CHECKS",
    "CHAT_STORE_CHECKS",
    "DOORBELL_CHECKS",
    "ERASURE_CHECKS",
    "PASSWORD_HASHER_CHECKS",
    "TOKEN_ISSUER_CHECKS",
    "AccountStoreCheck",
    "ChatStoreCheck",
    "ChatStoreWithUsers",
    "DoorbellCheck",
    "ErasureCheck",
    "NewTokenIssuer",
    "PasswordHasherCheck",
    "TokenIssuerCheck",
    "WholeStore",
]
