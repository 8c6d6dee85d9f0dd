"""Bytes that nobody should send, at every place that reads what strangers write."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from chatcore import Cursor, InvalidName, InvalidToken, UserName, canonical_name
from chatcore.names import lookup_name
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_memory import MemoryStore
from tests.support.apps import core
from tests.support.soak import SOAK

COUNT = 100_000 if SOAK else 2_000
REQUESTS = 100_000 if SOAK else 500
"""Each of them goes through the whole application."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSWORD = "correct horse battery"

SCRAPS = [
    *(bytes([byte]) for byte in range(256)),
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbf\xbd",
    b"\xe2\x80\xae",
    b"\xcc\x81" * 40,
    b"\\ud800",
    b"\\u0000",
    b"%00",
    b"%2f",
    b"%2e%2e",
    b"%",
    b"\r\n",
    b"..",
    b"//",
    b"9" * 30,
    b"-1",
    b"1e400",
    b"[" * 2000,
    b'{"a":' * 1000,
    b"null",
    b"true",
    b"A" * 5000,
    "\u1e9e\u0130\ufb01\u00df".encode(),
    b"eyJhbGciOiJub25lIn0",
]


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    drawn = random.SystemRandom().getrandbits(32)
    record_property("seed", drawn)
    print(f"seed {drawn}")  # noqa: T201 (shown when a test fails)
    return drawn


def mutations(seed: int, *good: bytes, count: int = COUNT) -> Iterator[bytes]:
    """So many broken forms of what is good: cut, joined, doubled, with scraps in between."""
    rng = random.Random(seed)
    for _ in range(count):
        text = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(text))
            to = min(len(text), at + rng.randint(0, 8))
            change = rng.randrange(5)
            if change == 0:
                text[at:to] = rng.choice(SCRAPS)
            elif change == 1:
                del text[at:to]
            elif change == 2:
                text[at:at] = text[at:to] * rng.randint(1, 3)
            elif change == 3:
                text[at:at] = rng.choice(good)
            elif at < len(text):
                text[at] ^= 1 << rng.randrange(8)
        yield bytes(text)


def test_cursors(seed: int) -> None:
    """What is taken for a cursor has one form."""
    taken = 0
    for raw in mutations(seed, b"0123456789abcdef-17-4711", b"a-1-0", b"Z-9223372036854775807-1"):
        text = raw.decode("latin-1")
        if (cursor := Cursor.parse(text)) is not None:
            taken += 1
            assert str(cursor) == text
            assert 0 < cursor.user_id < 2**63
            assert 0 <= cursor.n < 2**63
    assert taken


def test_names(seed: int) -> None:
    """What is taken for a name is found again, by any of its spellings, and fits in a path."""
    taken = 0
    good = ("ann", "Bob 2", "\u0416\u0435\u043d\u044f", "e\u0301va", "\u1f80\u03c3", "\uff21\u00df")
    for raw in mutations(seed, *(name.encode() for name in good)):
        # The bytes of a lone surrogate are one here.
        text = raw.decode("utf-8", "surrogatepass") if is_text(raw) else raw.decode("latin-1")
        lookup_name(text)
        try:
            name = UserName(text)
        except InvalidName:
            continue
        taken += 1
        assert canonical_name(name.canonical) == name.canonical
        assert lookup_name(text) == name.canonical
        assert UserName(name.canonical).canonical == name.canonical
        assert "/" not in text
        text.encode()
    assert taken


def is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def test_tokens(seed: int) -> None:
    """Only what was issued here says anything, and it says what was issued."""
    tokens, others = JwtTokens("k" * 32), JwtTokens("o" * 32)
    good = [tokens.issue(user_id, NOW).encode() for user_id in (1, 7, 2**63 - 1)]
    issued = {tokens.verify(token.decode(), NOW) for token in good}
    for raw in mutations(seed, *good, others.issue(1, NOW).encode()):
        try:
            claims = tokens.verify(raw.decode("latin-1"), NOW)
        except InvalidToken:
            continue
        assert claims in issued


