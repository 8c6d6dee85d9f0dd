"""Of simultaneous requests for one thing, exactly one gets it."""

import asyncio
from collections.abc import Awaitable, Iterable

import httpx

from tests.support.api import Api, fresh

CALLERS = 32


async def at_once(calls: Iterable[Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """The answers; a 503, which changed nothing, is retried."""
    answers = await asyncio.gather(*calls)
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
    return [answer for answer in answers if answer.status_code != 503]


async def test_of_simultaneous_registrations_of_one_name_exactly_one_succeeds(api: Api) -> None:
    name = fresh("ann")
    spellings = [name, name.upper(), name.title(), name.replace("a", "\uff41", 1)]
    answers = await at_once(api.register(spellings[n % 4]) for n in range(CALLERS))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * (len(answers) - 1)
    assert (await api.log_in(name)).status_code == 200


async def test_of_simultaneous_openings_of_one_chat_exactly_one_succeeds(api: Api) -> None:
    ann, bob = await api.join("ann"), await api.join("bob")
    sides = [(ann, bob), (bob, ann)]
    answers = await at_once(
        api.open_chat(by, peer.name) for by, peer in (sides[n % 2] for n in range(CALLERS))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * (len(answers) - 1)
    [ann_has] = (await api.call("GET", "/chats", ann)).json()
    [bob_has] = (await api.call("GET", "/chats", bob)).json()
    assert ann_has == {"chat_id": bob_has["chat_id"], "user": bob.name}


async def test_of_simultaneous_sends_with_one_key_exactly_one_stores(api: Api) -> None:
    ann, bob = await api.chat()
    key = {"Idempotency-Key": "one and only".replace(" ", "-")}
    answers = await at_once(api.send(ann, bob.name, "once", headers=key) for _ in range(CALLERS))
    assert {answer.status_code for answer in answers} == {201}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len((await api.read(bob, ann.name)).json()) == 1
