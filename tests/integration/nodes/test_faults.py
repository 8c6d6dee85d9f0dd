"""Three services on one PostgreSQL and one bus, through every fault of their surroundings."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest

from chatcore_sqlalchemy import SqlAlchemyStore, migrate
from tests.integration.nodes.traffic import Traffic
from tests.support.api import api_at
from tests.support.bus_servers import BUSES, Bus
from tests.support.figures import Figures
from tests.support.postgres_server import PostgresServer
from tests.support.service import QuickService, Service
from tests.support.soak import SOAK, long

NODES = 3
SECRET = "a secret that all of the nodes share"
RECOVERY_SECONDS = 300
"""Much longer than a recovery takes: its duration is printed, not judged."""
BUS_NAMES = {"valkey": "Valkey", "nats": "NATS"}
ONE_IS_ENOUGH = "with CHATCORE_SOAK=1; the short form has Valkey alone"
SENDERS_PER_NODE = 16 if SOAK else 4
ROUNDS = 3

pytestmark = long


class Faults:
    """The faults. Each method returns when everything works again."""

    def __init__(
        self,
        nodes: Sequence[Service],
        postgres: PostgresServer,
        database: str,
        bus: Bus | None,
    ) -> None:
        self._nodes = nodes
        self._postgres = postgres
        self._database = database
        self._bus = bus
        self._random = Random(1)

    async def kill_a_node(self) -> None:
        node = self._random.choice(self._nodes)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(node.start)

    async def end_the_sessions(self) -> None:
        for _ in range(5):
            await asyncio.to_thread(self._postgres.kill_backends, self._database)
            await asyncio.sleep(0.2)

    async def restart_postgres(self) -> None:
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.sleep(1)
        await asyncio.to_thread(self._postgres.start)

    async def freeze_postgres(self, seconds: float) -> None:
        with self._postgres.frozen():
            await asyncio.sleep(seconds)

    async def kill_the_bus(self) -> None:
        assert self._bus is not None
        await asyncio.to_thread(self._bus.server.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(self._bus.server.start)

    async def freeze_the_bus(self, seconds: float) -> None:
        assert self._bus is not None
        with self._bus.server.frozen():
            await asyncio.sleep(seconds)


class Run:
    """Applies faults to a cluster in use and measures the time to recover."""

    def __init__(self, traffic: Traffic, faults: Faults) -> None:
        self._traffic = traffic
        self.faults = faults
        self.recoveries: dict[str, list[tuple[float, float]]] = {}

    async def survive(self, name: str, fault: Callable[[], Awaitable[None]]) -> None:
        await fault()
        healed = time.monotonic()

        async def seconds_until(recovered: Awaitable[None]) -> float:
            async with asyncio.timeout(RECOVERY_SECONDS):
                await recovered
            return time.monotonic() - healed

        heard, sent = await asyncio.gather(
            seconds_until(self._traffic.all_have_heard()),
            seconds_until(self._traffic.all_have_sent()),
        )
        self.recoveries.setdefault(name, []).append((heard, sent))


@asynccontextmanager
async def cluster(
    folder: Path, postgres: PostgresServer, bus: Bus | None
) -> AsyncIterator[tuple[Run, Traffic]]:
    database = postgres.new_database()
    await migrate(postgres.url(database))
    settings = {"database_url": postgres.url(database), "secret": SECRET}
    if bus is not None:
        settings["bus_url"] = bus.url
    nodes = [QuickService(folder / f"node-{number}", **settings) for number in range(NODES)]
    async with AsyncExitStack() as stack:
        for node in nodes:
            node.folder.mkdir()
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
        for node in nodes:
            stack.callback(node.stop)
        apis = [await stack.enter_async_context(api_at(node.url)) for node in nodes]
        store = await stack.enter_async_context(await SqlAlchemyStore.open(postgres.url(database)))
        traffic = await Traffic.gather(store, apis, SECRET, SENDERS_PER_NODE)
        run = Run(traffic, Faults(nodes, postgres, database, bus))
        async with traffic.under_way():
            await traffic.all_have_sent()
            yield run, traffic
        assert await traffic.wrong() == []
    await asyncio.to_thread(postgres.drop_database, database)


def note(figures: Figures, name: str, run: Run, traffic: Traffic) -> None:
    count = sum(map(len, run.recoveries.values()))
    figures.survived(count, f"faults of 3 nodes, doorbells through {name}", traffic.ledger)
    statuses = ", ".join(f"{n:,} × {status}" for status, n in sorted(traffic.statuses.items()))
    figures.note(f"  answers (0: none): {statuses}")
    for fault, times in run.recoveries.items():
        heard, sent = (max(seconds) for seconds in zip(*times, strict=True))
        figures.note(
            f"  {len(times)} × {fault}: all had caught up after {heard:.1f} s at most, "
            f"and sent again after {sent:.1f} s"
        )


@pytest.mark.parametrize("name", ["valkey", "nats"])
async def test_cluster_survives_faults_of_nodes_database_and_bus(
    name: str, tmp_path: Path, postgres: PostgresServer, soak: bool, figures: Figures
) -> None:
    if name != "valkey" and not soak:
        pytest.skip(ONE_IS_ENOUGH)
    with BUSES[name]() as bus:
        async with cluster(tmp_path, postgres, bus) as (run, traffic):
            faults = run.faults
            for _ in range(ROUNDS if soak else 1):
                await run.survive("killed a node", faults.kill_a_node)
                await run.survive("ended all sessions, 5 times", faults.end_the_sessions)
                await run.survive("restarted PostgreSQL", faults.restart_postgres)
                await run.survive("killed the bus", faults.kill_the_bus)
                for seconds in (2, 17) if soak else (2,):
                    fault = f"froze the bus for {seconds} s"
                    await run.survive(fault, partial(faults.freeze_the_bus, seconds))
        note(figures, BUS_NAMES[name], run, traffic)


async def test_cluster_survives_faults_with_notify_as_its_bus(
    tmp_path: Path, postgres: PostgresServer, soak: bool, figures: Figures
) -> None:
    if not soak:
        pytest.skip(ONE_IS_ENOUGH)
    async with cluster(tmp_path, postgres, None) as (run, traffic):
        faults = run.faults
        for _ in range(ROUNDS):
            await run.survive("killed a node", faults.kill_a_node)
            await run.survive("ended all sessions, 5 times", faults.end_the_sessions)
            await run.survive("restarted PostgreSQL", faults.restart_postgres)
            for seconds in (2, 17):
                name = f"froze PostgreSQL for {seconds} s"
                await run.survive(name, partial(faults.freeze_postgres, seconds))
    note(figures, "PostgreSQL", run, traffic)
