"""A connection that breaks during COMMIT: the write is stored or not, and a retry never repeats
it."""

from collections.abc import AsyncIterator, Callable

import pytest

from chatcore import ChatExists, NameTaken, NewMessage, StoreUnavailable, UserName
from chatcore.testing.scene import add_user, ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.places import POOLED, POSTGRES, Place, place_of
from tests.support.postgres_proxy import COMMIT, POOLED_COMMIT, Fate, Proxy, proxy_to

when_cut = pytest.mark.parametrize("fate", [Fate.IS_LOST, Fate.IS_NOT_ANSWERED])
Once = Callable[[Fate], Callable[[bytes], Fate]]
"""Makes a judge that gives the next COMMIT of a write this fate."""

unknown = pytest.raises(StoreUnavailable, match="may or may not")


@pytest.fixture(params=[POSTGRES, POOLED])
def place(request: pytest.FixtureRequest) -> Place:
    """Faults are where a pooler makes a difference, so the short run has both."""
    return place_of(request)


@pytest.fixture
async def proxied(place: Place) -> AsyncIterator[tuple[Proxy, SqlAlchemyStore]]:
    async with (
        proxy_to(place.url) as (proxy, url),
        await place._replace(url=url).open() as store,
    ):
        yield proxy, store


@pytest.fixture
def once(place: Place) -> Once:
    commit = COMMIT if place.pooler is None else POOLED_COMMIT

    def once(fate: Fate) -> Callable[[bytes], Fate]:
        left = [fate]
        return lambda message: left.pop() if message.endswith(commit) and left else Fate.PASSES

    return once


@when_cut
async def test_message_retried_with_its_key_is_stored_once(
    fate: Fate, once: Once, proxied: tuple[Proxy, SqlAlchemyStore]
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
    fate: Fate, once: Once, proxied: tuple[Proxy, SqlAlchemyStore]
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
    fate: Fate, once: Once, proxied: tuple[Proxy, SqlAlchemyStore]
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
    fate: Fate, once: Once, proxied: tuple[Proxy, SqlAlchemyStore]
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
