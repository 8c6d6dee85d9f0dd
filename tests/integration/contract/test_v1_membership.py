"""A user outside a chat gets, byte for byte, the answer for a chat that does not exist."""

from typing import Any

import httpx

from tests.support.api import Api, Someone

ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PUT", "/read", {"seq": 1}),
    ("PUT", "/read", {"seq": -1}),
    ("PUT", "/read", {"seq": "1"}),
    ("GET", "/messages", None),
    ("GET", "/messages?before=1&after=1", None),
    ("GET", "/messages?limit=0", None),
    ("GET", "/messages/1", None),
    ("GET", "/messages/2", None),
    ("GET", "/messages/x", None),
    ("POST", "/messages", {"text": "hello"}),
    ("POST", "/messages", {"text": "hello", "idempotency_key": "k"}),
    ("POST", "/messages", {"text": "hello", "idempotency_key": ""}),
    ("POST", "/messages", {"text": ""}),
    ("POST", "/messages", {}),
]
MISSING = ["0", "01", "9223372036854775807", "9223372036854775808", "9" * 400, "x", "%FF", "1.0"]


async def all_about(api: Api, by: Someone, chat: str) -> list[Any]:
    return [
        seen(await api.call(method, chat + rest, by, json=body)) for method, rest, body in ROUTES
    ]


def seen(answer: httpx.Response) -> Any:
    headers = [(name, value) for name, value in answer.headers.items() if name != "date"]
    return answer.status_code, answer.content, headers


async def assert_outsider_sees_nothing(api: Api) -> None:
    ann, bob, chat = await api.chat_by_id()
    eve = await api.join("eve")
    key = {"text": "a secret", "idempotency_key": "k"}
    assert (await api.call("POST", f"{chat}/messages", ann, json=key)).status_code == 201
    before = await all_about(api, eve, chat)
    assert {status for status, _, _ in before} == {400, 404}
    for missing in MISSING:
        assert await all_about(api, eve, f"/v1/chats/{missing}") == before, missing
    # The refused requests changed nothing.
    assert (await api.call("GET", chat, bob)).json()["unread"] == 1
    assert (await api.call("GET", "/v1/chats", eve)).json() == {"chats": [], "next": None}
    assert (await api.call("GET", "/v1/sync", eve)).json()["chats"] == []
    # The answers stay the same after a member has read the chat.
    assert (await api.call("GET", chat, ann)).status_code == 200
    assert await all_about(api, eve, chat) == before


async def test_outsider_sees_no_chat_over_http(api: Api) -> None:
    await assert_outsider_sees_nothing(api)


async def test_outsider_sees_no_chat_in_process(in_process: Api) -> None:
    await assert_outsider_sees_nothing(in_process)
