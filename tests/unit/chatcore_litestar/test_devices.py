"""Device sessions over HTTP: one of two devices ends, here and on another node."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Litestar

from chatcore import InvalidToken, Messenger, RequestHead, Session
from chatcore_litestar import create_app
from chatcore_memory import MemoryStore
from tests.support.api import PASSWORD, Api, Someone, api_of
from tests.support.listening import Request
from tests.unit.chatcore_litestar.test_events import waiting
from tests.unit.chatcore_litestar.test_void import MINUTE, VOID, Nodes, nodes

pytestmark = pytest.mark.virtual_time


async def signed_in(api: Api, name: str, device: str = "phone") -> tuple[Someone, dict[str, Any]]:
    body = {"username": name, "password": PASSWORD, "device": device}
    answer = await api.call("POST", "/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    tokens = answer.json()
    return Someone(name, tokens["token"]), tokens


async def renew(api: Api, refresh_token: str) -> Any:
    return await api.call("POST", "/v1/sessions/renew", json={"refresh_token": refresh_token})


async def end(api: Api, by: Someone, tokens: dict[str, Any]) -> None:
    answer = await api.call("DELETE", f"/v1/me/sessions/{tokens['session_id']}", by)
    assert answer.status_code == 204


async def status(api: Api, by: Someone) -> int:
    return (await api.call("GET", "/chats", by)).status_code


@contextmanager
def at_once() -> Iterator[None]:
    """Expect that no virtual time passes: nothing waits for a heartbeat or a timer."""
    time = asyncio.get_running_loop().time
    before = time()
    yield
    assert time() == before


async def two_devices(room: Nodes) -> tuple[Someone, dict[str, Any], Someone]:
    """Bob's phone, its tokens, and his laptop."""
    phone, tokens = await signed_in(room.api, room.here.bob.name)
    laptop, _ = await signed_in(room.api, room.here.bob.name, "laptop")
    return phone, tokens, laptop


async def test_device_that_is_ended_stops_at_once_while_others_go_on() -> None:
    async with nodes() as room:
        phone, tokens, laptop = await two_devices(room)
        async with (
            room.here.stream(by=phone) as ended,
            room.here.stream(by=laptop) as kept,
            room.here.stream() as of_login,
        ):
            poll = room.here.poll("?wait=30", by=phone)
            for opened in (ended, kept, of_login):
                assert (await opened.frame()).data["type"] == "start"
            await waiting(room.here, 4)
            assert await status(room.api, phone) == 200
            with at_once():
                await end(room.api, laptop, tokens)
                assert await ended.frame() == VOID
                await ended.ended()
                assert (await poll.answer())["code"] == "unauthorized"
                assert await status(room.api, phone) == 401
            assert await status(room.api, laptop) == 200
            assert (await renew(room.api, tokens["refresh_token"])).status_code == 401
            await room.here.send("for the laptop")
            for opened in (kept, of_login):
                assert (await opened.event()).data["message"]["text"] == "for the laptop"


async def test_device_that_is_ended_stops_within_a_minute_on_another_node() -> None:
    async with nodes(heartbeat_seconds=0.05) as room:
        phone, tokens, laptop = await two_devices(room)
        async with room.here.stream(by=phone) as ended, room.here.stream(by=laptop) as kept:
            for opened in (ended, kept):
                await opened.frame()
            assert await status(room.api, phone) == 200
            await end(room.elsewhere, laptop, tokens)
            assert await status(room.elsewhere, phone) == 401
            # The token was checked a moment ago.
            assert await status(room.api, phone) == 200
            assert (await ended.frame()).data == {"type": "heartbeat"}
            room.wait(MINUTE)
            assert await ended.event() == VOID
            await ended.ended()
            assert await status(room.api, phone) == 401
            assert await status(room.api, laptop) == 200
            await room.here.send("for the laptop")
            assert (await kept.event()).data["message"]["text"] == "for the laptop"


