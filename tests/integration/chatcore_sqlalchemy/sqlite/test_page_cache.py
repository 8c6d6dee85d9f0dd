"""The page cache is never older than the data."""

import asyncio
import random
from pathlib import Path
from sys import getsizeof

import pytest

from chatcore import Chat, User, UserName
from chatcore.errors import StoreUnavailable
from chatcore.testing.scene import add_user, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.page_cache import PageCache
from tests.support.soak import SOAK

LIMITS = (1, 2, 7, 50, 500)


@pytest.fixture
async def ann(store: SqlAlchemyStore) -> User:
    return await add_user(store, "ann")


@pytest.fixture
async def chats(store: SqlAlchemyStore, ann: User) -> list[Chat]:
    peers = [await add_user(store, f"peer {n}") for n in range(6)]
    return [await store.open_chat(ann.id, peer.id, 0) for peer in peers]


async def newest_texts(store: SqlAlchemyStore, chat: Chat, limit: int) -> list[str]:
    return [message.text for message in await store.messages_before(chat.id, None, limit=limit)]


@pytest.mark.parametrize("seed", range(5 if SOAK else 2))
async def test_newest_page_includes_every_send(
    store: SqlAlchemyStore, ann: User, chats: list[Chat], seed: int
) -> None:
    chance = random.Random(seed)
    sent: dict[int, list[str]] = {chat.id: [] for chat in chats}
    for step in range(150):
        chat = chance.choice(chats)
        for n in range(chance.choice((0, 1, 1, 3, 60))):
            text = f"{step}.{n}"
            await send(store, chat, ann, text)
            sent[chat.id].append(text)
        limit = chance.choice(LIMITS)
        assert await newest_texts(store, chat, limit) == sent[chat.id][-limit:]


@pytest.mark.parametrize("seed", range(5 if SOAK else 2))
async def test_list_reflects_every_send_and_opening(
    store: SqlAlchemyStore, ann: User, chats: list[Chat], seed: int
) -> None:
    chance = random.Random(seed)
    order = [chat.id for chat in reversed(chats)]
    for step in range(60):
        if chance.random() < 0.2:
            peer = await add_user(store, f"late {step}")
            order.insert(0, (await store.open_chat(peer.id, ann.id, 0)).id)
        elif chance.random() < 0.7:
            chat = chance.choice(chats)
            await send(store, chat, ann, "hello")
            order.remove(chat.id)
            order.insert(0, chat.id)
        limit = chance.choice(LIMITS)
        listed = await store.chats_of(ann.id, before=None, limit=limit)
        assert [summary.chat.id for summary in listed] == order[:limit]


async def test_concurrent_reads_never_go_back(
    store: SqlAlchemyStore, ann: User, chats: list[Chat]
) -> None:
    chat = chats[0]
    seen = 0

    async def write() -> None:
        for n in range(50):
            await send(store, chat, ann, f"{n}")

    writing = [asyncio.create_task(write()) for _ in range(4)]
    while not all(task.done() for task in writing):
        await asyncio.sleep(0)
        for found in (
            (await store.messages_before(chat.id, None, limit=5))[-1:],
            (await store.messages_after(chat.id, seen, limit=500))[-1:],
            (await store.messages_before(chat.id, None, limit=5))[-1:],
        ):
            for message in found:
                assert message.seq >= seen
                seen = message.seq
    assert (await store.messages_before(chat.id, None, limit=1))[0].seq == 200


async def test_erased_name_leaves_the_cache(
    store: SqlAlchemyStore, ann: User, chats: list[Chat]
) -> None:
    peer = chats[3].peer_of(ann)

    async def names(limit: int) -> set[str]:
        listed = await store.chats_of(ann.id, before=None, limit=limit)
        return {summary.chat.peer_of(ann).name for summary in listed}

    for limit in LIMITS:
        await names(limit)
    erasing = asyncio.create_task(
        store.erase_user(peer.id, UserName("Deleted user 1"), erased_us=0)
    )
    while not erasing.done():
        for limit in LIMITS:
            await names(limit)
        await asyncio.sleep(0)
    for _ in range(2):
        for limit in LIMITS[2:]:
            assert peer.name not in await names(limit)
            assert "Deleted user 1" in await names(limit)


async def test_cached_list_expires_after_a_minute(
    store: SqlAlchemyStore, ann: User, chats: list[Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name may have been erased by another process, which does not notify this one."""
    now = 1000.0
    monkeypatch.setattr("chatcore_sqlalchemy.page_cache.elapsed", lambda: now)
    recent: PageCache[int, str] = PageCache()
    recent.put(1, "a list", 9, None)
    for seconds, old in ((59, False), (1, True)):
        now += seconds
        kept = recent.get(1)
        assert kept
        assert kept.is_old() is old
    before = await store.chats_of(ann.id, before=None, limit=50)
    assert await store.chats_of(ann.id, before=None, limit=50) is before
    now += 60
    after = await store.chats_of(ann.id, before=None, limit=50)
    assert after == before
    assert after is not before


async def test_closed_store_has_an_empty_cache(tmp_path: Path) -> None:
    store = await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db")
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    chat = await store.open_chat(ann.id, bob.id, 0)
    await send(store, chat, ann, "hello")
    for _ in range(2):
        await store.messages_before(chat.id, None, limit=50)
        await store.chats_of(ann.id, before=None, limit=50)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.messages_before(chat.id, None, limit=50)
    with pytest.raises(StoreUnavailable):
        await store.chats_of(ann.id, before=None, limit=50)


def test_page_cache_is_bounded_in_bytes() -> None:
    recent: PageCache[int, str] = PageCache(max_bytes=10_000)
    for key in range(1000):
        recent.put(key % 70, "x" * 1000, getsizeof("x" * 1000), None)
    kept = [key for key in range(70) if recent.get(key)]
    assert 8 <= len(kept) <= 9
    assert recent.get(999 % 70)