class Service:
    """The application, asked without a server in between."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def status(
        self, method: str, path: bytes, body: bytes = b"", query: bytes = b"", **headers: bytes
    ) -> int:
        # As servers do it.
        decoded = unquote_to_bytes(path).decode("utf-8", "replace")
        known = {"authorization": b"Bearer " + self._token, "content-type": b"application/json"}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": decoded,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.encode(), value) for name, value in (known | headers).items()],
            # Not limited, as long as no proxy is named.
            "client": None,  # Of no address, so that no guess is limited.
            "server": ("chatcore.test", 80),
        }
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._app(scope, receive, send)
        [status] = statuses
        return status


@pytest.fixture
async def service() -> Any:
    async with core(MemoryStore()) as (accounts, messenger):
        ann = await accounts.register("ann", PASSWORD)
        bob = await accounts.register("bob", PASSWORD)
        chat = await messenger.open_chat(ann, bob)
        await messenger.send(ann, chat, "hello")
        token = await accounts.log_in("ann", PASSWORD)
        yield Service(create_app(accounts, messenger), token)


async def test_bodies(seed: int, service: Service) -> None:
    sends = (b'{"message":"hello"}', '{"message":"\u00e9\U0001f600"}'.encode())
    posts = (b'{"text":"hello","idempotency_key":"k-1"}', b'{"text":"x","idempotency_key":null}')
    found = set()
    for body in mutations(seed, *sends, count=REQUESTS):
        found.add(await service.status("POST", b"/chats/bob/messages", body))
    assert found == {201, 400}
    for body in mutations(seed, *posts, count=REQUESTS):
        found.add(await service.status("POST", b"/v1/chats/1/messages", body))
    assert found == {201, 400, 422}


async def test_credentials(seed: int, service: Service) -> None:
    """Whatever is wrong with a login, it is told in one way."""
    good = (b'{"username":"ann","password":"short"}', b"[]")
    for body in mutations(seed, *good, count=REQUESTS):
        assert await service.status("POST", b"/login", body) == 401
    # Some make a password long enough, and with it an account.
    bodies = mutations(seed, *good, count=REQUESTS)
    found = {await service.status("POST", b"/register", body) for body in bodies}
    assert 400 in found
    assert found <= {201, 400}


async def test_paths(seed: int, service: Service) -> None:
    good = (
        b"/chats",
        b"/chats/messages/bob",
        b"/chat/bob",
        b"/v1/chats/1/messages/1",
        b"/v1/users/b%C3%B6b/chat",
        b"/v1/sync",
        b"/page/0/main.js",
    )
    found = set()
    for path in mutations(seed, *good, count=REQUESTS):
        if len(path) < 4096:
            found.add(await service.status("GET", b"/" + path.lstrip(b"/")))
    assert {200, 404} <= found <= {200, 400, 404, 405}


async def test_queries_and_headers(seed: int, service: Service) -> None:
    good = (b"limit=2&before=3", b"after=1", b"limit=200", b"around=1&limit=1")
    found = set()
    for query in mutations(seed, *good, count=REQUESTS):
        found.add(await service.status("GET", b"/chats/messages/bob", query=query))
        found.add(await service.status("GET", b"/v1/chats/1/messages", query=query))
    assert found == {200, 400}
    cursors = (b"after=0123456789abcdef-1-4", b"after=a-1-0&wait=0", b"wait=0")
    found = {
        await service.status("GET", b"/v1/events", query=query.replace(b"wait=", b"wait=0&x="))
        for query in mutations(seed, *cursors, count=REQUESTS)
    }
    assert found <= {200, 400}
    found = {
        await service.status("GET", b"/chats", authorization=b"Bearer " + raw)
        for raw in mutations(seed, service._token, count=REQUESTS)
    }
    assert found <= {200, 401}
