"""Security headers, allowed origins and accepted content types."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from chatcore_litestar import create_app
from chatcore_memory import MemoryStore
from tests.support.api import fresh
from tests.support.apps import core

OURS = "https://chat.example"
THEIRS = "https://evil.example"
JSON = b'{"username":"ann","password":"correct horse battery"}'

ANSWERS = [
    ("POST", "/register", 400),
    ("POST", "/login", 401),
    ("GET", "/chats", 401),
    ("GET", "/nowhere", 404),
    ("PATCH", "/chats", 405),
    ("OPTIONS", "/chats", 204),
    ("GET", "/v1/sync", 401),
    ("GET", "/v1/nowhere", 404),
    ("GET", "/schema/openapi.json", 200),
    ("GET", "/healthz", 200),
    ("GET", "/", 200),
    ("GET", "/page/0/nothing.js", 404),
]


def transport_of(app: Any) -> httpx.ASGITransport:
    return httpx.ASGITransport(app)


@asynccontextmanager
async def opened(*origins: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that allows these origins."""
    async with core(MemoryStore()) as (accounts, messenger):
        app = create_app(accounts, messenger, cors_origins=origins)
        transport = transport_of(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://chatcore") as client:
            yield client


# Shared by all tests: no test changes what another sees.


@pytest.fixture(scope="module")
async def alone() -> AsyncIterator[httpx.AsyncClient]:
    async with opened() as client:
        yield client


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[httpx.AsyncClient]:
    async with opened(OURS) as client:
        yield client


@pytest.mark.parametrize("origins", ["alone", "shared"])
@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_every_response_has_security_headers(
    method: str,
    path: str,
    status: int,
    origins: str,
    alone: httpx.AsyncClient,
    shared: httpx.AsyncClient,
) -> None:
    answer = await {"alone": alone, "shared": shared}[origins].request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")


async def test_tokens_and_messages_are_not_cacheable() -> None:
    async with core(MemoryStore()) as (accounts, messenger):
        await accounts.register("ann", "correct horse battery")
        await accounts.register("bob", "correct horse battery")
        app = create_app(accounts, messenger)
        transport = transport_of(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://chatcore") as client:
            login = await client.post("/login", content=JSON)
            client.headers["authorization"] = f"Bearer {login.json()['token']}"
            answers = [
                login,
                await client.post("/chat/bob"),
                await client.post("/chats/bob/messages", json={"message": "hello"}),
                await client.get("/chats"),
                await client.get("/chats/messages/bob"),
                await client.get("/v1/sync"),
                await client.get("/v1/chats/1/messages"),
                await client.get("/v1/events"),
            ]
            await messenger.trim_logs()
            for _ in range(501):
                await client.post("/chats/bob/messages", json={"message": "hello"})
            # Long enough to be a chunked response, which takes another path.
            answers.append(await client.get("/chats/messages/bob"))
    assert [answer.status_code // 100 for answer in answers] == [2] * len(answers)
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_other_origins_are_refused_by_default(alone: httpx.AsyncClient) -> None:
    answer = await alone.get("/healthz", headers={"origin": OURS})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


PREFLIGHT = {
    "access-control-request-method": "PUT",
    "access-control-request-headers": "authorization, content-type, idempotency-key",
}


@pytest.mark.parametrize("path", ["/chats", "/v1/sync", "/v1/chats/1/read", "/login"])
async def test_allowed_origins_may_call(path: str, shared: httpx.AsyncClient) -> None:
    ours = await shared.options(path, headers=PREFLIGHT | {"origin": OURS})
    assert ours.status_code == 204
    assert ours.headers["access-control-allow-origin"] == OURS
    assert "PUT" in ours.headers["access-control-allow-methods"]
    allowed = ours.headers["access-control-allow-headers"]
    assert {"authorization", "idempotency-key"} <= set(allowed.split(", "))
    theirs = await shared.options(path, headers=PREFLIGHT | {"origin": THEIRS})
    assert theirs.status_code == 400
    assert "access-control-allow-origin" not in theirs.headers


@pytest.mark.parametrize("path", ["/chats", "/v1/sync", "/healthz", "/nowhere"])
async def test_responses_name_the_allowed_origin(path: str, shared: httpx.AsyncClient) -> None:
    ours = await shared.get(path, headers={"origin": OURS})
    assert ours.headers["access-control-allow-origin"] == OURS
    assert "Origin" in ours.headers["vary"]
    assert "retry-after" in ours.headers["access-control-expose-headers"]
    theirs = await shared.get(path, headers={"origin": THEIRS})
    assert "access-control-allow-origin" not in theirs.headers


async def test_wildcard_origin_gets_no_credentials() -> None:
    headers = PREFLIGHT | {"origin": THEIRS, "cookie": "a=b"}
    async with opened("*") as client:
        for method in ("GET", "OPTIONS"):
            answer = await client.request(method, "/chats", headers=headers)
            assert answer.headers["access-control-allow-origin"] in {"*", THEIRS}
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json;",
        None,
    ],
)
async def test_json_is_accepted(kind: str | None, alone: httpx.AsyncClient) -> None:
    headers = {} if kind is None else {"content-type": kind}
    account = JSON.replace(b"ann", fresh("ann").encode())
    answer = await alone.post("/register", content=account, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/html; charset=utf-8",
        "text/json",
        "",
        "\xff",
    ],
)
async def test_fixed_routes_accept_json_of_any_content_type(
    kind: str, alone: httpx.AsyncClient
) -> None:
    account = JSON.replace(b"ann", fresh("ann").encode())
    headers = {b"content-type": kind.encode("latin-1")}
    answer = await alone.post("/register", content=account, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "x/y; boundary=utf-8"])
@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-1", '"latin1"', ""])
async def test_fixed_routes_refuse_other_charsets_in_their_error_format(
    kind: str, charset: str, alone: httpx.AsyncClient
) -> None:
    headers = {"content-type": f"{kind}; charset={charset}"}
    for path, refusal in {
        "/register": (400, "Username already exists or invalid data"),
        "/login": (401, "Invalid username or password"),
    }.items():
        answer = await alone.post(path, content=JSON, headers=headers)
        assert (answer.status_code, answer.json()) == (refusal[0], {"error": refusal[1]})


async def test_other_types_are_415_under_v1() -> None:
    async with core(MemoryStore()) as (accounts, messenger):
        await accounts.register("ann", "correct horse battery")
        token = await accounts.log_in("ann", "correct horse battery")
        transport = transport_of(create_app(accounts, messenger))
        async with httpx.AsyncClient(transport=transport, base_url="http://chatcore") as client:
            answer = await client.put(
                "/v1/chats/1/read",
                content=b'{"seq": 1}',
                headers={"content-type": "text/plain", "authorization": f"Bearer {token}"},
            )
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"
