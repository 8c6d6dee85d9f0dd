"""Every route refuses callers without a valid token and limits callers without the right."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from litestar import Litestar

from chatcore import Accounts, Clock, Messenger, User
from chatcore.model import utc_now
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_memory import MemoryStore
from tests.support.api import PASSWORD, Api, api_of
from tests.support.apps import SECRET, core

SECRET_TEXT = "only for the two"

OPEN = {
    *("GET /healthz", "GET /readyz", "POST /login", "POST /register"),
    *("POST /v1/sessions", "POST /v1/sessions/renew"),
}


@dataclass
class Case:
    """The status a route answers to an outsider of the chat, and to a user whom the peer blocks.

    ann and bob have chat 1. The outsider asks about ann as bob would; the blocked user is bob.
    """

    outsider: int
    blocked: int
    body: dict[str, Any] | None = field(default=None)


CASES = {
    "GET /chats": Case(200, 200),
    "POST /chats/{user_name}/messages": Case(400, 400, {"message": "hello"}),
    "GET /chats/messages/{user_name}": Case(404, 200),
    "GET /v1/sync": Case(200, 200),
    "GET /v1/chats": Case(200, 200),
    "GET /v1/chats/{chat_id}": Case(404, 200),
    "PUT /v1/chats/{chat_id}/read": Case(404, 200, {"seq": 1}),
    "GET /v1/chats/{chat_id}/messages": Case(404, 200),
    "POST /v1/chats/{chat_id}/messages": Case(404, 404, {"text": "hello"}),
    "GET /v1/chats/{chat_id}/messages/{seq}": Case(404, 200),
    "GET /v1/events": Case(200, 200),
    "GET /v1/blocks": Case(200, 200),
    "PUT /v1/blocks/{user_name}": Case(204, 204),
    "DELETE /v1/blocks/{user_name}": Case(204, 204),
    "GET /v1/me": Case(200, 200),
    "GET /v1/me/export": Case(200, 200),
    "GET /v1/me/sessions": Case(200, 200),
    "DELETE /v1/me/sessions/{session_id}": Case(404, 404),
    "PUT /v1/me/password": Case(
        403, 403, {"current_password": "a wrong one", "new_password": "correct horse battery"}
    ),
    "DELETE /v1/me": Case(403, 403, {"password": "a wrong one"}),
    "POST /v1/logout-everywhere": Case(204, 204),
    # Last: these give the outsider a chat with ann.
    "POST /chat/{user_name}": Case(201, 400),
    "PUT /v1/users/{user_name}/chat": Case(200, 200),
}


@dataclass
class Scene:
    accounts: Accounts
    messenger: Messenger
    api: Api
    ann: User
    bob: User
    app: Litestar
    session_id: str
    """A device session of ann."""

    async def ask(self, route: str, token: str | None) -> httpx.Response:
        method, _, path = route.partition(" ")
        path = path.format(user_name="ann", chat_id=1, seq=1, session_id=self.session_id)
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        body = CASES[route].body if route in CASES else {}
        return await self.api.call(method, path, headers=headers, json=body)

    async def log_in(self, name: str) -> str:
        return await self.accounts.log_in(name, PASSWORD)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with core(MemoryStore()) as (accounts, messenger):
        ann, bob, _ = [await accounts.register(name, PASSWORD) for name in ("ann", "bob", "eve")]
        chat = await messenger.open_chat(ann, bob)
        await messenger.send(ann, chat, SECRET_TEXT)
        session = await accounts.devices.sign_in("ann", PASSWORD, "ann's phone")
        app = create_app(accounts, messenger)
        async with api_of(app) as api:
            yield Scene(accounts, messenger, api, ann, bob, app, session.session_id)


async def test_every_route_is_covered(scene: Scene) -> None:
    paths = scene.app.openapi_schema.to_schema()["paths"]
    routes = {f"{method.upper()} {path}" for path in paths for method in paths[path]}
    assert routes == CASES.keys() | OPEN


def dated(clock: Clock, secret: str = SECRET) -> str:
    """A token for bob, issued at that time."""
    return JwtTokens(secret).issue(2, clock())


def unsigned() -> str:
    claims = {"exp": 2**40, "iat": 1, "user_id": 2}
    return jwt.encode(claims, "", algorithm="none")


def claiming(**claims: Any) -> str:
    now = int(utc_now().timestamp())
    return jwt.encode({"exp": now + 43200, "iat": now, "user_id": 2} | claims, SECRET)


INVALID_TOKENS = {
    "no token": None,
    "an empty token": "",
    "not a JWT": "abc",
    "expired": dated(lambda: utc_now() - timedelta(hours=13)),
    "signed with another key": dated(utc_now, "b" * 40),
    "unsigned": unsigned(),
    "of an unknown user": claiming(user_id=99),
    "of user 0": claiming(user_id=0),
    "with an extra claim": claiming(admin=True),
    "of an unknown session": claiming(sid="0" * 32),
    "without the id of its session": claiming(sid=None),
    "issued tomorrow": dated(lambda: utc_now() + timedelta(days=1)),
}


async def test_every_route_refuses_an_invalid_token(scene: Scene) -> None:
    for kind, token in INVALID_TOKENS.items():
        for route in CASES:
            answer = await scene.ask(route, token)
            assert answer.status_code == 401, (route, kind)
            assert answer.headers["www-authenticate"].startswith("Bearer"), (route, kind)
            assert SECRET_TEXT not in answer.text, (route, kind)


@pytest.mark.parametrize("how", ["erased", "logged out", "with a new password"])
async def test_revoked_tokens_are_refused_at_once(scene: Scene, how: str) -> None:
    token = await scene.log_in("bob")
    assert (await scene.ask("GET /chats", token)).status_code == 200
    calls = {
        "erased": ("DELETE", "/v1/me", {"password": PASSWORD}),
        "logged out": ("POST", "/v1/logout-everywhere", None),
        "with a new password": (
            "PUT",
            "/v1/me/password",
            {"current_password": PASSWORD, "new_password": "battery horse correct"},
        ),
    }
    method, path, body = calls[how]
    headers = {"authorization": f"Bearer {token}"}
    answer = await scene.api.call(method, path, headers=headers, json=body)
    assert answer.status_code in {200, 204}
    for route in CASES:
        answer = await scene.ask(route, token)
        assert answer.status_code == 401, route
        assert SECRET_TEXT not in answer.text, route


@pytest.mark.parametrize("how", ["ended", "erased", "logged out", "with a new password"])
async def test_tokens_of_an_ended_session_are_refused_at_once(scene: Scene, how: str) -> None:
    tokens = await scene.accounts.devices.sign_in("bob", PASSWORD, "bob's phone")
    token = tokens.access_token
    for route, case in CASES.items():
        if case.body is None and not route.startswith(("DELETE", "POST")):
            assert (await scene.ask(route, token)).status_code != 401, route
    if how == "ended":
        await scene.accounts.devices.end(scene.bob, tokens.session_id)
    elif how == "erased":
        await scene.accounts.erase(scene.bob, PASSWORD)
    elif how == "logged out":
        await scene.accounts.log_out_everywhere(scene.bob)
    else:
        await scene.accounts.reset_password("bob", "battery horse correct")
    for route in CASES:
        answer = await scene.ask(route, token)
        assert answer.status_code == 401, route
        assert SECRET_TEXT not in answer.text, route
    body = {"refresh_token": tokens.refresh_token}
    assert (await scene.api.call("POST", "/v1/sessions/renew", json=body)).status_code == 401


async def test_outsider_sees_nothing_of_a_chat(scene: Scene) -> None:
    for route, case in CASES.items():
        # A new login each time: some routes void the token.
        answer = await scene.ask(route, await scene.log_in("eve"))
        assert answer.status_code == case.outsider, route
        assert SECRET_TEXT not in answer.text, route
        assert "bob" not in answer.text, route
    chat = await scene.messenger.chat_with(scene.ann, "bob")
    [message] = (await scene.messenger.page(scene.ann, chat)).messages
    assert message.text == SECRET_TEXT
    assert (await scene.messenger.state(scene.ann, chat.id)).peer_read_seq == 0
    [session] = await scene.accounts.devices.sessions(scene.ann)
    assert session.id == scene.session_id


async def test_cursor_of_another_user_is_answered_with_a_reset(scene: Scene) -> None:
    cursor = (await scene.messenger.sync(scene.bob)).cursor.at(0)
    eve = await scene.log_in("eve")
    headers = {"authorization": f"Bearer {eve}"}
    answer = await scene.api.call("GET", f"/v1/events?after={cursor}", headers=headers)
    assert [event["type"] for event in answer.json()["events"]] == ["reset"]


async def test_blocked_user_keeps_the_history_and_sends_nothing(scene: Scene) -> None:
    await scene.messenger.block(scene.ann, scene.bob)
    before = (await scene.messenger.sync(scene.ann)).cursor
    for route, case in CASES.items():
        answer = await scene.ask(route, await scene.log_in("bob"))
        assert answer.status_code == case.blocked, route
        assert "block" not in answer.text or "/blocks" in route or "export" in route, route
    chat = await scene.messenger.chat_with(scene.ann, "bob")
    assert len((await scene.messenger.page(scene.ann, chat)).messages) == 1
    assert (await scene.messenger.state(scene.ann, chat.id)).peer_read_seq == 0
    assert (await scene.messenger.sync(scene.ann)).cursor == before
    assert [user.name for user in await scene.messenger.blocked_by(scene.ann)] == ["bob"]


async def test_blocked_chat_answers_like_a_missing_chat(scene: Scene) -> None:
    """Equal byte for byte, except for the ids."""
    await scene.messenger.block(scene.ann, scene.bob)
    bob, eve = await scene.log_in("bob"), await scene.log_in("eve")
    for route in ("POST /v1/chats/{chat_id}/messages", "POST /chats/{user_name}/messages"):
        blocked, outside = await scene.ask(route, bob), await scene.ask(route, eve)
        assert blocked.status_code == outside.status_code
        assert json.loads(blocked.text) == json.loads(outside.text)
        assert blocked.headers == outside.headers
