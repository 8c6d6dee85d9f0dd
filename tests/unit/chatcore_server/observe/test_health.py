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


class Checked(MemoryStore):
    """A store with a settable result of its check of writes, which counts the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.questions = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def end_of_log(self, user_id: int) -> Cursor:
        self.questions += 1
        return await super().end_of_log(user_id)

    async def check_writes(self) -> None:
        await self.answers.wait()
        if self.failing:
            raise StoreUnavailable("the database is read-only")


async def test_service_that_cannot_write_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0)
    store = Checked()
    ready = readiness(store, Streams(), store.check_writes)
    assert await ready()
    store.failing = True
    assert not await ready()
    store.failing = False
    assert await ready()


async def test_late_check_means_not_ready_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0)
    monkeypatch.setattr(health, "STORE_SECONDS", 0.01)
    store = Checked()
    store.answers.clear()
    ready = readiness(store, Streams(), store.check_writes)
    for _ in range(3):
        assert not await ready()
    # Neither cancelled nor begun again: a check that hangs must not use up connections.
    assert store.questions == 1
    store.answers.set()
    async with asyncio.timeout(60):
        while not await ready():
            pass


async def test_readiness_is_checked_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 3600)
    store = Checked()
    store.failing = True
    ready = readiness(store, Streams(), store.check_writes)
    assert await asyncio.gather(*(ready() for _ in range(100))) == [False] * 100
    store.failing = False
    assert not await ready()
    assert store.questions == 1
