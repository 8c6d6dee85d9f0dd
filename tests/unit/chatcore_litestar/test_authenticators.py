"""A host's own login in place of accounts: routes, sessions, and how its streams end."""

import asyncio
import logging
from collections.abc import Hashable
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar

from chatcore import (
    Accounts,
    AuthenticationUnavailable,
    InvalidToken,
    Messenger,
    RequestHead,
    Session,
    StoreUnavailable,
)
from chatcore_litestar import chat_router, create_app
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.api import api_of
from tests.support.apps import in_another_process
from tests.support.listening import Frame, Request
from tests.support.logins import CookieLogin, shop

SECOND = timedelta(seconds=1)
MINUTE = timedelta(seconds=60)
ACCOUNT_ROUTES = [
    ("POST", "/register", 404),
    ("POST", "/login", 404),
    ("PUT", "/v1/me/password", 404),
    ("POST", "/v1/logout-everywhere", 404),
    ("DELETE", "/v1/me", 405),
]


def end(reason: str) -> Frame:
    return Frame({"type": "end", "reason": reason})


# Routes


async def test_hosts_users_chat_without_accounts() -> None:
    async with shop() as host:
        sent = await host.call("POST", "/chats/2/messages", json={"message": "hello"})
        assert (sent.status_code, sent.json()) == (201, {"sender": "1", "message": "hello"})
        me = await host.call("GET", "/v1/me", "b")
        assert me.json() == {"user": "Bob", "handle": "2"}
        lines = (await host.call("GET", "/v1/me/export", "b")).text.splitlines()
        assert len(lines) == 4


@pytest.mark.parametrize(("method", "path", "status"), ACCOUNT_ROUTES)
async def test_routes_of_accounts_do_not_exist_without_accounts(
    method: str, path: str, status: int
) -> None:
    async with shop() as host:
        answer = await host.call(method, path, json={"password": "correct horse battery"})
        assert answer.status_code == status
        assert answer.headers.get("allow", "GET, OPTIONS") == "GET, OPTIONS"
        assert (await host.call("GET", "/v1/me")).status_code == 200
        allowed = (await host.call("OPTIONS", "/v1/me")).headers["allow"]
        assert {*allowed.split(", ")} == {"GET", "OPTIONS"}


async def test_there_is_no_page_without_accounts() -> None:
    async with shop() as host:
        assert (await host.call("GET", "/")).status_code == 404


@pytest.mark.parametrize("ambient", [True, False])
async def test_openapi_document_has_the_routes_that_exist(ambient: bool) -> None:
    async with shop(ambient=ambient) as host:
        document = (await host.call("GET", "/schema/openapi.json")).json()
    operations = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert not operations.keys() & {(method, path) for method, path, _ in ACCOUNT_ROUTES}
    assert ("GET", "/v1/me") in operations
    schemes = document["components"].get("securitySchemes", {})
    assert schemes.keys() == (set() if ambient else {"bearer"})
    for (method, path), operation in operations.items():
        chats = path not in {"/healthz", "/readyz"}
        assert ("security" in operation) == (chats and not ambient)
        if chats and method != "GET":
            assert operation["responses"].keys() >= ({"403", "415"} if ambient else set())
    fixed = operations["POST", "/chat/{user_name}"]["responses"]
    assert ("403" in fixed) == ambient


@pytest.mark.parametrize("make", [chat_router, create_app])
def test_neither_accounts_nor_authenticator_is_an_error(make: Any) -> None:
    store = MemoryStore()
    messenger = Messenger(store, realm="shop")
    accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    for parts, options in [
        ((messenger,), {}),
        ((accounts, messenger), {"authenticator": CookieLogin(messenger)}),
        ((), {"authenticator": CookieLogin(messenger)}),
        ((accounts,), {}),
    ]:
        with pytest.raises(TypeError, match=r"give either|is missing"):
            make(*parts, **options)


def test_parts_may_be_given_by_name() -> None:
    store = MemoryStore()
    accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    chat_router(accounts=accounts, messenger=Messenger(store))
    messenger = Messenger(store, realm="shop")
    chat_router(messenger=messenger, authenticator=CookieLogin(messenger))


# Sessions


async def test_request_without_a_session_is_401_in_the_shape_of_the_route() -> None:
    async with shop() as host:
        for sid in ("", "unknown"):
            fixed = await host.call("GET", "/chats", sid)
            assert (fixed.status_code, fixed.json()) == (401, {"error": "Unauthorized"})
            v1 = await host.call("GET", "/v1/chats", sid)
            assert (v1.status_code, v1.json()["code"]) == (401, "unauthorized")
            # A cookie has no scheme to name there.
            assert "www-authenticate" not in {*fixed.headers, *v1.headers}


