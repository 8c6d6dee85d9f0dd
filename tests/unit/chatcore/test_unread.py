"""Chat states, snapshots, unread counts and the trimming of event logs."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore import (
    Chat,
    ChatNotFound,
    ChatOpened,
    ChatState,
    Cursor,
    Event,
    InvalidPage,
    Message,
    MessageSent,
    Messenger,
    NewMessage,
    Reset,
    User,
    UserName,
)
from chatcore.ports import MAX_PAGE
from chatcore.testing import ChatStoreWithUsers
from chatcore.testing.scene import add_user
from chatcore_memory import MemoryStore
from tests.support.chats import open_chats

NewStore = Callable[[], AbstractAsyncContextManager[ChatStoreWithUsers]]

STORES: dict[str, NewStore] = {"memory": lambda: nullcontext(MemoryStore())}
"""Functions that open an empty store."""


@dataclass(frozen=True)
class Send:
    chat: int
    side: int


@dataclass(frozen=True)
class Read:
    chat: int
    side: int
    seq: int


@dataclass(frozen=True)
class Look:
    chat: int
    side: int


Act = Send | Read | Look
"""An act by one side of one of three chats; the first user is in all three."""

places = st.integers(0, 2), st.integers(0, 1)
seqs = st.one_of(st.integers(0, 12), st.just(2**63 - 1))
acts = st.one_of(st.builds(Send, *places), st.builds(Read, *places, seqs), st.builds(Look, *places))
rounds = st.lists(st.lists(acts, min_size=1, max_size=6), max_size=12)
"""Rounds of acts; the acts of one round run concurrently."""


def unread(messages: list[Message], user: User, marker: int) -> int:
    """Count the messages of the peer after the user's read marker: the definition."""
    return sum(it.seq > marker and it.sender_id != user.id for it in messages)


