"""Limits for logins and registrations, per client address as reported by a trusted proxy."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from chatcore import Accounts, Guard, Messenger
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_litestar.client import NOT_THE_OWNER, address_behind
from chatcore_memory import InsecureTestHasher, MemoryStore
from tests.support.api import PASSWORD, Api
from tests.support.apps import SECRET
from tests.support.clock import Watch

PROXY = "10.0.0.1"
HERE, THERE = "203.0.113.1", "198.51.100.1"


@asynccontextmanager
async def api_from(
    peer: str, watch: Watch | None = None, trusted: tuple[str, ...] = (PROXY,)
) -> AsyncIterator[Api]:
    store = MemoryStore()
    guard = Guard(seconds=watch or Watch())
    accounts = Accounts(store, InsecureTestHasher(), JwtTokens(SECRET), guard=guard)
    app: Any = create_app(accounts, Messenger(store), trusted_proxies=trusted)
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://chatcore") as client:
        yield Api(client)


async def guess(api: Api, forwarded: str, name: str = "ann") -> httpx.Response:
    return await api.call(
        "POST",
        "/login",
        json={"username": name, "password": "wrong password"},
        headers={"X-Forwarded-For": forwarded},
    )


async def log_in(api: Api, forwarded: str) -> int:
    account = {"username": "ann", "password": PASSWORD}
    headers = {"X-Forwarded-For": forwarded}
    return (await api.call("POST", "/login", json=account, headers=headers)).status_code


async def test_sixth_guess_gets_a_429_with_retry_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch()
    async with api_from(PROXY, watch) as api:
        await api.register("ann")
        for _ in range(6):
            assert (await guess(api, HERE)).status_code == 401
            watch.now += 1
        limited = await guess(api, HERE)
        assert (limited.status_code, limited.json()) == (429, {"error": "Too many attempts"})
        assert limited.headers["content-type"] == "application/json"
        assert limited.headers["retry-after"] == "1"
        assert limited.headers["cache-control"] == "no-store"
        assert await log_in(api, HERE) == 429
        assert await log_in(api, THERE) == 200
        watch.now += 1
        assert await log_in(api, HERE) == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_twenty_first_registration_gets_a_429() -> None:
    async with api_from(HERE) as api:
        answers = [await api.register(f"user {n}") for n in range(21)]
    assert [answer.status_code for answer in answers] == [201] * 20 + [429]
    assert answers[20].json() == {"error": "Too many attempts"}
    assert answers[20].headers["retry-after"] == "1"


async def test_too_many_attempts_under_v1_is_a_problem() -> None:
    async with api_from(HERE) as api:
        ann = await api.join("ann")
        asks = [("PUT", "/v1/me/password", "current_password"), ("DELETE", "/v1/me", "password")]
        body = {"new_password": "another password"}
        for _ in range(5):
            answer = await api.call(*asks[0][:2], ann, json=body | {"current_password": "wrong"})
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_credentials")
        for method, path, field in asks:
            answer = await api.call(method, path, ann, json=body | {field: PASSWORD})
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "1"
            assert answer.json() == {
                "type": "about:blank",
                "title": "Too Many Requests",
                "status": 429,
                "code": "too_many_attempts",
            }
        assert (await api.call("GET", "/v1/me", ann)).status_code == 200


async def test_invalid_body_does_not_count_as_a_guess() -> None:
    async with api_from(HERE) as api:
        await api.register("ann")
        for _ in range(50):
            assert (await api.call("POST", "/login", content=b"{}")).status_code == 401
            assert (await api.call("POST", "/register", content=b"{}")).status_code == 400
        assert (await api.log_in("ann")).status_code == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("trusted", [(), (PROXY,)])
async def test_loopback_client_has_an_allowance(peer: str, trusted: tuple[str, ...]) -> None:
    async with api_from(peer, trusted=trusted) as api:
        for n in range(100):
            assert (await api.register(f"user {n}")).status_code == 201
        logins = await asyncio.gather(*(api.log_in(f"user {n}") for n in range(64)))
        assert {answer.status_code for answer in logins} == {200}
        # Wrong passwords stay limited.
        statuses = [(await api.log_in("user 99", "wrong password")).status_code for _ in range(6)]
        assert statuses == [401] * 5 + [429]


FOREIGN = [
    {"x-forwarded-for": HERE},
    {"x-forwarded-proto": "https"},
    {"forwarded": f"for={HERE}"},
    {"via": "1.1 proxy"},
    {"x-real-ip": HERE},
    {"sec-fetch-site": "cross-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:3000"},
    {"origin": "http://[broken"},
    # A stranger's host name that resolves to this machine.
    {"origin": "http://evil.example:8000", "host": "evil.example:8000"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_forwarded_or_cross_origin_request_gets_no_allowance(headers: dict[str, str]) -> None:
    async with api_from("127.0.0.1", trusted=()) as api:
        statuses = []
        for n in range(21):
            body = {"username": f"user {n}", "password": PASSWORD}
            answer = await api.call("POST", "/register", json=body, headers=headers)
            statuses.append(answer.status_code)
        assert statuses == [201] * 20 + [429]
        # These requests do not use up the allowance of loopback.
        assert (await api.register("ann")).status_code == 201


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
async def test_page_on_loopback_has_the_allowance(host: str) -> None:
    headers = {"origin": f"http://{host}", "host": host, "sec-fetch-site": "same-origin"}
    async with api_from("127.0.0.1", trusted=()) as api:
        for n in range(30):
            body = {"username": f"user {n}", "password": PASSWORD}
            answer = await api.call("POST", "/register", json=body, headers=headers)
            assert answer.status_code == 201


async def test_one_log_line_names_the_proxy_to_trust(caplog: pytest.LogCaptureFixture) -> None:
    async with api_from("127.0.0.1", trusted=()) as api:
        for n in range(3):
            await guess(api, HERE, f"user {n}")
    [line] = [record.getMessage() for record in caplog.records]
    assert "set CHATCORE_TRUSTED_PROXIES=127.0.0.1" in line
    caplog.clear()
    async with api_from("127.0.0.1", trusted=("127.0.0.1",)) as api:
        await guess(api, HERE)
    assert not caplog.records


@pytest.mark.parametrize("trusted", [(), ("10.0.0.2",)])
async def test_untrusted_proxy_cannot_set_the_client_address(trusted: tuple[str, ...]) -> None:
    async with api_from(PROXY, trusted=trusted) as api:
        statuses = [(await guess(api, f"203.0.113.{n}")).status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]


async def test_client_cannot_forge_its_address_behind_a_proxy() -> None:
    async with api_from(PROXY) as api:
        statuses = [(await guess(api, f"192.0.2.{n}, {HERE}")).status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]


@pytest.mark.parametrize("wrong", ["proxy", "10.0.0.1/8", "", "10.0.0.1, 10.0.0.2"])
def test_invalid_proxy_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|has host bits"):
        address_behind([wrong])


TRUSTED = ("10.0.0.0/8", "2001:db8:aaaa::/48")


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        (HERE, [], HERE),
        (HERE, [THERE], HERE),
        (PROXY, [HERE], HERE),
        (PROXY, [f"{THERE}, {HERE}"], HERE),
        (PROXY, [THERE, HERE], HERE),
        (PROXY, [f"{THERE} ,\t{HERE} , 10.2.3.4"], HERE),
        (PROXY, [THERE, f"{HERE},10.2.3.4", "10.9.9.9"], HERE),
        ("2001:db8:aaaa::1", ["2001:db8:bbbb::1,2001:db8:aaaa::2"], "2001:db8:bbbb::1"),
        # Without a valid client address, the last trusted proxy counts.
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, ["10.2.3.4"], "10.2.3.4"),
        (PROXY, [f"{HERE}, unknown"], PROXY),
        (PROXY, [f"{HERE}, nonsense, 10.2.3.4"], "10.2.3.4"),
        (PROXY, [f"{HERE},"], PROXY),
        (PROXY, [f"{HERE}\0"], PROXY),
        (PROXY, ["203.0.113.01"], PROXY),
        (PROXY, ["\xff" * 9], PROXY),
        # Address formats.
        (PROXY, [f"{HERE}:4711"], HERE),
        (PROXY, [f"{HERE}:"], PROXY),
        (PROXY, [f"{HERE}:x"], PROXY),
        (PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (PROXY, ["[2001:db8::1]"], "2001:db8::1"),
        (PROXY, ["[2001:db8::1]x"], PROXY),
        (PROXY, ["[2001:db8::1"], "2001:db8::1"),
        (PROXY, ["2001:DB8:0::1"], "2001:db8::1"),
        (PROXY, ["fe80::1%eth0"], "fe80::1"),
        (PROXY, [f"::ffff:{HERE}"], HERE),
        (f"::ffff:{PROXY}", [HERE], HERE),
        # Loopback as reported by a proxy is not this machine.
        (PROXY, ["127.0.0.1"], NOT_THE_OWNER),
        # No IP address: a Unix socket, a test client.
        (None, [HERE], None),
        ("", [HERE], None),
        ("testclient", [HERE], None),
    ],
)
def test_client_address_behind_trusted_proxies(
    peer: str | None, headers: list[str], address: str | None
) -> None:
    scope: Any = {
        "client": None if peer is None else (peer, 1234),
        "headers": [
            (b"forwarded", b"for=192.0.2.99"),
            (b"x-real-ip", b"192.0.2.99"),
            *((b"x-forwarded-for", value.encode("latin-1")) for value in headers),
        ],
    }
    assert address_behind(TRUSTED)(scope) == address


def test_without_proxies_the_address_is_the_peers() -> None:
    def address(peer: str) -> str | None:
        scope: Any = {"client": (peer, 1), "headers": [(b"x-forwarded-for", THERE.encode())]}
        return address_behind([])(scope)

    assert address(HERE) == address(f"::ffff:{HERE}") == HERE
    assert address("2001:db8::1") == "2001:db8::1"
    assert address("127.0.0.1") == address("::1") == NOT_THE_OWNER


async def test_document_describes_429() -> None:
    async with api_from(HERE) as api:
        document = (await api.call("GET", "/schema/openapi.json")).json()
    for path in ("/register", "/login"):
        response = document["paths"][path]["post"]["responses"]["429"]
        assert response["headers"].keys() == {"Retry-After"}
