"""Event logs and unread counts: the SQLite store does what the memory store does."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatcore import Chat, NewMessage, Refused, User, UserName
from chatcore.events import Cursor, Entry, MessageSent
from chatcore.model import ChatState
from chatcore.testing.scene import NOW_US, add_user, ann_and_bob, send
from chatcore_memory import MemoryStore
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.queries.events import TRIMMED_ENTRIES, TRIMMED_USERS
from tests.support.soak import SOAK

Store = MemoryStore | SqlAlchemyStore

LIMITS = (1, 2, 3, 7, 500)


class Both:
    """Makes the same calls to two stores, whose outcomes must be equal."""

    def __init__(self, seed: int, *stores: Store) -> None:
        self.random = Random(seed)
        self.stores = stores
        self.now = NOW_US
        self.users: list[User] = []
        self.chats: list[Chat] = []

    async def step(self) -> None:
        # Sometimes the clock steps back.
        self.now += self.random.choice((1, 1, 1, 10, 100, -50))
        steps = (self.join, self.open, self.send, self.send, self.read, self.read, self.trim)
        await self.random.choices(steps, (2, 2, 9, 9, 8, 8, 1))[0]()

    async def join(self) -> None:
        name = UserName(f"user {len(self.users)}")
        self.users.append(await self.call("add_user", name, "hash", self.now))

    async def open(self) -> None:
        chat = await self.call("open_chat", self.user_id(), self.user_id(), self.now)
        if isinstance(chat, Chat):
            self.chats.append(chat)

    async def send(self) -> None:
        new = [self.message() for _ in range(self.random.choice((1, 1, 2, 20)))]
        for store in self.stores:
            # All of them in one batch.
            outcomes = await asyncio.gather(
                *(store.append_message(one) for one in new), return_exceptions=True
            )
            assert all(isinstance(it, Refused | tuple) for it in outcomes)

    def message(self) -> NewMessage:
        key = self.random.choice((None, None, "a", "b"))
        text = self.random.choice(("hello", "good day"))
        return NewMessage(self.chat_id(), self.user_id(), text, self.now, key)

    async def read(self) -> None:
        seq = self.random.choice((0, 1, 2, 5, 10, 20, 50, 2**63 - 1))
        await self.call("move_read_marker", self.chat_id(), self.user_id(), seq, self.now)

    async def trim(self) -> None:
        keep = self.random.choice((0, 1, 5, 100, 10_000))
        since_us = self.random.choice((0, NOW_US, self.now, self.now - 300))
        for store in self.stores:
            await trim(store, keep, since_us)

    def user_id(self) -> int:
        return self.random.randrange(1, len(self.users) + 2)

    def chat_id(self) -> int:
        return self.random.randrange(1, len(self.chats) + 2)

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        first, second = [await outcome(store, method, arguments, options) for store in self.stores]
        assert first == second, (method, arguments, options)
        return first

    async def compare(self) -> None:
        """Compare everything that any user can read."""
        for user_id in range(1, len(self.users) + 2):
            limit = self.random.choice(LIMITS)
            listed = [await states(store, user_id, limit) for store in self.stores]
            assert listed[0] == listed[1]
            chat_id = self.chat_id()
            first, second = [
                without_activity(await store.chat_state(user_id, chat_id)) for store in self.stores
            ]
            assert first == second
            ends = [await store.end_of_log(user_id) for store in self.stores]
            assert ends[0].n == ends[1].n
            for n in {0, self.random.randrange(ends[0].n + 3), ends[0].n, ends[0].n + 1}:
                limit = self.random.choice(LIMITS)
                found = [
                    without_log(await store.events_after(end.at(n), limit=limit))
                    for store, end in zip(self.stores, ends, strict=True)
                ]
                assert found[0] == found[1], (ends, n, limit)


async def outcome(store: Store, method: str, arguments: Any, options: Any) -> Any:
    try:
        return await getattr(store, method)(*arguments, **options)
    except Refused as refusal:
        return type(refusal)


async def states(store: Store, user_id: int, limit: int) -> list[Any]:
    """Every chat of the user, read page by page."""
    found: list[ChatState] = []
    while page := await store.chat_states(
        user_id, before=found[-1].activity if found else None, limit=limit
    ):
        found += page
    listed = await store.chats_of(user_id, before=None, limit=500)
    assert [(it.chat, it.activity) for it in found] == [(it.chat, it.activity) for it in listed]
    return [without_activity(state) for state in found]


async def trim(store: Store, keep: int, since_us: int) -> int:
    """Trim in steps; return how many calls it took."""
    after_user: int | None = 0
    calls = 0
    while after_user is not None:
        calls += 1
        after_user = await store.trim_logs(keep=keep, since_us=since_us, after_user=after_user)
    return calls


def without_activity(state: ChatState | None) -> ChatState | None:
    """The chat without its activity, whose numbers differ between stores."""
    return state and state._replace(activity=0)


def without_log(entries: Sequence[Entry] | None) -> list[Entry] | None:
    """The entries without the name of their store and its marks."""
    if entries is None:
        return None
    return [entry._replace(cursor=entry.cursor._replace(log="", mark=None)) for entry in entries]


@pytest.mark.parametrize("seed", range(8 if SOAK else 3))
async def test_both_stores_behave_the_same_under_random_calls(
    store: SqlAlchemyStore, seed: int
) -> None:
    both = Both(seed, MemoryStore(), store)
    for _ in range(4):
        await both.join()
    for _ in range(40):
        for _ in range(5):
            await both.step()
        await both.compare()


async def log_of(store: SqlAlchemyStore, user: User) -> list[Entry]:
    end = await store.end_of_log(user.id)
    first = 0
    while (page := await store.events_after(end.at(first), limit=500)) is None:
        first += 1
    found = [*page]
    while page := await store.events_after(found[-1].cursor, limit=500):
        found += page
    return found


async def test_log_name_is_permanent_and_unique_to_its_database(tmp_path: Path) -> None:
    names = []
    for file in ("one", "one", "two"):
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/{file}.db") as store:
            names.append((await store.end_of_log(1)).log)
    assert names[0] == names[1] != names[2]
    assert Cursor.parse(str(Cursor(names[0], 1, 0))) == Cursor(names[0], 1, 0)


async def test_impossible_cursor_is_refused(store: SqlAlchemyStore) -> None:
    _, ann, _ = await ann_and_bob(store)
    end = await store.end_of_log(ann.id)
    for n in (2**63 - 1, 2**63, 10**19 - 1):
        assert await store.events_after(end.at(n), limit=500) is None


async def test_numbering_continues_after_trimming_and_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chatcore.db"
    async with await SqlAlchemyStore.open(url) as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "one")
        await trim(store, 1, 0)
    async with await SqlAlchemyStore.open(url) as store:
        await send(store, chat, ann, "two")
        assert [entry.cursor.n for entry in await log_of(store, ann)] == [2, 3]


async def test_trimming_step_is_bounded(store: SqlAlchemyStore) -> None:
    chat, ann, bob = await ann_and_bob(store)
    for _ in range(20):
        await asyncio.gather(*(send(store, chat, ann, "hello") for _ in range(120)))
    others = [await add_user(store, f"user {n}") for n in range(2 * TRIMMED_USERS)]
    late = await store.open_chat(others[-2].id, others[-1].id, 0)
    await send(store, late, others[-1], "hello")
    kept = len(await log_of(store, ann))
    after_user = await store.trim_logs(keep=10_000, since_us=NOW_US + 1, after_user=0)
    assert after_user is not None
    assert kept - len(await log_of(store, ann)) == TRIMMED_ENTRIES
    assert len(await log_of(store, bob)) == kept
    # Two logs of 2,400 each, then slices of users to the last.
    assert await trim(store, 10_000, NOW_US + 1) <= 8
    for user in (ann, bob, *others[-2:]):
        [entry] = await log_of(store, user)
        assert isinstance(entry, MessageSent)
