"""Failures behind the routes: the response, and the log line for the operator."""

import http
import logging
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatcore import ChatNotFound, NameTaken, Overloaded, StoreUnavailable
from chatcore_memory import MemoryStore
from tests.support.api import PASSWORD, Api, Someone, api_of, segment
from tests.support.apps import app_on, store_of_kind

TEXT = "a message that is nobody's business"


class Failing:
    """A store that works until `error` is set, and then raises it from every call."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        if self.error is not None:
            raise self.error
        return getattr(self._store, name)


class Scene:
    def __init__(self, store: Failing, api: Api, me: Someone, peer: Someone, chat: str) -> None:
        self.store = store
        self.me = me
        self._api = api
        self._peer = peer
        self._chat = chat

    async def ask_every_route(self) -> list[httpx.Response]:
        peer = segment(self._peer.name)
        account = {"username": "cyd", "password": PASSWORD}
        return [
            await self._api.call("POST", "/register", json=account),
            await self._api.call("POST", "/login", json=account),
            await self._api.call("GET", "/chats", self.me),
            await self._api.call("POST", f"/chat/{peer}", self.me),
            await self._api.call(
                "POST", f"/chats/{peer}/messages", self.me, json={"message": TEXT}
            ),
            await self._api.call("GET", f"/chats/messages/{peer}", self.me),
            await self._api.call("GET", f"/chats/messages/{peer}?limit=1", self.me),
            *await self.ask_v1(),
        ]

    async def ask_v1(self) -> list[httpx.Response]:
        peer = segment(self._peer.name)
        return [
            await self._api.call(method, path, self.me, json=body)
            for method, path, body in [
                ("GET", "/v1/sync", None),
                ("GET", "/v1/chats", None),
                ("GET", self._chat, None),
                ("PUT", f"/v1/users/{peer}/chat", None),
                ("PUT", f"{self._chat}/read", {"seq": 1}),
                ("GET", f"{self._chat}/messages", None),
                ("GET", f"{self._chat}/messages/1", None),
                ("POST", f"{self._chat}/messages", {"text": TEXT}),
                ("GET", "/v1/events", None),
            ]
        ]


@pytest.fixture(params=["a token known already", "a new token"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A service with a failing store. With a new token, the authentication fails first."""
    store: Any = Failing()
    async with app_on(store) as app, api_of(app) as api:
        ann, bob, chat = await api.chat_by_id()
        # The chat was opened by ann; bob's token has not been used yet.
        known = request.param == "a token known already"
        yield Scene(store, api, *((ann, bob) if known else (bob, ann)), chat)


def assert_says(answer: httpx.Response, status: int, code: str) -> None:
    """Check the status and the error code, in the format of the response's route."""
    title = http.HTTPStatus(status).phrase
    assert answer.status_code == status
    if answer.request.url.path.startswith("/v1/"):
        assert answer.headers["content-type"] == "application/problem+json"
        problem = {"type": "about:blank", "title": title, "status": status, "code": code}
        assert answer.json() == problem
    else:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"error": title}


async def test_unexpected_exception_is_a_500_and_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.store.error = ZeroDivisionError("a defect")
    for answer in await scene.ask_every_route():
        assert_says(answer, 500, "internal_server_error")
        assert_logged(caplog, answer, "ZeroDivisionError: a defect")


async def test_unexpected_domain_error_is_a_500_and_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.store.error = ChatNotFound()
    _, _, chats, *_ = await scene.ask_every_route()
    assert (chats.status_code, chats.json()) == (500, {"error": "Internal Server Error"})
    assert_logged(caplog, chats, "ChatNotFound")


async def test_unexpected_domain_error_under_v1_is_a_500_and_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.store.error = NameTaken("ann")
    for answer in await scene.ask_v1():
        assert_says(answer, 500, "internal_server_error")
        assert_logged(caplog, answer, "NameTaken")


async def test_unavailable_store_is_a_503_and_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.store.error = StoreUnavailable("disk full")
    for answer in await scene.ask_every_route():
        assert_says(answer, 503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert_logged(caplog, answer, "disk full")


async def test_overloaded_store_is_a_503_and_not_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.store.error = Overloaded("a thousand wait")
    for answer in await scene.ask_every_route():
        assert_says(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
    assert caplog.records == []


async def test_refusals_are_not_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.ask_every_route()
    assert [record for record in caplog.records if record.name != "httpx"] == []


async def test_log_contains_no_secrets(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.store.error = ZeroDivisionError("a defect")
    await scene.ask_every_route()
    log = "".join(logged(record) for record in caplog.records)
    assert "ZeroDivisionError" in log
    for secret in (PASSWORD, TEXT, scene.me.token):
        assert secret not in log


def assert_logged(caplog: pytest.LogCaptureFixture, answer: httpx.Response, what: str) -> None:
    """Check that the failure was logged once, with its traceback and the request id."""
    request_id = answer.headers["x-request-id"]
    [record] = [record for record in caplog.records if request_id in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.name == "chatcore"
    assert answer.request.method in record.getMessage()
    assert "Traceback" in logged(record)
    assert what in logged(record)


def logged(record: logging.LogRecord) -> str:
    return logging.Formatter().format(record)


async def test_log_omits_the_parameters_of_a_failed_statement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with store_of_kind("sqlalchemy", tmp_path) as store, app_on(store) as app:
        with closing(sqlite3.connect(tmp_path / "chatcore.db")) as database:
            for table in ("users", "messages"):
                database.execute(
                    f"CREATE TRIGGER broken_{table} BEFORE INSERT ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'broken'); END"
                )
        async with api_of(app) as api:
            assert (await api.register("ann")).status_code == 503
    log = "".join(logged(record) for record in caplog.records)
    assert "broken" in log
    assert not re.search(r"[0-9a-f]{32}\$[0-9a-f]{64}", log), "a password hash"
