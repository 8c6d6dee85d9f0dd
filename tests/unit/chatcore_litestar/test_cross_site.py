"""Where browsers send the credential by themselves, pages of other origins can change nothing."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatcore import Messenger
from chatcore_litestar import chat_router
from chatcore_memory import MemoryStore
from tests.support.api import Api
from tests.support.logins import ORIGIN, SAME_ORIGIN, CookieLogin, Shop, shop

WRITES = [
    ("POST", "/chat/2", None, 400),
    ("POST", "/chats/2/messages", {"message": "hello"}, 201),
    ("POST", "/chats/messages/messages", {"message": "hello"}, 400),
    ("PUT", "/v1/users/2/chat", None, 200),
    ("PUT", "/v1/chats/1/read", {"seq": 0}, 200),
    ("POST", "/v1/chats/1/messages", {"text": "hello"}, 201),
    ("PUT", "/v1/blocks/2", None, 204),
    ("DELETE", "/v1/blocks/2", None, 204),
]
"""Every request that may change something, with its body and its status when it is accepted. A chat
that exists is refused, but by the route."""

FOREIGN = {
    "no mark": {},
    "cross-site": {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    "same-site": {"sec-fetch-site": "same-site", "origin": "https://evil.shop.example"},
    "no page": {"sec-fetch-site": "none"},
    "another origin": {"origin": "https://evil.example"},
    "another port": {"origin": f"{ORIGIN}:444"},
    "another scheme": {"origin": ORIGIN.replace("https", "http")},
    "longer name": {"origin": f"{ORIGIN}.evil.example"},
    "no origin": {"origin": "null"},
    "referrer only": {"referer": f"{ORIGIN}/"},
}
OWN = {
    "same origin": SAME_ORIGIN,
    "listed origin": {"origin": ORIGIN},
    "listed origin of the same site": {"origin": ORIGIN, "sec-fetch-site": "same-site"},
}


@pytest.fixture(scope="module")
async def opened() -> AsyncIterator[Shop]:
    async with shop(origins=[ORIGIN]) as opened:
        yield opened


@pytest.fixture
async def host(opened: Shop) -> Shop:
    # A test before may have blocked Bob.
    await opened.messenger.unblock(opened.ann, opened.bob)
    return opened


async def ask(host: Shop, method: str, path: str, headers: dict[str, str], **options: Any) -> Any:
    return await Api(host.client).call(
        method, path, headers={"cookie": "sid=a"} | headers, **options
    )


async def test_list_of_writes_is_complete(host: Shop) -> None:
    document = (await host.call("GET", "/schema/openapi.json")).json()
    described = sum(method != "get" for methods in document["paths"].values() for method in methods)
    # One of them is a hidden route.
    assert described == len(WRITES) - 1


@pytest.mark.parametrize(("method", "path", "body", "status"), WRITES)
@pytest.mark.parametrize("mark", FOREIGN.values(), ids=FOREIGN.keys())
async def test_write_from_elsewhere_is_refused(
    mark: dict[str, str], method: str, path: str, body: Any, status: int, host: Shop
) -> None:
    before = await host.messenger.states(host.ann)
    answer = await ask(host, method, path, mark, json=body)
    assert answer.status_code == 403
    if path.startswith("/v1/"):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "cross_origin"
    else:
        assert answer.json() == {"error": "Forbidden"}
    assert "access-control-allow-origin" not in answer.headers
    assert await host.messenger.states(host.ann) == before


@pytest.mark.parametrize(("method", "path", "body", "status"), WRITES)
@pytest.mark.parametrize("mark", OWN.values(), ids=OWN.keys())
async def test_write_from_the_hosts_own_page_is_accepted(
    mark: dict[str, str], method: str, path: str, body: Any, status: int, host: Shop
) -> None:
    answer = await ask(host, method, path, mark, json=body)
    assert answer.status_code == status


@pytest.mark.parametrize(("method", "path", "body", "status"), WRITES)
async def test_body_must_be_labelled_as_json(
    method: str, path: str, body: Any, status: int, host: Shop
) -> None:
    content = json.dumps(body or {}).encode()
    for label in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        headers = SAME_ORIGIN | ({"content-type": label} if label else {})
        answer = await ask(host, method, path, headers, content=content)
        assert answer.status_code == 415
        if path.startswith("/v1/"):
            assert answer.json()["code"] == "unsupported_media_type"
        else:
            assert answer.json() == {"error": "Unsupported Media Type"}
    for label in ("application/json", "Application/JSON; charset=utf-8"):
        headers = SAME_ORIGIN | {"content-type": label}
        assert (await ask(host, method, path, headers, content=content)).status_code == status


@pytest.mark.parametrize(
    ("listed", "sent"),
    [("https://shop.example:443", ORIGIN), ("http://shop.example:80", "http://shop.example")],
)
async def test_port_that_the_scheme_implies_may_be_listed(listed: str, sent: str) -> None:
    async with shop(origins=[listed]) as host:
        answer = await ask(host, "PUT", "/v1/users/2/chat", {"origin": sent})
        assert answer.status_code == 200


async def test_body_of_unknown_length_must_be_labelled(host: Shop) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"text": "hello"}'

    path = "/v1/chats/1/messages"
    answer = await ask(host, "POST", path, SAME_ORIGIN, content=chunks())
    assert answer.status_code == 415


async def test_reads_need_no_origin(host: Shop) -> None:
    for path in ("/chats", "/chats/messages/2", "/v1/sync", "/v1/me"):
        answer = await ask(host, "GET", path, FOREIGN["cross-site"])
        assert answer.status_code == 200
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_bearer_tokens_need_no_origin_and_no_label() -> None:
    async with shop(ambient=False) as host:
        for mark in FOREIGN.values():
            answer = await ask(host, "POST", "/chats/2/messages", mark, content=b'{"message":"x"}')
            assert answer.status_code == 201


@pytest.mark.parametrize(
    "origin", ["shop.example", "https://shop.example/", "https://SHOP.example", "*", "null", ""]
)
def test_text_that_is_no_origin_is_an_error(origin: str) -> None:
    messenger = Messenger(MemoryStore(), realm="shop")
    with pytest.raises(ValueError, match="not an origin"):
        chat_router(messenger, authenticator=CookieLogin(messenger), origins=[origin])
