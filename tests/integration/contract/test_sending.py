"""Which texts route 5 stores, and which requests it treats as a replay."""

import asyncio
import json

import pytest

from tests.support.api import Api, Someone
from tests.support.raw import Answer, connected, request

REFUSED = (400, {"error": "Invalid message or chat not found"})

TEXTS = [
    "x",
    "\u200b",
    "\ufeff",
    "\ufffd",
    " \t x \r\n",
    "e\u0301 é",
    "👩‍👩‍👧‍👦 \U0010ffff",
    "<script>alert(1)</script>",
    "\x01\x1b[31m\x7f\x85",
    "'; DROP TABLE messages; --",
    "%s {0} {{x}} \\u0041",
    "\u202eright to left",
    "x" * 4096,
]


async def test_texts_are_stored_exactly_as_sent(api: Api) -> None:
    ann, bob = await api.chat()
    for text in TEXTS:
        answer = await api.send(ann, bob.name, text)
        assert (answer.status_code, answer.json()["message"]) == (201, text)
    assert [item["message"] for item in (await api.read(bob, ann.name)).json()] == TEXTS


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\u2003\u3000\x1f", "x" * 4097])
async def test_invalid_texts_are_refused(api: Api, text: str) -> None:
    ann, bob = await api.chat()
    answer = await api.send(ann, bob.name, text)
    assert (answer.status_code, answer.json()) == REFUSED
    assert (await api.read(ann, bob.name)).json() == []


async def test_concurrent_messages_are_stored_once_each_in_one_order(api: Api) -> None:
    ann, bob = await api.chat()
    sides = [(ann, bob), (bob, ann)]
    texts = [f"{n}" for n in range(64)]
    answers = await asyncio.gather(
        *(api.send(sides[n % 2][0], sides[n % 2][1].name, text) for n, text in enumerate(texts))
    )
    assert {answer.status_code for answer in answers} == {201}
    history = (await api.read(ann, bob.name)).json()
    assert sorted(item["message"] for item in history) == sorted(texts)
    assert (await api.read(bob, ann.name)).json() == history


VISIBLE = bytes(range(0x21, 0x7F))
KEYS = {
    "every visible character": VISIBLE,
    "128 characters": b"k" * 128,
    "one character": b"1",
    "a quote": b'"',
    "a quote in front": b'"2',
    "a comma": b"3,4",
}
BAD_KEYS = {
    "empty": b"",
    "empty, quoted": b'""',
    "129 characters": b"k" * 129,
    "a space": b"5 6",
    "a tab": b"5\t6",
    "a quoted space": b'" "',
    "a byte above ASCII": b"caf\xe9",
    "UTF-8": "é".encode(),
}


async def test_key_is_the_same_bare_quoted_and_padded(api: Api, url: str) -> None:
    ann, bob = await api.chat()
    for kind, key in KEYS.items():
        first = await send_with(url, ann, bob.name, b"Idempotency-Key: " + key)
        assert (first.status, first.headers.get("idempotency-replayed")) == (201, None), kind
        for header in (b"idempotency-key:" + key, b'Idempotency-Key: \t "' + key + b'" \t'):
            again = await send_with(url, ann, bob.name, header)
            assert (again.status, again.headers["idempotency-replayed"]) == (201, "true"), kind
            assert again.body == first.body
    assert len((await api.read(ann, bob.name)).json()) == len(KEYS)


async def test_malformed_keys_store_nothing(api: Api, url: str) -> None:
    ann, bob = await api.chat()
    for kind, key in BAD_KEYS.items():
        answer = await send_with(url, ann, bob.name, b"Idempotency-Key: " + key)
        assert (answer.status, json.loads(answer.body)) == REFUSED, kind
    header = b"Idempotency-Key: 1\r\nIdempotency-Key: 1"
    assert (await send_with(url, ann, bob.name, header)).status == 400
    assert (await api.read(ann, bob.name)).json() == []


async def send_with(url: str, by: Someone, name: str, header: bytes) -> Answer:
    """Over a plain socket: HTTP clients refuse to send such headers."""
    sent = request(
        f"POST /chats/{name}/messages",
        f"Authorization: Bearer {by.token}",
        header.decode("latin-1"),
        body=b'{"message": "once"}',
    )
    async with connected(url) as raw:
        await raw.send(sent)
        return await raw.answer()
