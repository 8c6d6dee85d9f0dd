"""The service on PostgreSQL: the same command with another URL."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.chatcore_server import test_service
from tests.support.api import api_at
from tests.support.apps import SECRET
from tests.support.clients import client_at, get
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService, Service, run


@pytest.fixture
def service(tmp_path: Path, postgres_url: str) -> Iterator[Service]:
    with QuickService(tmp_path, database_url=postgres_url, secret=SECRET) as service:
        yield service


async def test_service_works_after_restarts_of_itself_and_of_postgresql(
    service: Service, postgres: PostgresServer
) -> None:
    async with api_at(service.url) as api:
        ann, bob = await api.chat()
        assert (await api.send(ann, bob.name, "one")).status_code == 201
        postgres.stop(signal.SIGQUIT)
        lost = await api.send(ann, bob.name, "lost")
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        for _ in range(9):
            assert (await api.read(ann, bob.name)).status_code == 503
        postgres.start()
        assert (await api.send(bob, ann.name, "two")).status_code == 201
        service.restart()
        log = service.log()
        assert 1 <= log.count(" ERROR request ") <= 3
        assert "WARNING the database failed 10 times in " in log
        # Tokens are valid on every node that has the secret.
        shown = await api.read(ann, bob.name)
        assert [item["message"] for item in shown.json()] == ["one", "two"]


@pytest.mark.parametrize("sends", [True, False])
async def test_service_is_not_ready_while_the_database_is_read_only(
    sends: bool, service: Service, postgres: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)

    async def until_ready(status: int) -> None:
        with client_at(service.url) as http:
            await asyncio.to_thread(test_service.until_ready, http, status)

    async with api_at(service.url) as api:
        ann, bob = await api.chat()
        await until_ready(200)
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.kill_backends(name)
        if sends:
            assert (await api.send(ann, bob.name, "lost")).status_code == 503
        await until_ready(503)
        assert (await api.read(ann, bob.name)).status_code == 200
        assert (await api.send(ann, bob.name, "lost")).status_code == 503
        postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until_ready(200)
        assert (await api.send(ann, bob.name, "two")).status_code == 201


def test_service_stops_while_postgresql_is_frozen(
    service: Service, postgres: PostgresServer
) -> None:
    with postgres.frozen():
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(50)  # Ten times the promised limit.


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["migrate"]])
def test_failure_to_start_is_one_line(command: list[str], tmp_path: Path) -> None:
    url = f"postgresql://ann:between-us@/chat?host={tmp_path}"
    done = run(*command, cwd=tmp_path, database_url=url, secret=SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("chatcore: cannot open the database")
    assert "between-us" not in line


def test_service_starts_once_migrate_has_made_the_tables(
    tmp_path: Path, empty_database: str
) -> None:
    settings = {"database_url": empty_database, "secret": SECRET}
    done = run("serve", "--port", "0", cwd=tmp_path, **settings)
    assert done.returncode == 2
    assert "`chatcore migrate` first" in done.stderr
    assert run("migrate", cwd=tmp_path, **settings).returncode == 0
    with QuickService(tmp_path, **settings) as service:
        assert get(f"{service.url}/healthz").status_code == 200


async def test_nodes_that_migrate_concurrently_make_the_tables_once(
    tmp_path: Path, empty_database: str
) -> None:
    settings = {"database_url": empty_database, "secret": SECRET}
    nodes = [QuickService(tmp_path / f"node-{number}", **settings) for number in range(2)]

    def begin(node: Service) -> str:
        node.folder.mkdir()
        migrated = run("migrate", cwd=node.folder, **settings)
        assert (migrated.returncode, migrated.stderr) == (0, "")
        node.start()
        return migrated.stdout

    with ExitStack() as stack:
        for node in nodes:
            stack.push(lambda *raised, node=node: node.__exit__(*raised))
        said = await asyncio.gather(*(asyncio.to_thread(begin, node) for node in nodes))
        assert sum("before: empty" in line for line in said) == 1
        assert sum("Nothing to do" in line for line in said) == len(nodes) - 1


def test_service_without_a_secret_does_not_start(tmp_path: Path, postgres_url: str) -> None:
    done = run("serve", "--port", "0", cwd=tmp_path, database_url=postgres_url)
    assert done.returncode == 2
    assert "CHATCORE_SECRET is missing" in done.stderr
