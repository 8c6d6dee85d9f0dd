"""A host's own tokens through the routes: expiry, revoked keys, and an issuer that is down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from litestar import Litestar

from chatcore import Messenger
from chatcore.testing import VirtualClock
from chatcore_jwt import JwksKeys, JwtAuthenticator
from chatcore_jwt.keys import REFRESH_SECONDS, SERVE_SECONDS
from chatcore_litestar import Streams, create_app
from chatcore_memory import MemoryStore
from tests.support.api import Api, Someone, api_of
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, rsa_key
from tests.support.listening import Frame, Request

MINUTE = timedelta(seconds=60)


@dataclass
class Host:
    app: Litestar
    api: Api
    issuer: Issuer
    clock: VirtualClock
    messenger: Messenger

    async def get(self, path: str, token: str) -> httpx.Response:
        return await self.api.call("GET", path, Someone("", token))

    def stream(self, token: str) -> Request:
        path = "/v1/events"
        return Request(self.app, Someone("", token), path, accept="text/event-stream")


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    clock = VirtualClock()
    issuer = Issuer(clock)
    messenger = Messenger(MemoryStore(), realm=ISSUER, clock=clock)
    login = JwtAuthenticator(
        messenger.user,
        JwksKeys("https://x/", fetch=issuer.fetch, seconds=clock.seconds),
        issuer=ISSUER,
        audience=AUDIENCE,
        clock=clock,
    )
    app = create_app(
        messenger,
        authenticator=login,
        clock=clock,
        seconds=clock.seconds,
        streams=Streams(heartbeat_seconds=0.05),
    )
    async with api_of(app) as api:
        yield Host(app, api, issuer, clock, messenger)


async def test_two_users_of_an_issuer_chat() -> None:
    async with host() as on:
        ann, bob = [
            Someone(name, on.issuer.token(sub=sub, name=name))
            for sub, name in (("17", "Ann"), ("42", "Bob"))
        ]
        assert (await on.get("/v1/me", bob.token)).json() == {"user": "Bob", "handle": "42"}
        assert (await on.api.open_chat(ann, "42")).status_code == 201
        assert (await on.api.send(ann, "42", "hello")).json()["sender"] == "17"
        [item] = (await on.api.read(bob, "17")).json()
        assert item == {"sender": "17", "message": "hello"}


async def test_invalid_token_is_401_with_its_challenge() -> None:
    async with host() as on:
        for answer in (
            await on.get("/chats", "no.valid.token"),
            await on.get("/v1/chats", on.issuer.token("r1", rsa_key(1))),
            await on.get("/v1/chats", on.issuer.token(sub="two words")),
            await on.get("/chats", on.issuer.token() + "x" * 8192),
        ):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert (await on.api.call("GET", "/chats")).headers["www-authenticate"] == "Bearer"


async def test_stream_ends_when_the_token_expires() -> None:
    async with host() as on:
        token = on.issuer.token(exp=int(on.clock().timestamp()) + 30)
        async with on.stream(token) as stream:
            assert (await stream.frame()).data["type"] == "start"
            on.clock.advance(timedelta(seconds=30))
            assert await stream.event() == Frame({"type": "end", "reason": "expired"})
            await stream.ended()
        assert (await on.get("/chats", token)).status_code == 401


async def test_token_of_a_removed_key_ends_with_its_streams() -> None:
    async with host() as on:
        token = on.issuer.token()
        async with on.stream(token) as stream:
            assert (await stream.frame()).data["type"] == "start"
            del on.issuer.keys["r1"]
            on.clock.advance(timedelta(seconds=REFRESH_SECONDS))
            # The keys are read again with the next check of the session.
            assert (await stream.frame()).data["type"] == "heartbeat"
            while on.issuer.reads < 2:
                assert (await stream.frame()).data["type"] == "heartbeat"
            on.clock.advance(MINUTE)
            assert await stream.event() == Frame({"type": "end", "reason": "void"})
            await stream.ended()
        assert (await on.get("/chats", token)).status_code == 401


async def test_outage_of_the_issuer_is_a_503_and_never_an_acceptance() -> None:
    async with host() as on:
        token = on.issuer.token(exp=int(on.clock().timestamp()) + 10**5)
        on.issuer.up = False
        for path in ("/chats", "/v1/chats"):
            answer = await on.get(path, token)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["code"] == "authentication_unavailable"
        on.issuer.up = True
        on.clock.advance(timedelta(seconds=5))
        assert (await on.get("/chats", token)).status_code == 200
        on.issuer.up = False
        on.clock.advance(timedelta(seconds=SERVE_SECONDS - 1))
        assert (await on.get("/chats", token)).status_code == 200
        on.clock.advance(MINUTE)
        assert (await on.get("/chats", token)).status_code == 503


async def test_stream_closes_without_an_end_when_the_issuer_is_down_for_long() -> None:
    async with host() as on:
        token = on.issuer.token(exp=int(on.clock().timestamp()) + 10**5)
        async with on.stream(token) as stream:
            assert (await stream.frame()).data["type"] == "start"
            on.issuer.up = False
            on.clock.advance(timedelta(seconds=SERVE_SECONDS))
            await stream.closed()
            assert not any(b'"end"' in chunk for chunk in stream.chunks)


async def test_erased_user_cannot_come_back_with_the_same_handle() -> None:
    async with host() as on:
        token: Any = on.issuer.token()
        assert (await on.get("/v1/me", token)).status_code == 200
        await on.messenger.erase(await on.messenger.find_user("17"))
        for again in (token, on.issuer.token(name="New")):
            assert (await on.get("/v1/me", again)).status_code == 401
