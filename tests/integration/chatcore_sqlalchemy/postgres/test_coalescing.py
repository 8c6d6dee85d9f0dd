"""One query for many callers; no caller gets an answer older than its call."""

import asyncio
from collections.abc import Sequence

import pytest

from chatcore import NewMessage, StoreUnavailable, UserName
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres.coalescing import CoalescedLookup


class Server:
    """Answers on command, with the numbers of the moment of the query."""

    def __init__(self) -> None:
        self.numbers = {1: 10, 2: 20}
        self.asked: list[list[int]] = []
        self.failing = False
        self.turn = asyncio.Semaphore(0)

    async def ask(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        self.asked.append(list(ids))
        # The numbers at the time of the query.
        found = [(each, self.numbers[each]) for each in ids if each in self.numbers]
        await self.turn.acquire()
        if self.failing:
            raise StoreUnavailable("gone")
        return found


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_caller_during_a_query_gets_the_answer_of_the_next_one() -> None:
    server = Server()
    lookup = CoalescedLookup(server.ask)
    first = [asyncio.create_task(lookup.rows(each)) for each in (1, 2, 1, 3)]
    await settled()
    server.numbers[1] = 11
    second = [asyncio.create_task(lookup.rows(each)) for each in (1, 1)]
    await settled()
    server.turn.release()
    assert await asyncio.gather(*first) == [[(10,)], [(20,)], [(10,)], []]
    server.turn.release()
    assert await asyncio.gather(*second) == [[(11,)], [(11,)]]
    assert server.asked == [[1, 2, 3], [1]]
    server.turn.release()
    assert await lookup.rows(2) == [(20,)]


async def test_cancelled_caller_or_failed_query_affects_no_other() -> None:
    server = Server()
    lookup = CoalescedLookup(server.ask)
    leaving, staying = [asyncio.create_task(lookup.rows(1)) for _ in range(2)]
    await settled()
    leaving.cancel()
    server.failing = True
    server.turn.release()
    with pytest.raises(StoreUnavailable):
        await staying
    assert leaving.cancelled()
    server.failing = False
    server.turn.release()
    assert await lookup.rows(1) == [(10,)]


async def test_each_caller_gets_the_number_of_its_own_chat(postgres_url: str) -> None:
    async with await SqlAlchemyStore.open(postgres_url) as store:
        names = ("ann", *(f"peer {n}" for n in range(8)))
        ann, *peers = [await store.add_user(UserName(name), "hash", 0) for name in names]
        chats = [await store.open_chat(ann.id, peer.id, 0) for peer in peers]
        for turn in range(1, 4):
            for chat in chats[: 2 * turn]:
                await store.append_message(NewMessage(chat.id, ann.id, "hello", 0))
            sent = [await store.last_seq(chat.id) for chat in chats]
            assert await asyncio.gather(*(store.last_seq(chat.id) for chat in chats)) == sent
            assert await store.last_seq(10**9) == 0
            pages = await asyncio.gather(
                *(store.messages_before(chat.id, None, limit=50) for chat in chats)
            )
            assert [len(page) for page in pages] == sent
            lists = await asyncio.gather(
                *(store.chats_of(user.id, before=None, limit=20) for user in (ann, *peers, ann))
            )
            assert lists[0] == lists[-1]
            assert [summary.last_seq for summary in lists[0]] == [
                (await store.last_seq(summary.chat.id)) for summary in lists[0]
            ]
            assert [found[0].chat.id for found in lists[1:-1]] == [chat.id for chat in chats]
