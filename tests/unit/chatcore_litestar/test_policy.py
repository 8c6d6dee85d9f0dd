"""The host's policy over HTTP: on every route that opens a chat or sends a message."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from chatcore import Accounts, Allow, Messenger, Refuse, Rewrite
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_litestar.v1.problems import _STATUSES, problem
from chatcore_memory import InsecureTestHasher, MemoryStore
from tests.support.api import Api, Someone, api_of, segment
from tests.support.apps import SECRET
from tests.support.policies import ScriptedPolicy


class Scene(NamedTuple):
    api: Api
    policy: ScriptedPolicy
    me: Someone
    peer: Someone
    stranger: Someone
    chat_id: int


class Stage(NamedTuple):
    """An application for the scenes of all tests."""

    api: Api
    policy: ScriptedPolicy
    peer: Someone

    async def scene(self) -> Scene:
        """Return new users on the stage, and a policy that allows everything."""
        self.policy.reset()
        me, stranger = await self.api.join("me"), await self.api.join("stranger")
        chat_id = (await self.api.open_chat(me, self.peer.name)).json()["chat_id"]
        self.policy.openings.clear()
        return Scene(self.api, self.policy, me, self.peer, stranger, chat_id)


@asynccontextmanager
async def stage_with(seconds: float) -> AsyncIterator[Stage]:
    store, policy = MemoryStore(), ScriptedPolicy()
    accounts = Accounts(store, InsecureTestHasher(), JwtTokens(SECRET))
    messenger = Messenger(store, policy=policy, policy_seconds=seconds)
    async with api_of(create_app(accounts, messenger)) as api:
        # One route has a path of its own for this name.
        await api.register("messages")
        token = (await api.log_in("messages")).json()["token"]
        yield Stage(api, policy, Someone("messages", token))


@pytest.fixture(scope="module")
async def patient() -> AsyncIterator[Stage]:
    # Long enough for any machine.
    async with stage_with(600) as stage:
        yield stage


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[Stage]:
    # An answer that comes at once is in time, however short the time and slow the machine.
    async with stage_with(0.001) as stage:
        yield stage


@pytest.fixture
async def scene(patient: Stage) -> Scene:
    return await patient.scene()


Call = Callable[[Scene], Awaitable[httpx.Response]]


def opens(method: str, path: str) -> Call:
    return lambda it: it.api.call(method, path.format(segment(it.stranger.name)), it.me)


def sends(path: str, field: str, by_peer: bool = False, **options: Any) -> Call:
    def call(it: Scene) -> Awaitable[httpx.Response]:
        sender, other = (it.peer, it.me) if by_peer else (it.me, it.peer)
        place = path.format(user=segment(other.name), chat=it.chat_id)
        return it.api.call("POST", place, sender, json={field: "hello"}, **options)

    return call


WITH_KEY: dict[str, Any] = {"headers": {"Idempotency-Key": "key"}}

OPENINGS = {
    "POST /chat/{user_name}": opens("POST", "/chat/{}"),
    "PUT /v1/users/{user_name}/chat": opens("PUT", "/v1/users/{}/chat"),
}
SENDS = {
    "POST /chats/{user_name}/messages": sends("/chats/{user}/messages", "message", by_peer=True),
    "POST /chats/messages/messages": sends("/chats/{user}/messages", "message"),
    "POST /v1/chats/{chat_id}/messages": sends("/v1/chats/{chat}/messages", "text"),
}
KEYED = {
    "POST /chats/{user_name}/messages": sends(
        "/chats/{user}/messages", "message", by_peer=True, **WITH_KEY
    ),
    "POST /chats/messages/messages": sends("/chats/{user}/messages", "message", **WITH_KEY),
    "POST /v1/chats/{chat_id}/messages": sends("/v1/chats/{chat}/messages", "text", **WITH_KEY),
}
REFUSALS = {
    "POST /chat/{user_name}": "Chat already exists or invalid user",
    "POST /chats/{user_name}/messages": "Invalid message or chat not found",
    "POST /chats/messages/messages": "Invalid message or chat not found",
}
EVERY = [*OPENINGS.items(), *SENDS.items(), *KEYED.items()]


def assert_refused(answer: httpx.Response, route: str, code: str) -> None:
    if route in REFUSALS:
        assert (answer.status_code, answer.json()) == (400, {"error": REFUSALS[route]})
        return
    assert answer.headers["content-type"] == "application/problem+json"
    problem = {"type": "about:blank", "title": "Forbidden", "status": 403, "code": code}
    assert (answer.status_code, answer.json()) == (403, problem)


async def test_the_routes_that_need_the_policy_are_tested(scene: Scene) -> None:
    document = (await scene.api.call("GET", "/schema/openapi.json")).json()
    writing = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("post", "put", "patch")
    }
    asking = {*OPENINGS, *SENDS} - {"POST /chats/messages/messages"}
    assert asking <= writing
    assert writing - asking == {
        *("POST /register", "POST /login", "POST /v1/logout-everywhere"),
        *("POST /v1/sessions", "POST /v1/sessions/renew"),
        *("PUT /v1/me/password", "PUT /v1/blocks/{user_name}", "PUT /v1/chats/{chat_id}/read"),
    }


@pytest.mark.parametrize(("route", "call"), EVERY)
async def test_refusal_has_the_code_of_the_policy_or_the_words_of_the_route(
    scene: Scene, route: str, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    scene.policy.opening, scene.policy.sending = Refuse("acme_no_order"), Refuse("acme_too_rude")
    answer = await call(scene)
    assert_refused(answer, route, "acme_no_order" if route in OPENINGS else "acme_too_rude")
    assert len(scene.policy.openings) + len(scene.policy.drafts) == 1
    assert await contents(scene) == ([], 1)
    assert [record for record in caplog.records if record.name == "chatcore"] == []


@pytest.mark.parametrize(("route", "call"), EVERY)
async def test_allowed_call_succeeds(scene: Scene, route: str, call: Call) -> None:
    assert (await call(scene)).status_code == 201
    assert len(scene.policy.openings) + len(scene.policy.drafts) == 1


@pytest.mark.parametrize(("route", "call"), SENDS.items())
async def test_answer_shows_the_rewritten_text(scene: Scene, route: str, call: Call) -> None:
    scene.policy.sending = Rewrite("h***o")
    body = (await call(scene)).json()
    assert body.get("text", body.get("message")) == "h***o"
    assert await contents(scene) == (["h***o"], 1)


@pytest.mark.parametrize(("route", "call"), KEYED.items())
async def test_retry_repeats_the_first_answer_whatever_the_policy_says(
    scene: Scene, route: str, call: Call
) -> None:
    scene.policy.sending = Rewrite("h***o")
    first = await call(scene)
    assert "idempotency-replayed" not in first.headers
    for answer in (Allow(), Refuse("acme_too_rude"), ZeroDivisionError()):
        scene.policy.sending = answer
        again = await call(scene)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotency-replayed"] == "true"
    assert len(scene.policy.drafts) == 1
    assert await contents(scene) == (["h***o"], 1)


@pytest.mark.parametrize(("route", "call"), EVERY)
async def test_failed_policy_is_a_503_and_logged(
    scene: Scene, route: str, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    scene.policy.opening = scene.policy.sending = ZeroDivisionError("a defect")
    answer = await call(scene)
    assert_unavailable(answer)
    assert await contents(scene) == ([], 1)
    [record] = [record for record in caplog.records if record.name == "chatcore"]
    assert answer.headers["x-request-id"] in record.getMessage()
    assert record.exc_info
    assert isinstance(record.exc_info[1], Exception)
    assert str(record.exc_info[1].__cause__) == "a defect"
    # A retry succeeds as soon as the policy does.
    scene.policy.opening = scene.policy.sending = Allow()
    assert (await call(scene)).status_code == 201


@pytest.mark.parametrize(("route", "call"), EVERY)
async def test_late_policy_is_a_503(hasty: Stage, route: str, call: Call) -> None:
    scene = await hasty.scene()
    scene.policy.seconds = 3600
    assert_unavailable(await call(scene))
    assert await contents(scene) == ([], 1)


def assert_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    if answer.request.url.path.startswith("/v1/"):
        assert answer.json()["code"] == "policy_unavailable"
    else:
        assert answer.json() == {"error": "Service Unavailable"}


async def test_chat_that_exists_is_found_without_the_policy(scene: Scene) -> None:
    scene.policy.opening = Refuse("acme_no_order")
    answer = await scene.api.ensure_chat(scene.me, scene.peer.name)
    assert (answer.status_code, answer.json()["chat_id"]) == (200, scene.chat_id)
    assert scene.policy.openings == []


async def test_users_of_the_draft_are_those_of_the_request(scene: Scene) -> None:
    await sends("/v1/chats/{chat}/messages", "text", **WITH_KEY)(scene)
    [draft] = scene.policy.drafts
    assert (draft.sender.name, draft.peer.name) == (scene.me.name, scene.peer.name)
    assert (draft.text, draft.idempotency_key, draft.actor.value) == ("hello", "key", "user")


def test_no_policy_can_use_a_code_of_the_routes() -> None:
    statuses = (400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503)
    for code in {*_STATUSES, *(problem(status).code for status in statuses)}:
        with pytest.raises(ValueError, match="code of chatcore"):
            Refuse(code)


async def contents(scene: Scene) -> tuple[list[str], int]:
    """The texts of the chat with the peer, and the number of my chats."""
    messages = (await scene.api.read(scene.me, scene.peer.name)).json()
    chats = (await scene.api.call("GET", "/chats", scene.me)).json()
    return [message["message"] for message in messages], len(chats)
