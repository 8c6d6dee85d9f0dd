"""The service rings and listens on the bus of its settings."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatcore import Cursor, UserName
from chatcore_jwt import JwtTokens
from chatcore_memory import MemoryStore
from chatcore_notify import NotifyDoorbell
from chatcore_server.doorbells import open_doorbell
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import Someone, api_at
from tests.support.bus_servers import BUSES, Bus
from tests.support.service import COMMAND, QuickService, Service, environment
from tests.support.soak import soak_only
from tests.support.sse import stream

SECONDS = 180
SECRET = "a secret of thirty-two bytes, or so"


@pytest.fixture(scope="module", params=["notify", "valkey", "nats"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    with BUSES[request.param]() as bus:
        yield bus


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Service]:
    service = QuickService(folder, secret=SECRET, **settings)
    await asyncio.to_thread(service.start)
    try:
        yield service
    finally:
        await asyncio.to_thread(service.stop)


async def test_message_rings_on_the_bus(bus: Bus, tmp_path: Path, postgres_url: str) -> None:
    settings = {"database_url": postgres_url}
    if bus.url.startswith("postgresql"):
        # No setting names this bus: the doorbell is in the database.
        bus = Bus(bus.server, postgres_url, NotifyDoorbell.open)
    else:
        settings["bus_url"] = bus.url
    async with await SqlAlchemyStore.open(postgres_url) as store:
        ann = await store.add_user(UserName("ann"), "no password", 0)
        bob = await store.add_user(UserName("bob"), "no password", 0)
        chat = await store.open_chat(ann.id, bob.id, 0)
        by = Someone("ann", JwtTokens(SECRET).issue(ann.id, datetime.now(UTC)))
        async with (
            asyncio.timeout(SECONDS),
            serving(tmp_path, **settings) as service,
            api_at(service.url) as api,
        ):
            cursor = (await api.call("GET", "/v1/sync", by)).json()["cursor"]
            parsed = Cursor.parse(cursor)
            assert parsed is not None
            async with (
                await bus.doorbell(f"chatcore_{parsed.log}") as doorbell,
                stream(api.client, by, cursor) as followed,
            ):
                rung = {ann.id: asyncio.Event(), bob.id: asyncio.Event()}
                for user_id, woken in rung.items():
                    doorbell.listen(user_id, woken.set)
                path = f"/v1/chats/{chat.id}/messages"
                await api.call("POST", path, by, json={"text": "hello"})
                for woken in rung.values():
                    await woken.wait()
                frame = await followed.frame()
                assert frame is not None
                assert frame.data["message"]["text"] == "hello"
    assert "no connection" not in service.log()


async def test_unreachable_bus_is_logged(tmp_path: Path, postgres_url: str) -> None:
    url = "valkey://:pass-word@127.0.0.1:9"
    async with serving(tmp_path, database_url=postgres_url, bus_url=url) as service:
        pass
    assert service.log().count("no connection to Valkey at 127.0.0.1:9 (") == 1
    assert "pass-word" not in service.log()


@pytest.mark.parametrize(
    "url",
    [
        "amqp://:pass-word@host",
        "redis://:pass-word/@host",
        "postgresql://a:pass-word@host,other/chat?target_session_attrs=standby",
        "postgresql://a:pass-word@host/chat?sslmode=pass-word",
    ],
)
async def test_invalid_bus_url_is_refused(url: str) -> None:
    settings = Settings.read({"CHATCORE_BUS_URL": url, "CHATCORE_SECRET": SECRET}, {})
    with pytest.raises(CannotStart, match="CHATCORE_BUS_URL is not valid") as refusal:
        async with open_doorbell(settings, MemoryStore()):
            pass
    assert "pass-word" not in str(refusal.value)


@soak_only
async def test_service_with_an_invalid_bus_url_does_not_start(
    tmp_path: Path, postgres_url: str
) -> None:
    url = "redis://:pass-word/@host"
    settings = environment(database_url=postgres_url, secret=SECRET, bus_url=url, port="0")
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, "serve"],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("chatcore: CHATCORE_BUS_URL is not valid; expected valkey://host")
    assert done.stderr.count("\n") == 1
    assert "pass-word" not in done.stdout + done.stderr


def test_no_bus_client_is_imported_without_a_url() -> None:
    code = (
        "import sys, chatcore_server.app;"
        "print(*{'asyncpg', 'nats', 'redis', 'chatcore_notify'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
