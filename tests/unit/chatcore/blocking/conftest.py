"""A bridge, and the users and the chat that its tests share."""

from collections.abc import Iterator

import pytest

from chatcore import Chat, User, UserName
from chatcore.blocking import Bridge, Messenger
from tests.support.following import WatchedDoorbell, WatchedStore


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge() as bridge:
        yield bridge


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def doorbell() -> WatchedDoorbell:
    return WatchedDoorbell()


@pytest.fixture
def messenger(bridge: Bridge, store: WatchedStore, doorbell: WatchedDoorbell) -> Messenger:
    return bridge.messenger(store, doorbell=doorbell, poll_seconds=600)


@pytest.fixture
def ann(bridge: Bridge, store: WatchedStore) -> User:
    return bridge.call(store.add_user, UserName("Ann"), "", 0)


@pytest.fixture
def bob(bridge: Bridge, store: WatchedStore) -> User:
    return bridge.call(store.add_user, UserName("Bob"), "", 0)


@pytest.fixture
def chat(messenger: Messenger, ann: User, bob: User) -> Chat:
    """The chat of Ann and Bob."""
    return messenger.open_chat(ann, bob)
