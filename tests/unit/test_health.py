"""`/healthz` says that the process lives, `/readyz` whether it can serve."""

import asyncio

import pytest

from chatcore import Cursor, StoreUnavailable
from chatcore_litestar import Streams
from chatcore_memory import MemoryStore
from chatcore_server import health
from chatcore_server.health import readiness
from tests.integration.contract.api import api_of
from tests.integration.contract.apps import app_on


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
async def test_ready_while_the_store_answers(
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


async def test_a_service_that_stops_is_not_ready() -> None:
    streams = Streams()
    ready = readiness(MemoryStore(), streams)
    assert await ready()
    streams.end_all()
    assert not await ready()
