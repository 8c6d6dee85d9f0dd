"""A body that a route does not accept gets the refusal of that route."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.api import PASSWORD, Api, Someone, fresh, segment
from tests.support.raw import connected, request

MAX_BODY = 64 * 1024


def malformed(good: str) -> dict[str, str | bytes]:
    """Malformed bodies by what is wrong with them; the rest of each comes from the valid body."""
    fields = good[1:-1]
    deep = "[" * 30_000 + "]" * 30_000
    raw = fields.encode()
    return {
        "nothing": "",
        "white space": " \n",
        "not JSON": "username=ann&password=secret&message=hello",
        "truncated": good[:-1],
        "an array": f"[{good}]",
        "a text": json.dumps(good),
        "a number": "7",
        "null": "null",
        "an empty object": "{}",
        "trailing characters": f"{good} x",
        "a second object": good + good,
        "a trailing comma": f"{{{fields},}}",
        "single quotes": f"{{{fields}, 'x': 1}}",
        "a comment": f"{good} // that was it",
        "NaN": f'{{{fields}, "x": NaN}}',
        "two byte order marks": f"\ufeff\ufeff{good}",
        "a byte order mark at the end": f"{good}\ufeff",
        "UTF-16": good.encode("utf-16"),
        "invalid UTF-8 in a value": b'{%b, "x": "\xff"}' % raw,
        "invalid UTF-8 in a key": b'{%b, "\xc3(": 1}' % raw,
        "invalid UTF-8 outside the object": b"{%b}\xa0" % raw,
        "a surrogate in UTF-8": b'{%b, "x": "\xed\xa0\x80"}' % raw,
        "a lone surrogate in an unknown key": f'{{{fields}, "\\ud800": 1}}',
        "a lone surrogate in an unknown value": f'{{{fields}, "x": "\\udfff"}}',
        "a raw control character": f'{{{fields}, "x": "\x01"}}',
        "deep": "[" * 2_000 + "]" * 2_000,
        "deeper": deep,
        "deep objects": '{"x":' * 10_000 + "1" + "}" * 10_000,
        "deep in an unknown field": f'{{{fields}, "x": {deep}}}',
    }


WRONG_VALUES = {
    "a number": "5",
    "a huge number": "9" * 5_000,
    "a float out of range": "1e400",
    "true": "true",
    "null": "null",
    "an array": '["x"]',
    "an object": '{"x": 1}',
    "a lone high surrogate": '"long enough \\ud83d!"',
    "a lone low surrogate": '"long enough \\ude00!"',
    "reversed surrogates": '"long enough \\ude00\\ud83d"',
    "NUL": '"long enough \\u0000"',
    "deep": "[" * 2_000 + "]" * 2_000,
}

ROUTES = ("register", "login", "send", "v1 send", "v1 read")
each_route = pytest.mark.parametrize("route", ROUTES)


class Route:
    """A route that takes a body: the fields of a valid body, and its refusal of any other."""

    def __init__(
        self, api: Api, path: str, by: Someone | None, fields: dict[str, Any], method: str = "POST"
    ) -> None:
        self._api = api
        self._path = path
        self._by = by
        self._method = method
        self.fields = fields

    async def ask(self, body: Any) -> httpx.Response:
        return await self._api.call(self._method, self._path, self._by, content=body)


def problem(status: int, title: str, code: str) -> tuple[int, Any]:
    return status, {"type": "about:blank", "title": title, "status": status, "code": code}


MALFORMED = problem(400, "Bad Request", "malformed_body")
REFUSALS = {
    "v1 send": MALFORMED,
    "v1 read": MALFORMED,
    "register": (400, {"error": "Username already exists or invalid data"}),
    "login": (401, {"error": "Invalid username or password"}),
    "send": (400, {"error": "Invalid message or chat not found"}),
}


NOT_WRONG = {"v1 send": {"NUL"}, "v1 read": {"a number"}}
"""Not malformed, but refused: a text and a number."""


async def route_named(name: str, api: Api) -> Route:
    if name.startswith("v1"):
        ann, _, chat = await api.chat_by_id()
        if name == "v1 read":
            return Route(api, f"{chat}/read", ann, {"seq": 0}, "PUT")
        return Route(api, f"{chat}/messages", ann, {"text": "hello"})
    ann, bob = await api.chat()
    fields = {"username": fresh("cyd"), "password": PASSWORD}
    if name == "register":
        return Route(api, "/register", None, fields)
    if name == "login":
        return Route(api, "/login", None, fields | {"username": ann.name})
    return Route(api, f"/chats/{segment(bob.name)}/messages", ann, {"message": "hello"})


def refusal(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()


@each_route
async def test_malformed_body_gets_the_refusal_of_its_route(api: Api, route: str) -> None:
    target = await route_named(route, api)
    good = json.dumps(target.fields)
    for kind, body in malformed(good).items():
        answer = await target.ask(body)
        assert refusal(answer) == REFUSALS[route], kind
    # Nothing but the malformed body was wrong with the request.
    assert (await target.ask(good)).status_code in {200, 201}


@each_route
async def test_missing_or_mistyped_field_is_refused(api: Api, route: str) -> None:
    target = await route_named(route, api)
    for name in target.fields:
        others = {other: text for other, text in target.fields.items() if other != name}
        answer = await target.ask(json.dumps(others))
        assert refusal(answer) == REFUSALS[route], f"no {name}"
        kept = json.dumps(others)[1:-1] + ", " * bool(others)
        wrong = WRONG_VALUES.keys() - NOT_WRONG.get(route, set())
        for kind, value in ((kind, WRONG_VALUES[kind]) for kind in wrong):
            answer = await target.ask(f'{{{kept}"{name}": {value}}}')
            assert refusal(answer) == REFUSALS[route], f"{name} is {kind}"


async def test_unknown_fields_are_ignored(api: Api) -> None:
    target = await route_named("send", api)
    for extra in ("1e400", "9" * 5_000, '"\\u0000"', "[" * 100 + "]" * 100, '{"message": 5}'):
        answer = await target.ask(f'{{"x": {extra}, "message": "hello"}}')
        assert answer.status_code == 201, extra


@each_route
async def test_body_limit_is_exactly_64_kib(api: Api, route: str) -> None:
    target = await route_named(route, api)
    body = json.dumps(target.fields).encode().ljust(MAX_BODY)
    too_large: tuple[int, Any] = (413, {"error": "Content Too Large"})
    if route.startswith("v1"):
        too_large = problem(413, "Content Too Large", "content_too_large")
    assert refusal(await target.ask(body + b" ")) == too_large
    assert refusal(await target.ask(in_chunks(body + b" "))) == too_large
    assert refusal(await target.ask(b" " * 5_000_000)) == too_large
    assert refusal(await target.ask(in_chunks(b" " * 5_000_000))) == too_large
    assert (await target.ask(body)).status_code in {200, 201}
    if route != "register":
        assert (await target.ask(in_chunks(body))).status_code in {200, 201}


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


async def test_longest_message_fits_in_any_escaping(api: Api) -> None:
    ann, bob = await api.chat()
    path = f"/chats/{segment(bob.name)}/messages"
    longest = '{"message": "' + "\\ud83d\\ude00" * 4096 + '"}'
    answer = await api.call("POST", path, ann, content=longest)
    assert (answer.status_code, answer.json()["message"]) == (201, "\U0001f600" * 4096)
    assert (await api.read(bob, ann.name)).json() == [answer.json()]
    one_more = longest.replace("\\ud83d", "x\\ud83d", 1)
    answer = await api.call("POST", path, ann, content=one_more)
    assert refusal(answer) == REFUSALS["send"]


async def test_unread_body_is_not_parsed_as_the_next_request(url: str) -> None:
    smuggled = request("POST /register", body=b"{}")
    async with connected(url) as raw:
        await raw.send(request("POST /chats/bob/messages", body=smuggled))
        await raw.send(request("POST /chat/bob", body=smuggled))
        await raw.send(request("GET /healthz"))
        assert [(await raw.answer()).status for _ in range(3)] == [401, 401, 200]
