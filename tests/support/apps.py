"""Applications in this process, on any store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from litestar import Litestar

from chatcore import Accounts, Clock, Messenger
from chatcore.model import utc_now
from chatcore.ports import AccountStore, ChatStore
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_memory import InsecureTestHasher, MemoryStore
from chatcore_sqlalchemy import SqlAlchemyStore

SECRET = "a secret of thirty-two bytes or more"


class Store(AccountStore, ChatStore, Protocol):
    """The store that both Accounts and Messenger need."""


@asynccontextmanager
async def core(store: Store, clock: Clock = utc_now) -> AsyncIterator[tuple[Accounts, Messenger]]:
    """Yield Accounts and Messenger with a cheap password hasher."""
    accounts = Accounts(store, InsecureTestHasher(), JwtTokens(SECRET), clock=clock)
    yield accounts, Messenger(store, clock=clock)


@asynccontextmanager
async def app_on(
    store: Store, *, clock: Clock = utc_now, **options: Any
) -> AsyncIterator[Litestar]:
    async with core(store, clock) as (accounts, messenger):
        yield create_app(accounts, messenger, clock=clock, **options)


class _OtherProcess:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def in_another_process(store: Store) -> Store:
    """The same store as another object, as another process has it: changes of users that one of
    them announces do not reach caches on the other."""
    return cast(Store, _OtherProcess(store))


@asynccontextmanager
async def store_of_kind(kind: str, folder: Path) -> AsyncIterator[Store]:
    """Open a store in memory, in a file in the folder, or at a URL."""
    if kind == "memory":
        yield MemoryStore()
        return
    url = kind if "://" in kind else f"sqlite:///{folder}/chatcore.db"
    async with await SqlAlchemyStore.open(url) as store:
        yield store


KINDS: Any = ["memory", "sqlalchemy", "postgres"]