async def test_export_names_the_devices() -> None:
    async with nodes() as room:
        phone, tokens, laptop = await two_devices(room)
        await signed_in(room.api, room.here.ann.name, "tablet")
        listed = (await room.api.call("GET", "/v1/me/sessions", phone)).json()["sessions"]
        answer = await room.api.call("GET", "/v1/me/export", phone)
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines[0]["type"] == "user"
        assert [line for line in lines if line["type"] == "session"] == lines[1:3]
        for line, session in zip(lines[1:3], listed, strict=True):
            del session["current"]
            assert line == {"type": "session", **session}
        await end(room.api, laptop, tokens)
        answer = await room.api.call("GET", "/v1/me/export", laptop)
        assert answer.text.count('"type":"session"') == 1


async def test_export_of_a_session_that_ends_is_cut_off() -> None:
    async with nodes() as room:
        phone, tokens, laptop = await two_devices(room)
        room.store.interruption = lambda: end(room.api, laptop, tokens)
        cut = Request(room.here.app, phone, "/v1/me/export")
        await cut.task
        assert b'"type":"end"' not in b"".join(cut.chunks)


async def test_theft_ends_the_session_and_its_streams_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The answer of a renewal is lost, the renewal is repeated, and its token used again later."""
    caplog.set_level(logging.WARNING)
    async with nodes() as room:
        phone, tokens, laptop = await two_devices(room)
        lost = (await renew(room.api, tokens["refresh_token"])).json()
        again = (await renew(room.elsewhere, tokens["refresh_token"])).json()
        assert again["refresh_token"] == lost["refresh_token"]
        async with room.here.stream(by=phone) as stream:
            await stream.frame()
            room.wait(MINUTE)
            with at_once():
                answer = await renew(room.api, tokens["refresh_token"])
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
                assert await stream.event() == VOID
                await stream.ended()
        assert (await renew(room.api, lost["refresh_token"])).status_code == 401
        assert await status(room.api, Someone(phone.name, again["token"])) == 401
        assert await status(room.api, laptop) == 200
    [record] = caplog.records
    assert tokens["session_id"] in record.getMessage()
    assert tokens["refresh_token"] not in record.getMessage()


async def test_cached_session_reads_nothing() -> None:
    async with nodes() as room:
        phone, _ = await signed_in(room.api, room.here.bob.name)
        assert await status(room.api, phone) == 200
        room.store.questions = 0
        reads: list[str] = []
        read = room.store.session_by_id

        async def counted(session_id: str, now_us: int) -> Any:
            reads.append(session_id)
            return await read(session_id, now_us)

        room.store.session_by_id = counted  # type: ignore[method-assign]
        for _ in range(5):
            assert await status(room.api, phone) == 200
        assert reads == []
        assert room.store.questions == 0
        room.wait(MINUTE)
        assert await status(room.api, phone) == 200
        assert len(reads) == 1


async def test_sign_in_counts_as_a_login() -> None:
    async with nodes() as room:
        name = room.here.bob.name
        headers = {"x-forwarded-for": "192.0.2.1"}
        wrong = {"username": name, "password": "a wrong one", "device": "phone"}
        statuses = []
        for _ in range(70):
            answer = await room.api.call("POST", "/v1/sessions", json=wrong, headers=headers)
            statuses.append(answer.status_code)
        assert statuses[:5] == [403] * 5
        assert statuses[-1] == 429
        answer = await room.api.call("POST", "/login", json=wrong, headers=headers)
        assert answer.status_code == 429


class HostLogin:
    ambient = False

    def credential(self, request: RequestHead) -> str | None:
        return request.bearer_token()

    async def session(self, credential: object) -> Session:
        raise InvalidToken


def routes(app: Litestar) -> set[str]:
    return set(app.openapi_schema.to_schema()["paths"])


async def test_sessions_of_a_host_are_the_hosts_business() -> None:
    app = create_app(Messenger(MemoryStore(), realm="shop"), authenticator=HostLogin())
    assert not [path for path in routes(app) if "session" in path]
    async with api_of(app) as api:
        for method, path in (
            ("POST", "/v1/sessions"),
            ("POST", "/v1/sessions/renew"),
            ("GET", "/v1/me/sessions"),
            ("DELETE", f"/v1/me/sessions/{'0' * 32}"),
        ):
            assert (await api.call(method, path, json={})).status_code == 404
