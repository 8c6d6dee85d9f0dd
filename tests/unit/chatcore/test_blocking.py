"""Blocks between users, and erased names, through the Messenger."""

import asyncio

import pytest

from chatcore import (
    Chat,
    ChatExists,
    ChatNotFound,
    InvalidPage,
    Messenger,
    SelfChat,
    User,
    UserNotFound,
)
from chatcore.names import UserName
from chatcore_memory import MemoryStore

BEYOND = 2**63


@pytest.fixture
def users(ann: User, bob: User, eve: User) -> list[User]:
    return [ann, bob, eve]


@pytest.mark.parametrize("blocker", [0, 1])
async def test_block_stops_messages_and_read_events_both_ways(
    messenger: Messenger, users: list[User], chat: Chat, blocker: int
) -> None:
    user, peer = users[blocker], users[1 - blocker]
    first = await messenger.send_once(user, chat, "hello", "key")
    await messenger.block(user, peer)
    for sender in (user, peer):
        with pytest.raises(ChatNotFound):
            await messenger.send(sender, chat, "hello")
        assert (await messenger.ensure_chat(sender, chat.peer_of(sender))).chat == chat
        assert (await messenger.page(sender, chat)).messages == [first.message]
        with pytest.raises(ChatExists):
            await messenger.open_chat(sender, chat.peer_of(sender))
    assert (await messenger.send_once(user, chat, "hello", "key")).replayed
    following = messenger.follow(user)
    await following.start()
    assert await messenger.mark_read(peer, chat, 1) == 1
    assert await following.batch(0) == ()
    assert (await messenger.state(user, chat.id)).peer_read_seq == 0
    assert (await messenger.state(peer, chat.id)).read_seq == 1
    await messenger.unblock(user, peer)
    assert (await messenger.send(peer, chat, "hello again")).seq == 2


async def test_no_chat_can_be_opened_during_a_block(
    messenger: Messenger, users: list[User]
) -> None:
    ann, _, eve = users
    await messenger.block(eve, ann)
    for user, peer in ((ann, eve), (eve, ann)):
        with pytest.raises(UserNotFound):
            await messenger.open_chat(user, peer)
        with pytest.raises(UserNotFound):
            await messenger.ensure_chat(user, peer)
    await messenger.unblock(eve, ann)
    assert (await messenger.ensure_chat(ann, eve)).created


async def test_users_list_their_blocks(messenger: Messenger, users: list[User]) -> None:
    ann, bob, eve = users
    await messenger.block(ann, eve)
    await messenger.block(ann, bob)
    assert await messenger.blocked_by(ann) == [bob, eve]
    assert await messenger.blocked_by(ann, limit=1) == [bob]
    assert await messenger.blocked_by(ann, after=bob.id) == [eve]
    assert await messenger.blocked_by(bob) == []
    for after, limit in ((-1, 1), (BEYOND, 1), (0, 0), (0, 501)):
        with pytest.raises(InvalidPage):
            await messenger.blocked_by(ann, after=after, limit=limit)
    with pytest.raises(SelfChat):
        await messenger.block(ann, ann)
    with pytest.raises(UserNotFound):
        await messenger.block(ann, User(99, "nobody", "nobody"))
    await messenger.unblock(ann, User(99, "nobody", "nobody"))


async def test_erased_name_is_dropped_from_the_cache(
    messenger: Messenger, store: MemoryStore, users: list[User], chat: Chat
) -> None:
    ann, bob, _ = users
    assert await messenger.chat_with(ann, "Bob") == chat
    assert await messenger.chat(ann, chat.id) == chat
    await store.erase_user(bob.id, UserName("deleted user 1"), 0)
    messenger.forget_names()
    with pytest.raises(ChatNotFound):
        await messenger.chat_with(ann, "Bob")
    erased = User(bob.id, "deleted user 1", "deleted user 1")
    assert (await messenger.chat(ann, chat.id)).peer_of(ann) == erased
    assert (await messenger.chat_with(ann, "deleted user 1")).peer_of(ann) == erased


class SlowStore(MemoryStore):
    """Reads a chat, and returns it only once `free` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.found, self.free = asyncio.Event(), asyncio.Event()

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        chat = await super().chat_by_id(chat_id)
        self.found.set()
        await self.free.wait()
        return chat


async def test_chat_read_during_an_erasure_is_not_cached() -> None:
    store = SlowStore()
    messenger = Messenger(store)
    ann, bob = [await store.add_user(UserName(name), "", 0) for name in ("Ann", "Bob")]
    chat = await messenger.open_chat(ann, bob)
    reading = asyncio.create_task(messenger.chat(ann, chat.id))
    await store.found.wait()
    await store.erase_user(bob.id, UserName("deleted user 1"), 0)
    messenger.forget_names()
    store.free.set()
    assert (await reading).peer_of(ann) == bob
    assert (await messenger.chat(ann, chat.id)).peer_of(ann).name == "deleted user 1"


async def test_name_erased_elsewhere_expires_from_the_cache_within_a_minute(
    messenger: Messenger,
    store: MemoryStore,
    users: list[User],
    chat: Chat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("chatcore.chat_cache.elapsed", lambda: now)
    ann, bob, _ = users
    await messenger.chat(ann, chat.id)
    await store.erase_user(bob.id, UserName("deleted user 1"), 0)
    now += 60
    assert (await messenger.chat(ann, chat.id)).peer_of(ann).name == "deleted user 1"