async def test_session_is_cached_for_a_minute() -> None:
    async with shop() as host:
        for path in ("/chats", "/v1/chats", "/v1/me", "/chats"):
            assert (await host.call("GET", path)).status_code == 200
        assert host.login.asked == 1
        del host.login.people["a"]
        host.clock.advance(MINUTE - SECOND)
        assert (await host.call("GET", "/chats")).status_code == 200
        host.clock.advance(SECOND)
        assert (await host.call("GET", "/chats")).status_code == 401


async def test_session_ends_at_its_expiry() -> None:
    async with shop() as host:
        host.login.expires_at = host.clock() + 10 * SECOND
        assert (await host.call("GET", "/chats")).status_code == 200
        host.clock.advance(10 * SECOND)
        # The login still returns the session, but with an expiry in the past.
        assert (await host.call("GET", "/chats")).status_code == 401


async def test_announced_user_is_authenticated_again_at_once() -> None:
    async with shop() as host:
        assert (await host.call("GET", "/chats")).status_code == 200
        del host.login.people["a"]
        host.messenger.changes.announce(host.ann.id)
        assert (await host.call("GET", "/chats")).status_code == 401


async def test_erased_user_is_refused_at_once_here_and_within_a_minute_elsewhere() -> None:
    store = MemoryStore()
    async with shop(store) as here, shop(in_another_process(store)) as there:
        for host in (here, there):
            assert (await host.call("GET", "/chats")).status_code == 200
        await here.messenger.erase(here.ann)
        assert (await here.call("GET", "/chats")).status_code == 401
        assert (await there.call("GET", "/chats")).status_code == 200
        there.clock.advance(MINUTE)
        assert (await there.call("GET", "/chats")).status_code == 401
        assert (await here.call("GET", "/chats", "b")).status_code == 200


async def test_name_that_no_user_can_have_is_refused() -> None:
    async with shop() as host:
        host.login.people |= {"c": ("3", "\n"), "d": ("a b", "Dan")}
        for sid in "cd":
            assert (await host.call("GET", "/chats", sid)).status_code == 401


