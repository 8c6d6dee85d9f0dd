"""Messages under /v1: pages in every direction, and sends that can be repeated."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from chatcore_memory import MemoryStore
from tests.integration.contract.test_races import at_once
from tests.integration.contract.test_sending import BAD_KEYS, KEYS, TEXTS
from tests.support.api import Api, Someone, api_of
from tests.support.apps import app_on
from tests.support.raw import connected, request

COUNT = 203
CALLERS = 32


async def send(
    api: Api, by: Someone, chat: str, text: str, key: str | None = None, **options: Any
) -> httpx.Response:
    body = {"text": text} | ({"idempotency_key": key} if key is not None else {})
    return await api.call("POST", f"{chat}/messages", by, json=body, **options)


async def page(api: Api, by: Someone, chat: str, query: str = "") -> tuple[list[int], bool, bool]:
    answer = await api.call("GET", f"{chat}/messages?{query}", by)
    assert answer.status_code == 200, query
    found = answer.json()
    return [item["seq"] for item in found["messages"]], found["older"], found["newer"]


def numbers(first: int, last: int) -> list[int]:
    return [*range(first, last + 1)]


async def test_page_starts_and_ends_where_its_parameters_say(in_process: Api) -> None:
    api = in_process
    ann, bob, chat = await api.chat_by_id()
    for n in range(COUNT):
        assert (await send(api, bob if n % 3 else ann, chat, f"{n + 1}")).status_code == 201
    for query, first, last in [
        ("", COUNT - 49, COUNT),
        ("limit=200", COUNT - 199, COUNT),
        ("limit=3", COUNT - 2, COUNT),
        ("before=101", 51, 100),
        ("limit=200&before=201", 1, 200),
        ("limit=200&after=0", 1, 200),
        ("after=100", 101, 150),
        ("after=200", 201, COUNT),
        ("around=100", 75, 124),
        ("around=1", 1, 50),
        (f"limit=4&around={COUNT}", COUNT - 2, COUNT),
        (f"limit=4&around={COUNT + 1}", COUNT - 1, COUNT),
        ("limit=5&around=100", 98, 102),
    ]:
        expected = numbers(first, last), first > 1, last < COUNT
        assert await page(api, ann, chat, query) == expected, query
        assert await page(api, bob, chat, query) == expected, query


@pytest.mark.parametrize("limit", [1, 7, 23, 24])
async def test_pages_lead_through_the_whole_chat_both_ways(in_process: Api, limit: int) -> None:
    api = in_process
    ann, _, chat = await api.chat_by_id()
    for n in range(23):
        await send(api, ann, chat, f"{n + 1}")
    back, older, query = list[int](), True, f"limit={limit}"
    while older:
        seqs, older, _ = await page(api, ann, chat, query)
        back, query = seqs + back, f"limit={limit}&before={seqs[0]}"
    forth, newer, query = list[int](), True, f"limit={limit}&after=0"
    while newer:
        seqs, _, newer = await page(api, ann, chat, query)
        forth, query = forth + seqs, f"limit={limit}&after={seqs[-1]}"
    assert back == forth == numbers(1, 23)


async def test_texts_are_stored_exactly_as_sent(in_process: Api) -> None:
    api = in_process
    ann, bob, chat = await api.chat_by_id()
    items = []
    for n, text in enumerate(TEXTS):
        answer = await send(api, ann, chat, text)
        item = answer.json()
        assert (answer.status_code, item["seq"], item["text"]) == (201, n + 1, text)
        assert item["sender"] == ann.name
        items.append(item)
    found = (await api.call("GET", f"{chat}/messages", bob)).json()
    assert found["messages"] == items
    for item in items:
        assert (await api.call("GET", f"{chat}/messages/{item['seq']}", bob)).json() == item
    assert (await api.call("GET", chat, bob)).json()["last_message"] == items[-1]


@pytest.mark.parametrize("microsecond", [0, 1, 120000, 999999])
async def test_times_have_six_decimals_always(microsecond: int) -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, microsecond, UTC)
    async with app_on(MemoryStore(), clock=lambda: moment) as app, api_of(app) as api:
        ann, _, chat = await api.chat_by_id()
        answer = await send(api, ann, chat, "now")
    assert answer.json()["sent_at"] == f"2030-01-02T03:04:05.{microsecond:06}Z"
    assert datetime.fromisoformat(answer.json()["sent_at"]) - moment == timedelta(0)


async def test_of_simultaneous_sends_with_one_key_exactly_one_stores(api: Api) -> None:
    ann, bob, chat = await api.chat_by_id()
    answers = await at_once(
        send(api, ann, chat, "once", "k") if n % 2 else send_by_header(api, ann, chat, "once", "k")
        for n in range(CALLERS)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    replays = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert sorted(replays, key=str) == [None] + ["true"] * (len(answers) - 1)
    assert await page(api, bob, chat) == ([1], False, False)


async def send_by_header(api: Api, by: Someone, chat: str, text: str, key: str) -> httpx.Response:
    return await send(api, by, chat, text, headers={"Idempotency-Key": key})


async def test_key_is_scoped_to_sender_and_chat(in_process: Api) -> None:
    api = in_process
    ann, bob, chat = await api.chat_by_id()
    eve = await api.join("eve")
    other = f"/v1/chats/{(await api.ensure_chat(ann, eve.name)).json()['chat_id']}"
    for by, where in ((ann, chat), (bob, chat), (ann, other), (eve, other)):
        answer = await send(api, by, where, f"from {by.name}", "k")
        assert answer.status_code == 201
        assert "idempotency-replayed" not in answer.headers
    # Also after many later messages.
    for n in range(20):
        await send(api, bob, chat, f"{n}")
    again = await send(api, ann, chat, f"from {ann.name}", "k")
    assert (again.status_code, again.json()["seq"]) == (201, 1)
    assert again.headers["idempotency-replayed"] == "true"


async def test_valid_keys_are_accepted_and_invalid_keys_refused(api: Api, url: str) -> None:
    ann, _, chat = await api.chat_by_id()
    for n, (kind, key) in enumerate(KEYS.items(), 1):
        # The quotes around a key belong to the header syntax; in a body they are part of the key.
        first = await send(api, ann, chat, "once", key.decode())
        assert (first.status_code, first.json()["seq"]) == (201, n), kind
        status, replayed = await raw_send(url, ann, chat, b'"' + key + b'"')
        assert (status, replayed) == (201, "true"), kind
    for kind, key in BAD_KEYS.items():
        assert await raw_send(url, ann, chat, key) == (422, None), kind
    assert len((await page(api, ann, chat))[0]) == len(KEYS)


async def raw_send(url: str, by: Someone, chat: str, key: bytes) -> tuple[int, str | None]:
    """Over a plain socket: HTTP clients refuse to send such headers."""
    header = (b"Idempotency-Key: " + key).decode("latin-1")
    token = f"Authorization: Bearer {by.token}"
    async with connected(url) as raw:
        await raw.send(request(f"POST {chat}/messages", token, header, body=b'{"text": "once"}'))
        answer = await raw.answer()
    return answer.status, answer.headers.get("idempotency-replayed")


async def test_keys_of_body_and_header_must_be_equal(in_process: Api) -> None:
    api = in_process
    ann, _, chat = await api.chat_by_id()
    for key, header, status in [
        ("a", "a", 201),
        ("a", '"a"', 201),
        ("a", "b", 422),
        ("", "b", 422),
        ("a", "", 422),
        ('"a"', '"a"', 422),
    ]:
        answer = await send(api, ann, chat, "x", key, headers={"Idempotency-Key": header})
        assert answer.status_code == status, (key, header)
        if status == 422:
            assert answer.json()["code"] == "invalid_key"
    assert await page(api, ann, chat) == ([1], False, False)


async def test_concurrent_messages_have_one_order(in_process: Api) -> None:
    api = in_process
    ann, bob, chat = await api.chat_by_id()
    answers = await asyncio.gather(
        *(send(api, bob if n % 2 else ann, chat, f"{n}") for n in range(40))
    )
    by_seq = {answer.json()["seq"]: answer.json() for answer in answers}
    assert sorted(by_seq) == numbers(1, 40)
    found = (await api.call("GET", f"{chat}/messages", ann)).json()["messages"]
    assert found == [by_seq[seq] for seq in numbers(1, 40)]
