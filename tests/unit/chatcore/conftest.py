"""The users, the chat and the objects around them that the core's tests share.

A file that needs a store, doorbell or clock of its own overrides that fixture alone.
"""

import pytest

from chatcore import Chat, Messenger, User, UserName
from chatcore_memory import MemoryStore
from tests.support.following import WatchedDoorbell
from tests.support.picky_store import PickyStore


@pytest.fixture
def store() -> MemoryStore:
    return PickyStore()


@pytest.fixture
def doorbell() -> WatchedDoorbell:
    return WatchedDoorbell()


@pytest.fixture
def messenger(store: MemoryStore, doorbell: WatchedDoorbell) -> Messenger:
    return Messenger(store, doorbell=doorbell)


@pytest.fixture
async def ann(store: MemoryStore) -> User:
    return await store.add_user(UserName("Ann"), "", 0)


@pytest.fixture
async def bob(store: MemoryStore) -> User:
    return await store.add_user(UserName("Bob"), "", 0)


@pytest.fixture
async def eve(store: MemoryStore) -> User:
    return await store.add_user(UserName("Eve"), "", 0)


@pytest.fixture
async def chat(messenger: Messenger, ann: User, bob: User) -> Chat:
    """The chat of Ann and Bob."""
    return await messenger.open_chat(ann, bob)
