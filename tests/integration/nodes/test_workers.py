"""One service with two worker processes, which may end at any time."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.nodes.traffic import Traffic
from tests.support.api import api_at
from tests.support.clients import get
from tests.support.postgres_server import PostgresServer
from tests.support.service import COMMAND, QuickService, Service, environment, run
from tests.support.soak import SOAK, soak_only

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="needs /proc, which Linux has"
)

SECRET = "a secret of thirty-two bytes, or so"
WORKERS = 2
SENDERS = 8 if SOAK else 4
SECONDS = 300


@pytest.fixture
async def service(tmp_path: Path, postgres_url: str) -> AsyncIterator[Service]:
    settings = {"database_url": postgres_url, "secret": SECRET, "workers": str(WORKERS)}
    service = QuickService(tmp_path, **settings)
    await asyncio.to_thread(service.start)
    yield service
    await asyncio.to_thread(service.__exit__, None, None, None)


def workers_of(process: int) -> set[int]:
    """The live processes that it has started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, about = entry.read_text().rpartition(")")
        except OSError:  # The process has ended since the listing.
            continue
        state, parent, *_ = about.split()
        if int(parent) == process and state != "Z":
            found.add(int(entry.parent.name))
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 (a process has no event to wait for)
            await asyncio.sleep(0.05)


def has_ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def frozen(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def each_answers(service: Service, workers: set[int]) -> None:
    """Freeze each worker in turn; the other one answers new connections."""
    for worker in workers:
        with frozen(worker):
            for _ in range(5):
                url = f"{service.url}/healthz"
                answer = await asyncio.to_thread(get, url, timeout=SECONDS)
                assert answer.status_code == 200


async def test_killed_worker_is_replaced_without_loss(service: Service, postgres_url: str) -> None:
    workers = workers_of(service.process.pid)
    assert len(workers) == WORKERS
    await each_answers(service, workers)
    async with (
        api_at(service.url) as api,
        await SqlAlchemyStore.open(postgres_url) as store,
        asyncio.timeout(SECONDS),
    ):
        # Listeners hear over the bus of messages sent through the other process.
        traffic = await Traffic.gather(store, [api], SECRET, SENDERS)
        async with traffic.under_way():
            await traffic.all_have_sent()
            for killed in sorted(workers):
                os.kill(killed, signal.SIGKILL)
                await traffic.all_have_sent()
                await traffic.all_have_heard()
            await until(lambda: len(workers_of(service.process.pid) - workers) == WORKERS)
        assert await traffic.wrong() == []
    log = service.log()
    for killed in workers:
        assert f"worker process {killed} was killed by signal 9; restarting it" in log
    assert "Traceback" not in log


@soak_only
async def test_replacing_a_worker_is_retried(service: Service, postgres: PostgresServer) -> None:
    postgres.stop()
    try:
        killed, left = workers_of(service.process.pid)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: "cannot open the database" in service.log())
    finally:
        postgres.start()
    await until(lambda: len(workers_of(service.process.pid)) == WORKERS)
    # The replacement serves alone.
    os.kill(left, signal.SIGKILL)
    answer = await asyncio.to_thread(get, f"{service.url}/healthz", timeout=SECONDS)
    assert answer.status_code == 200


@soak_only
async def test_no_worker_outlives_its_supervisor(service: Service) -> None:
    workers = workers_of(service.process.pid)
    await asyncio.to_thread(service.kill)
    await until(lambda: all(map(has_ended, workers)))
    await asyncio.to_thread(service.start)
    workers = workers_of(service.process.pid)
    assert await asyncio.to_thread(service.stop) == 0
    assert all(map(has_ended, workers))


async def test_ctrl_c_on_a_terminal_stops_all_processes_cleanly(
    tmp_path: Path, postgres_url: str
) -> None:
    """At any time, also while the workers start."""
    settings = environment(database_url=postgres_url, secret=SECRET, workers="2", port="0")
    process = subprocess.Popen(  # noqa: ASYNC220 (it returns at once)
        [*COMMAND, "serve"],
        cwd=tmp_path,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    await until(lambda: workers_of(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    said, _ = await asyncio.to_thread(process.communicate, timeout=SECONDS)
    assert process.returncode == 0, said
    assert b"Traceback" not in said


def test_failure_to_start_is_reported_once(tmp_path: Path, empty_database: str) -> None:
    settings = {"database_url": empty_database, "secret": SECRET, "workers": "2", "port": "0"}
    refused = run("serve", cwd=tmp_path, **settings)
    assert (refused.returncode, refused.stdout) == (2, "")
    line = "the database has no tables of chatcore in the schema chatcore"
    assert refused.stderr == f"chatcore: {line}: run `chatcore migrate` first\n"
