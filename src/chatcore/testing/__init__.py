"""The conformance kit: what `chatcore.ports` promises, as checks to run on an adapter.

A check is a coroutine function that takes a fresh adapter and raises AssertionError, with
the promise in words, where the adapter breaks it. It asks for no test framework; with
pytest and an asyncio plugin, a store is held to all of them like this:

    @pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check):
        async with MyStore(...) as store:
            await check(store)

A store must be empty, and of its own for each check. Give the runner a time limit: not every
check can tell a store that locked itself up from a slow one. CHAT_STORE_CHECKS need, besides a
ChatStore, an `add_user` as AccountStore has it, to fill the directory with; ERASURE_CHECKS are
for a store that is both an AccountStore and a ChatStore. The checks of
token issuers take no issuer but a way to make them: a function that returns one with a
secret of its own at every call. Those of doorbells take two of one store, as two of its
processes have them, or the same one twice.
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
