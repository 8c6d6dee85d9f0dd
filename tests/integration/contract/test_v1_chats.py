"""Chats and snapshots under /v1, also while chats change."""

import asyncio
import random

import httpx
import pytest

from chatcore import Chat, ChatState, Cursor, Messenger, User
from chatcore_memory import MemoryStore
from tests.integration.contract.test_races import at_once
from tests.support.api import Api, Someone, api_of
from tests.support.apps import app_on
from tests.support.soak import SOAK

CALLERS = 32


async def crowd(api: Api, count: int) -> tuple[Someone, dict[int, Someone]]:
    """A user, and the peers of all their chats by chat id."""
    ann, *peers = [await api.join(f"user{n}") for n in range(count + 1)]
    answers = [await api.ensure_chat(ann, peer.name) for peer in peers]
    assert {answer.status_code for answer in answers} == {201}
    return ann, {
        answer.json()["chat_id"]: peer for answer, peer in zip(answers, peers, strict=True)
    }


async def page(api: Api, by: Someone, query: str) -> tuple[list[int], str | None]:
    answer = await api.call("GET", f"/v1/chats?{query}", by)
    assert answer.status_code == 200
    return [chat["chat_id"] for chat in answer.json()["chats"]], answer.json()["next"]


async def send(api: Api, by: Someone, chat_id: int, text: str) -> httpx.Response:
    return await api.call("POST", f"/v1/chats/{chat_id}/messages", by, json={"text": text})


@pytest.mark.parametrize("seed", range(20 if SOAK else 2))
async def test_paging_neither_misses_nor_repeats_chats_while_others_move(
    in_process: Api, seed: int
) -> None:
    some = random.Random(seed)
    ann, peers = await crowd(in_process, 12)
    moving = set(some.sample(sorted(peers), 4))
    seen: list[int] = []
    query = ""
    while True:
        ids, place = await page(in_process, ann, f"limit={some.randint(1, 4)}{query}")
        seen += ids
        if place is None:
            break
        query = f"&before={place}"
        for chat_id in some.sample(sorted(moving), 2):
            assert (await send(in_process, peers[chat_id], chat_id, "hello")).status_code == 201
    assert [chat_id for chat_id in seen if chat_id not in moving] == sorted(
        peers.keys() - moving, reverse=True
    )
    assert len(set(seen)) == len(seen)


async def test_default_page_has_50_chats(in_process: Api) -> None:
    ann, peers = await crowd(in_process, 53)
    newest = sorted(peers, reverse=True)
    ids, place = await page(in_process, ann, "")
    assert ids == newest[:50]
    assert await page(in_process, ann, f"before={place}") == (newest[50:], None)
    # The page that ends with the last chat has no next page.
    assert await page(in_process, ann, "limit=53") == (newest, None)
    assert await page(in_process, ann, "limit=200") == (newest, None)
    assert (await page(in_process, ann, "limit=52"))[1] is not None


async def test_snapshot_has_the_newest_100_chats(in_process: Api) -> None:
    ann, peers = await crowd(in_process, 101)
    oldest, *others = peers
    assert (await send(in_process, ann, oldest, "first")).status_code == 201
    snapshot = (await in_process.call("GET", "/v1/sync", ann)).json()
    newest = [oldest, *sorted(others, reverse=True)]
    assert [chat["chat_id"] for chat in snapshot["chats"]] == newest[:100]
    assert snapshot["chats"][0]["last_message"]["text"] == "first"
    assert snapshot["me"] == ann.name


class Busy(MemoryStore):
    """A message arrives after each read that a snapshot makes."""

    def __init__(self) -> None:
        super().__init__()
        self.messenger: Messenger | None = None
        self.sender: tuple[User, Chat] | None = None

    async def _arrive(self) -> None:
        if self.messenger and self.sender:
            await self.messenger.send(*self.sender, "in between")

    async def end_of_log(self, user_id: int) -> Cursor:
        end = await super().end_of_log(user_id)
        await self._arrive()
        return end

    async def chat_states(self, user_id: int, *, before: int | None, limit: int) -> list[ChatState]:
        states = await super().chat_states(user_id, before=before, limit=limit)
        await self._arrive()
        return list(states)


async def test_message_sent_during_a_snapshot_is_in_it_or_follows_it() -> None:
    store = Busy()
    async with app_on(store) as app, api_of(app) as api:
        ann, bob, chat = await api.chat_by_id()
        messenger = Messenger(store)
        sender = await messenger.find_user(bob.name)
        store.sender = sender, await messenger.chat_with(sender, ann.name)
        store.messenger = messenger
        snapshot = (await api.call("GET", "/v1/sync", ann)).json()
        store.messenger = None
        last = (await api.call("GET", f"{chat}/messages?limit=1", ann)).json()["messages"][0]
        events = await api.call("GET", f"/v1/events?after={snapshot['cursor']}", ann)
        followed = {event["message"]["seq"] for event in events.json()["events"]}
    shown = snapshot["chats"][0]["last_message"]["seq"]
    assert last["seq"] == 2
    assert set(range(1, shown + 1)) | followed == {1, 2}


async def test_of_simultaneous_calls_for_one_chat_exactly_one_opens_it(api: Api) -> None:
    ann, bob = await api.join("ann"), await api.join("bob")
    sides = [(ann, bob), (bob, ann)]
    answers = await at_once(
        api.ensure_chat(by, peer.name) for by, peer in (sides[n % 2] for n in range(CALLERS))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * (len(answers) - 1) + [201]
    assert len({answer.json()["chat_id"] for answer in answers}) == 1
    [chat] = (await api.call("GET", "/v1/chats", bob)).json()["chats"]
    assert (chat["chat_id"], chat["user"]) == (answers[0].json()["chat_id"], ann.name)


async def test_concurrent_read_markers_only_move_forward(in_process: Api) -> None:
    ann, bob, chat = await in_process.chat_by_id()
    for n in range(5):
        await in_process.call("POST", f"{chat}/messages", bob, json={"text": f"{n}"})
    wanted = [3, 1, 4, 1, 5, 2, 0]
    answers = await asyncio.gather(
        *(in_process.call("PUT", f"{chat}/read", ann, json={"seq": seq}) for seq in wanted)
    )
    for seq, answer in zip(wanted, answers, strict=True):
        assert answer.status_code == 200
        assert seq <= answer.json()["read_seq"] <= 5
    state = (await in_process.call("GET", chat, ann)).json()
    assert (state["read_seq"], state["unread"], state["peer_read_seq"]) == (5, 0, 0)
    peer = (await in_process.call("GET", chat, bob)).json()
    assert (peer["read_seq"], peer["unread"], peer["peer_read_seq"]) == (0, 0, 5)
