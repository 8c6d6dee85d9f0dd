"""`/healthz` reports that the process runs, `/readyz` whether it can serve."""

import asyncio

import pytest

from chatcore import Cursor, StoreUnavailable
from chatcore_litestar import Streams
from chatcore_memory import MemoryStore
from chatcore_server.observe import health
from chatcore_server.observe.health import readiness
from tests.support.api import api_of
from tests.support.apps import app_on


class Failing(MemoryStore):
    async def end_of_log(self, user_id: int) -> Cursor:
        raise StoreUnavailable


class Silent(MemoryStore):
    async def end_of_log(self, user_id: int) -> Cursor:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    ("store", "status"), [(MemoryStore(), 200), (Failing(), 503), (Silent(), 503)]
)
async def test_service_is_ready_while_the_store_answers(
    store: MemoryStore, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == 503:
        monkeypatch.setattr(health, "STORE_SECONDS", 0.01)
    ready = readiness(store, Streams())
    async with app_on(store, ready=ready) as app, api_of(app) as api:
        answer = await api.call("GET", "/readyz")
        lives = await api.call("GET", "/healthz")
    assert (answer.status_code, lives.status_code) == (status, 200)
    assert lives.json() == {"status": "ok"}
    assert answer.json() == {"status": "ready" if status == 200 else "not ready"}
    for given in (answer, lives):
        assert given.headers["cache-control"] == "no-store"


async def test_stopping_service_is_not_ready() -> None:
    streams = Streams()
    ready = readiness(MemoryStore(), streams)
    assert await ready()
    streams.end_all()
    assert not await ready()


class Writes:
    """A fake write probe with a settable result, which counts its calls."""

    def __init__(self) -> None:
        self.failing = False
        self.hanging = False
        self.questions = 0

    async def check(self) -> None:
        self.questions += 1
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise StoreUnavailable("the database is read-only")


async def test_service_that_cannot_write_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "WRITE_SECONDS", 0)
    writes = Writes()
    ready = readiness(MemoryStore(), Streams(), writes.check)
    assert await ready()
    writes.failing = True
    assert not await ready()
    writes.failing = False
    assert await ready()
    writes.hanging = True
    monkeypatch.setattr(health, "STORE_SECONDS", 0.01)
    assert not await ready()


async def test_concurrent_readiness_checks_share_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WRITE_SECONDS", 3600)
    writes = Writes()
    writes.failing = True
    ready = readiness(MemoryStore(), Streams(), writes.check)
    assert await asyncio.gather(*(ready() for _ in range(100))) == [False] * 100
    writes.failing = False
    assert not await ready()
    assert writes.questions == 1
