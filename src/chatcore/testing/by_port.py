"""The checks of each port, and which of them an adapter is held to."""

from collections.abc import Awaitable, Callable
from typing import Any

from chatcore.ports import (
    ChatStore,
    CredentialStore,
    Doorbell,
    Erasure,
    PasswordHasher,
    People,
    TokenIssuer,
)
from chatcore.testing import (
    blocking,
    chats,
    cursors,
    events,
    keys,
    messages,
    numbering,
    pages,
    states,
    trimming,
)
from chatcore.testing.accounts import ACCOUNT_STORE_CHECKS
from chatcore.testing.doorbells import DOORBELL_CHECKS
from chatcore.testing.erasing import ERASURE_CHECKS
from chatcore.testing.hashers import PASSWORD_HASHER_CHECKS
from chatcore.testing.people import PEOPLE_CHECKS, REALM_CHECKS, RENAMING_CHECKS
from chatcore.testing.scene import ChatStoreCheck
from chatcore.testing.tokens import TOKEN_ISSUER_CHECKS

CONVERSATION_CHECKS: tuple[ChatStoreCheck, ...] = (
    *chats.CHAT_CHECKS,
    *messages.MESSAGE_CHECKS,
    *numbering.NUMBERING_CHECKS,
    *keys.KEY_CHECKS,
    *pages.PAGE_CHECKS,
    *states.STATE_CHECKS,
)
EVENT_LOG_CHECKS: tuple[ChatStoreCheck, ...] = (
    *events.LOG_CHECKS,
    *cursors.CURSOR_CHECKS,
    *trimming.TRIM_CHECKS,
)
BLOCK_LIST_CHECKS: tuple[ChatStoreCheck, ...] = (*blocking.BLOCK_CHECKS,)
CHAT_STORE_CHECKS: tuple[ChatStoreCheck, ...] = (
    *CONVERSATION_CHECKS,
    *EVENT_LOG_CHECKS,
    *BLOCK_LIST_CHECKS,
)


def checks_for(adapter: object) -> dict[str, tuple[Callable[..., Awaitable[None]], ...]]:
    """Return the checks that the adapter is held to, by the names of their tuples. The ports that
    an adapter implements are those of which it has every method; a CredentialStore is held to all
    of AccountStore."""
    people, erasure = isinstance(adapter, People), isinstance(adapter, Erasure)
    # Else a store from before device sessions would be held to no check of accounts, and pass.
    accounts = isinstance(adapter, CredentialStore)
    chats = isinstance(adapter, ChatStore) and (people or accounts)
    held: dict[str, tuple[bool, Any]] = {
        "PEOPLE_CHECKS": (people, PEOPLE_CHECKS),
        "ACCOUNT_STORE_CHECKS": (accounts, ACCOUNT_STORE_CHECKS),
        "REALM_CHECKS": (people and accounts, REALM_CHECKS),
        "CHAT_STORE_CHECKS": (chats, CHAT_STORE_CHECKS),
        "ERASURE_CHECKS": (chats and erasure, ERASURE_CHECKS),
        "RENAMING_CHECKS": (chats and people, RENAMING_CHECKS),
        "DOORBELL_CHECKS": (isinstance(adapter, Doorbell), DOORBELL_CHECKS),
        "PASSWORD_HASHER_CHECKS": (isinstance(adapter, PasswordHasher), PASSWORD_HASHER_CHECKS),
        "TOKEN_ISSUER_CHECKS": (isinstance(adapter, TokenIssuer), TOKEN_ISSUER_CHECKS),
    }
    return {name: checks for name, (holds, checks) in held.items() if holds}