@pytest.mark.parametrize(
    ("failure", "code", "logged"),
    [
        (StoreUnavailable("the database of the login"), "store_unavailable", 2),
        # Logged by the authenticator, which knows the cause.
        (AuthenticationUnavailable("the login"), "authentication_unavailable", 0),
    ],
)
async def test_login_that_cannot_be_asked_is_a_503(
    failure: Exception, code: str, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop() as host:
        host.login.failure = failure
        with caplog.at_level(logging.ERROR):
            fixed, v1 = [await host.call("GET", path) for path in ("/chats", "/v1/chats")]
        assert (fixed.status_code, v1.status_code) == (503, 503)
        assert fixed.json() == {"error": "Service Unavailable"}
        assert v1.json()["code"] == code
        assert len(caplog.records) == logged
        host.login.failure = None
        assert (await host.call("GET", "/chats")).status_code == 200


async def test_broken_login_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with shop() as host:
        host.login.failure = ZeroDivisionError("a defect")
        with caplog.at_level(logging.ERROR):
            answers = [await host.call("GET", path) for path in ("/chats", "/v1/chats")]
        assert [answer.status_code for answer in answers] == [500, 500]
        for answer, record in zip(answers, caplog.records, strict=True):
            assert answer.headers["x-request-id"] in record.getMessage()


class AsyncCredential(CookieLogin):
    async def credential(self, request: RequestHead) -> Any:  # type: ignore[override]
        return request.cookies.get("sid")


async def test_async_method_for_the_credential_is_refused() -> None:
    messenger = Messenger(MemoryStore(), realm="shop")
    login: Any = AsyncCredential(messenger)
    with pytest.raises(TypeError, match=r"AsyncCredential\.credential is an async method"):
        create_app(messenger, authenticator=login)


async def test_session_that_is_none_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class UserLogin(CookieLogin):
        async def session(self, credential: Any) -> Any:
            return (await super().session(credential)).user

    async with shop() as host:
        login = UserLogin(host.messenger, people=host.login.people)
        app = create_app(host.messenger, authenticator=login)
        async with api_of(app) as api:
            answer = await api.call("GET", "/v1/me", headers={"cookie": "sid=a"})
    assert answer.status_code == 500
    assert "UserLogin.session returned an object of the type User; expected Session(user)" in (
        caplog.text
    )


# Streams


async def test_stream_ends_when_the_session_expires() -> None:
    async with shop() as host:
        host.login.expires_at = host.clock() + 30 * SECOND
        async with host.stream() as stream:
            assert (await stream.frame()).data["type"] == "start"
            host.clock.advance(30 * SECOND)
            assert await stream.event() == end("expired")
            await stream.ended()


async def test_stream_ends_within_a_minute_of_a_revocation() -> None:
    async with shop() as host, host.stream() as stream, host.stream("b") as bobs:
        for opened in (stream, bobs):
            assert (await opened.frame()).data["type"] == "start"
        del host.login.people["a"]
        host.clock.advance(MINUTE - SECOND)
        assert (await stream.frame()).data["type"] == "heartbeat"
        host.clock.advance(SECOND)
        assert await stream.event() == end("void")
        await stream.ended()
        assert (await bobs.frame()).data["type"] == "heartbeat"


async def test_stream_ends_at_once_when_its_user_is_announced_or_erased() -> None:
    async with shop(heartbeat_seconds=15) as host:
        for change in ("announced", "erased"):
            async with host.stream() as stream:
                assert (await stream.frame()).data["type"] == "start"
                if change == "announced":
                    host.messenger.changes.announce(host.ann.id)
                else:
                    await host.messenger.erase(host.ann)
                assert await stream.frame() == end("void")
                await stream.ended()
        assert (await host.stream().head()).status == 401


async def test_long_poll_whose_session_ends_is_401_without_a_scheme() -> None:
    async with shop() as host:
        poll = Request(host.app, None, "/v1/events?wait=30", cookie="sid=a")
        while not host.streams.under_way:  # noqa: ASYNC110 (a count has no event)
            await asyncio.sleep(0)
        del host.login.people["a"]
        host.messenger.changes.announce(host.ann.id)
        assert (await poll.answer())["code"] == "unauthorized"
        assert poll.status == 401
        assert b"www-authenticate" not in poll.headers


async def test_rename_ends_no_stream() -> None:
    async with shop() as host, host.stream() as stream:
        assert (await stream.frame()).data["type"] == "start"
        host.login.people["new"] = ("1", "Anna")
        assert (await host.call("GET", "/v1/me", "new")).json()["user"] == "Anna"
        assert (await stream.frame()).data["type"] == "heartbeat"


async def test_stream_closes_without_an_end_while_the_login_is_down() -> None:
    async with shop() as host, host.stream() as stream:
        assert (await stream.frame()).data["type"] == "start"
        host.login.failure = StoreUnavailable("the login is down")
        host.clock.advance(MINUTE)
        await stream.closed()
        assert not any(b'"end"' in chunk for chunk in stream.chunks)


# What an authenticator sees


def head(*headers: tuple[str, str], **scope: Any) -> RequestHead:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return RequestHead(scope | {"headers": pairs}, lambda scope: scope["client"][0])


def test_cookies_are_parsed() -> None:
    request = head(("cookie", 'a=1; b="two" ;c=x=y; ;flag'), ("cookie", "a=2"), ("x-cookie", "d=4"))
    assert request.cookies == {"a": "2", "b": "two", "c": "x=y", "": "", "flag": ""}
    assert head().cookies == {}


def test_bearer_token_is_read_from_one_header() -> None:
    assert head().bearer_token() is None
    assert head(("authorization", "Basic eA==")).bearer_token() is None
    assert head(("authorization", "bearer  abc ")).bearer_token() == "abc"
    with pytest.raises(InvalidToken):
        head(("authorization", "Bearer a"), ("authorization", "Bearer a")).bearer_token()


def test_request_head_shows_the_scope() -> None:
    request = head(("host", "x"), method="GET", path="/chats", client=("192.0.2.1", 1), user="Ann")
    assert (request.method, request.path, request.address) == ("GET", "/chats", "192.0.2.1")
    assert request.headers == [(b"host", b"x")]
    assert request.scope["user"] == "Ann"
    assert RequestHead({}).address is None


class ByAddress:
    ambient = True

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger

    def credential(self, request: RequestHead) -> Hashable | None:
        return request.address

    async def session(self, credential: Hashable) -> Session:
        return Session(await self._messenger.user(str(credential), name="machine"))


async def test_authenticator_gets_the_address_behind_trusted_proxies() -> None:
    messenger = Messenger(MemoryStore(), realm="shop")
    app = create_app(messenger, authenticator=ByAddress(messenger), trusted_proxies=["127.0.0.1"])
    async with api_of(app) as api:
        headers = {"x-forwarded-for": "192.0.2.7"}
        answer = await api.call("GET", "/v1/me", headers=headers)
        assert answer.json()["handle"] == "192.0.2.7"


async def test_hosts_middleware_keeps_its_own_user() -> None:
    """Middleware of the host sees its own `scope["user"]` after the answer."""
    seen = []

    def logged_in(app: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            scope["user"] = "the host's"
            await app(scope, receive, send)
            seen.append((scope["user"], scope.get("auth")))

        return middleware

    messenger = Messenger(MemoryStore(), realm="shop")
    login = CookieLogin(messenger, people={"a": ("1", "Ann")})
    app = Litestar(
        [chat_router(messenger, authenticator=login)], middleware=[logged_in], logging_config=None
    )
    async with api_of(app) as api:
        answer = await api.call("GET", "/v1/me", headers={"cookie": "sid=a"})
        assert answer.json() == {"user": "Ann", "handle": "1"}
    assert seen == [("the host's", None)]