async def unread_is_its_definition(store: ChatStoreWithUsers, rounds: list[list[Act]]) -> None:
    hub, *peers = [await add_user(store, name) for name in ("hub", "a", "b", "c")]
    chats = [await store.open_chat(hub.id, peer.id, 0) for peer in peers]
    looks: list[tuple[User, ChatState]] = []
    markers = {(chat, user): 0 for chat in chats for user in chat.users}

    async def perform(act: Act) -> None:
        chat = chats[act.chat]
        user = chat.users[act.side]
        if isinstance(act, Send):
            await store.append_message(NewMessage(chat.id, user.id, "hello", 0))
        elif isinstance(act, Look):
            state = await store.chat_state(user.id, chat.id)
            listed = (await states_of(store, user))[chat]
            assert state
            looks.extend([(user, state), (user, listed)])
        else:
            marker = await store.move_read_marker(chat.id, user.id, act.seq, 0)
            markers[chat, user] = max(markers[chat, user], marker)

    for n in range(6):
        for act in (Send(0, n // 2 % 2), Send(1, n % 2)):
            await perform(act)
    for acts in rounds:
        await asyncio.gather(*map(perform, acts))
        states = {user: await states_of(store, user) for user in (hub, *peers)}
        for chat in chats:
            messages = list(await store.messages_after(chat.id, 0, limit=MAX_PAGE))
            for user in chat.users:
                state = states[user][chat]
                assert state == await store.chat_state(user.id, chat.id)
                assert state.read_seq == markers[chat, user]
                assert state.peer_read_seq == markers[chat, chat.peer_of(user)]
                assert state.last_message == (messages[-1] if messages else None)
                looks.append((user, state))
    for user, state in looks:
        messages = list(await store.messages_after(state.chat.id, 0, limit=MAX_PAGE))
        last = state.last_message.seq if state.last_message else 0
        assert max(state.read_seq, state.peer_read_seq) <= last
        assert state.unread == unread(messages[:last], user, state.read_seq)


async def states_of(store: ChatStoreWithUsers, user: User) -> dict[Chat, ChatState]:
    return {it.chat: it for it in await store.chat_states(user.id, before=None, limit=MAX_PAGE)}


@pytest.mark.parametrize("new_store", STORES.values(), ids=STORES)
def test_unread_count_equals_its_definition(new_store: NewStore) -> None:
    async def run(rounds: list[list[Act]]) -> None:
        async with new_store() as store:
            await unread_is_its_definition(store, rounds)

    @given(rounds)
    def check(rounds: list[list[Act]]) -> None:
        asyncio.run(run(rounds))

    check()


@pytest.fixture
async def hub(store: MemoryStore) -> User:
    return await store.add_user(UserName("hub"), "", 0)


async def test_states_come_in_pages_most_recently_active_first(
    messenger: Messenger, store: MemoryStore, hub: User
) -> None:
    chats = await open_chats(store, hub, 120)
    await messenger.send(hub, chats[0], "hello")
    wanted = [chats[0], *chats[:0:-1]]
    first = await messenger.states(hub)
    assert [state.chat for state in first] == wanted[:50]
    second = await messenger.states(hub, before=first[-1].activity, limit=500)
    assert [state.chat for state in second] == wanted[50:]
    assert await messenger.states(hub, before=0) == []


@pytest.mark.parametrize(
    ("before", "limit"), [(None, 0), (None, 501), (None, -1), (-1, 50), (2**63, 50)]
)
async def test_states_out_of_range_are_refused(
    messenger: Messenger, hub: User, before: int | None, limit: int
) -> None:
    with pytest.raises(InvalidPage):
        await messenger.states(hub, before=before, limit=limit)


async def test_each_user_sees_their_own_state_of_the_chat(
    messenger: Messenger, store: MemoryStore, hub: User
) -> None:
    [chat] = await open_chats(store, hub, 1)
    peer = chat.peer_of(hub)
    for text in "abc":
        await messenger.send(hub, chat, text)
    last = await messenger.send(peer, chat, "d")
    assert await messenger.mark_read(peer, chat, 2) == 2
    mine, its = await messenger.state(hub, chat.id), await messenger.state(peer, chat.id)
    assert mine == ChatState(chat, mine.activity, last, 0, 2, 1)
    assert its == ChatState(chat, mine.activity, last, 2, 0, 1)
    eve = await store.add_user(UserName("eve"), "", 0)
    with pytest.raises(ChatNotFound):
        await messenger.state(eve, chat.id)


async def test_a_snapshot_has_the_newest_100_chats(
    messenger: Messenger, store: MemoryStore, hub: User
) -> None:
    nothing = await messenger.sync(hub)
    assert (nothing.cursor.n, nothing.chats) == (0, [])
    chats = await open_chats(store, hub, 103)
    snapshot = await messenger.sync(hub)
    assert [state.chat for state in snapshot.chats] == chats[:2:-1]
    assert snapshot.cursor.n == 103
    assert snapshot.chats == await messenger.states(hub, limit=100)


class BusyStore(MemoryStore):
    """Appends a message between any two reads."""

    def __init__(self) -> None:
        super().__init__()
        self.chat: Chat | None = None

    async def end_of_log(self, user_id: int) -> Cursor:
        await self.happen()
        end = await super().end_of_log(user_id)
        await self.happen()
        return end

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        await self.happen()
        states = await super().chat_states(user_id, before=before, limit=limit)
        await self.happen()
        return states

    async def happen(self) -> None:
        if self.chat:
            await self.append_message(NewMessage(self.chat.id, self.chat.users[1].id, "x", 0))


async def test_snapshot_and_following_events_miss_nothing() -> None:
    store = BusyStore()
    hub = await store.add_user(UserName("hub"), "", 0)
    [store.chat] = await open_chats(store, hub, 1)
    messenger = Messenger(store)
    snapshot = await messenger.sync(hub)
    last = snapshot.chats[0].last_message
    assert last
    events = await messenger.follow(hub, after=snapshot.cursor).batch()
    followed = [event.message.seq for event in events if isinstance(event, MessageSent)]
    assert followed == [*range(followed[0], 5)]
    assert followed[0] <= last.seq + 1


async def test_trimming_keeps_new_events_up_to_the_limit(store: MemoryStore, hub: User) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    messenger = Messenger(store, clock=lambda: now)
    chats = []
    for n in range(25):
        peer = await store.add_user(UserName(f"peer {n}"), "", 0)
        chats.append(await messenger.open_chat(hub, peer))
        now += timedelta(days=1)
    start = (await messenger.sync(hub)).cursor.at(0)

    async def following(n: int) -> list[Event]:
        return [*await messenger.follow(hub, after=start.at(n)).batch(0)]

    await messenger.trim_logs()
    assert len(await following(0)) == 25
    now += timedelta(days=10, microseconds=1)
    await messenger.trim_logs()
    assert [type(event) for event in await following(5)] == [Reset]
    opened = await following(6)
    assert [it.chat for it in opened if isinstance(it, ChatOpened)] == chats[6:]
    await messenger.trim_logs(keep=3)
    assert [type(event) for event in await following(21)] == [Reset]
    assert len(await following(22)) == 3
    # Trimming covers every log.
    await messenger.send(hub, chats[-1], "hello")
    await messenger.trim_logs(age=timedelta(0))
    peer = chats[-1].peer_of(hub)
    behind = (await messenger.sync(peer)).cursor.at(0)
    assert [type(it) for it in await messenger.follow(peer, after=behind).batch()] == [Reset]
