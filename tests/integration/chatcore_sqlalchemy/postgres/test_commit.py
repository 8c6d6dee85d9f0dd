"""A connection that breaks during COMMIT: the write is stored or not, and a retry never repeats
it."""

from collections.abc import AsyncIterator, Callable

import pytest

from chatcore import ChatExists, NameTaken, NewMessage, StoreUnavailable, UserName
from chatcore.testing.scene import add_user, ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.postgres_proxy import COMMIT, Fate, Proxy, proxy_to

when_cut = pytest.mark.parametrize("fate", [Fate.IS_LOST, Fate.IS_NOT_ANSWERED])
unknown = pytest.raises(StoreUnavailable, match="may or may not")


@pytest.fixture
async def proxied(postgres_url: str) -> AsyncIterator[tuple[Proxy, SqlAlchemyStore]]:
    async with proxy_to(postgres_url) as (proxy, url), await SqlAlchemyStore.open(url) as store:
        yield proxy, store


def once(fate: Fate) -> Callable[[bytes], Fate]:
    """A judge that gives the next COMMIT this fate."""
    left = [fate]
    return lambda message: left.pop() if message == COMMIT and left else Fate.PASSES


@when_cut
async def test_message_retried_with_its_key_is_stored_once(
    fate: Fate, proxied: tuple[Proxy, SqlAlchemyStore]
) -> None:
    proxy, store = proxied
    chat, ann, _ = await ann_and_bob(store)
    proxy.judge = once(fate)
    new = NewMessage(chat.id, ann.id, "once", 1, "key")
    with unknown:
        await store.append_message(new)
    sent = await store.append_message(new)
    assert sent.replayed == (fate is Fate.IS_NOT_ANSWERED)
    assert await read_all(store, chat) == [sent.message]
    assert proxy.cuts == 1


@when_cut
async def test_name_is_taken_or_free_after_a_broken_commit(
    fate: Fate, proxied: tuple[Proxy, SqlAlchemyStore]
) -> None:
    proxy, store = proxied
    proxy.judge = once(fate)
    with unknown:
        await add_user(store, "ann")
    if fate is Fate.IS_LOST:
        assert await store.user_by_name("ann") is None
        await add_user(store, "ann")
    else:
        with pytest.raises(NameTaken):
            await store.add_user(UserName("Ann"), "another hash", 0)


@when_cut
async def test_chat_is_open_or_not_after_a_broken_commit(
    fate: Fate, proxied: tuple[Proxy, SqlAlchemyStore]
) -> None:
    proxy, store = proxied
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    proxy.judge = once(fate)
    with unknown:
        await store.open_chat(ann.id, bob.id, 0)
    if fate is Fate.IS_LOST:
        await store.open_chat(bob.id, ann.id, 0)
    else:
        with pytest.raises(ChatExists):
            await store.open_chat(bob.id, ann.id, 0)
    assert (await store.end_of_log(bob.id)).n == 1


@when_cut
async def test_read_marker_has_moved_or_not_after_a_broken_commit(
    fate: Fate, proxied: tuple[Proxy, SqlAlchemyStore]
) -> None:
    proxy, store = proxied
    chat, ann, bob = await ann_and_bob(store)
    await send(store, chat, ann, "hello")
    before = (await store.end_of_log(bob.id)).n
    proxy.judge = once(fate)
    with unknown:
        await store.move_read_marker(chat.id, bob.id, 1, 0)
    assert await store.move_read_marker(chat.id, bob.id, 1, 0) == 1
    assert (await store.end_of_log(bob.id)).n == before + 1
