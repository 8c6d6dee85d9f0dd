"""Several hosts in one URL, among them a standby and one that never answers."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from chatcore import UserName
from chatcore_notify import NotifyDoorbell
from chatcore_postgres import read_url, servers
from chatcore_postgres.servers import NoServer, Servers
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from tests.support.apps import SECRET
from tests.support.postgres_proxy import proxy_to
from tests.support.postgres_server import PostgresServer, name_of, postgres_server
from tests.support.service import run
from tests.support.silent import Silent, silent_server

SECONDS = 180
T = TypeVar("T")


@pytest.fixture(scope="module")
def name(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database on the primary, with the tables of chatcore."""
    name = postgres.new_database(migrated_template)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def standby(name: str) -> Iterator[PostgresServer]:
    """A standby that has such a database, too."""
    with postgres_server() as server:
        server.sql(f"CREATE DATABASE {name}")
        asyncio.run(migrate(server.url(name)))
        server.become_standby()
        yield server


@pytest.fixture
async def silent() -> AsyncIterator[Silent]:
    async with silent_server() as silent:
        yield silent


def url_of(database: str, *places: PostgresServer | Silent | Path, query: str = "") -> str:
    """A URL of these servers, in this order. A path is that of no server."""
    hosts, ports = [], []
    for place in places:
        if isinstance(place, Silent):
            hosts.append("127.0.0.1")
            ports.append(str(place.port))
        else:
            hosts.append(str(place if isinstance(place, Path) else place.socket.parent))
            ports.append("")
    where = f"host={','.join(hosts)}&port={','.join(ports)}"
    return f"postgresql://postgres@/{database}?{where}{query}"


@pytest.fixture
def patiently(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], Awaitable[T]]], Awaitable[T]]:
    """Does something with ever longer limits for each server: a busy machine must not take a slow
    server for a silent one."""

    async def patiently(work: Callable[[], Awaitable[T]]) -> T:
        for limit in (0.25, 0.5, 1, 2, 4, 8, 16, 32):
            monkeypatch.setattr(servers, "CONNECT_SECONDS_EACH", limit)
            try:
                return await work()
            except (CannotOpen, NoServer) as error:
                failure = error
        raise failure

    return patiently


async def test_store_finds_the_primary_behind_a_silent_host_and_a_standby(
    silent: Silent,
    standby: PostgresServer,
    postgres: PostgresServer,
    name: str,
    patiently: Any,
) -> None:
    url = url_of(name, silent, standby, postgres)
    async with asyncio.timeout(SECONDS):
        async with await patiently(lambda: SqlAlchemyStore.open(url)) as store:
            tried = silent.connections
            assert tried
            added = await store.add_user(UserName("ann"), "no hash", 0)
            await asyncio.gather(*(store.user_by_id(added.id) for _ in range(50)))
            # The good one came first.
            assert silent.connections == tried
    async with await SqlAlchemyStore.open(postgres.url(name)) as store:
        assert await store.user_by_id(added.id) == added


async def test_doorbells_ring_through_the_primary(
    silent: Silent,
    standby: PostgresServer,
    postgres: PostgresServer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A doorbell tries again until it is heard.
    monkeypatch.setattr(servers, "CONNECT_SECONDS_EACH", 1)
    url = url_of(name, silent, standby, postgres)
    woken = asyncio.Event()
    async with (
        asyncio.timeout(SECONDS),
        await NotifyDoorbell.open(url) as here,
        await NotifyDoorbell.open(url) as there,
    ):
        there.listen(7, woken.set)
        while not woken.is_set():
            here.ring([7])
            await asyncio.sleep(0.01)
    assert silent.connections


async def test_promoted_standby_is_found(
    standby: PostgresServer, name: str, tmp_path: Path, patiently: Any
) -> None:
    url = url_of(name, tmp_path, standby)
    found = Servers(read_url(url))
    with pytest.raises(NoServer, match="the server is a standby"):
        await found.connect({})
    of_standby = Servers(read_url(f"{url}&target_session_attrs=standby"))
    reading = await patiently(lambda: of_standby.connect({}))
    assert found.misfit(reading)
    await asyncio.to_thread(standby.sql, "SELECT pg_promote()")
    try:
        writing = await patiently(lambda: found.connect({}))
        assert found.misfit(writing) is None
        # Older sessions hear of it, too.
        async with asyncio.timeout(SECONDS):
            while found.misfit(reading):
                await reading.execute("SELECT 1")
        for session in (reading, writing):
            await session.close()
    finally:
        await asyncio.to_thread(standby.become_standby)


async def test_commands_that_write_refuse_a_url_of_a_standby(
    standby: PostgresServer, name: str, tmp_path: Path
) -> None:
    url = f"{standby.url(name)}&target_session_attrs=standby"
    settings = {"database_url": url, "secret": SECRET}
    for command in (["serve", "--port", "0"], ["migrate"]):
        done = await asyncio.to_thread(run, *command, cwd=tmp_path, **settings)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(
            "chatcore: target_session_attrs=standby in the PostgreSQL URL"
        )
        assert done.stderr.count("\n") == 1
    done = await asyncio.to_thread(run, "check", cwd=tmp_path, **settings)
    assert (done.returncode, done.stderr) == (0, "")


async def test_server_that_is_read_only_by_a_setting_takes_no_writes(
    postgres: PostgresServer, postgres_url: str
) -> None:
    url = f"{postgres_url}&target_session_attrs=read-write"
    name = name_of(postgres_url)
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(CannotOpen, match="the server is read-only by a setting"):
        await SqlAlchemyStore.open(url)
    postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    async with await SqlAlchemyStore.open(url):
        pass


async def test_parameters_of_libpq_do_not_reach_the_server(postgres_url: str) -> None:
    url = (
        f"{postgres_url}&connect_timeout=60&keepalives=1&keepalives_idle=9&tcp_user_timeout=9"
        "&gssencmode=prefer&channel_binding=prefer&fallback_application_name=fallen&sslcompression=0"
    )
    session = await Servers(read_url(url)).connect({"application_name": "own"})
    assert await session.fetchval("SHOW application_name") == "fallen"
    await session.close()


async def test_place_and_password_may_be_in_the_files_of_libpq(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = name_of(postgres_url)
    services, passwords = tmp_path / "services", tmp_path / "passwords"
    services.write_text(f"[chat]\nhost={postgres.socket.parent}\ndbname={name}\nuser=somebody\n")
    # A socket counts as localhost.
    passwords.write_text("one:*:*:somebody:wrong\nlocalhost:5432:*:somebody:pass:word/1\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    for url in (
        f"postgresql:///?service=chat&passfile={passwords}",
        f"{postgres.url(name, 'somebody')}&passfile={passwords}",
    ):
        session = await Servers(read_url(url)).connect({})
        found = await session.fetchrow("SELECT current_user::text, current_database()::text")
        await session.close()
        assert tuple(found) == ("somebody", name)


async def test_misspelt_parameter_is_named(postgres_url: str) -> None:
    for query, words in (
        ("conect_timeout=hush", '"conect_timeout"; did you mean connect_timeout\\?$'),
        ("pool_size=hush", '"pool_size"$'),
    ):
        with pytest.raises(CannotOpen, match=words) as refused:
            await SqlAlchemyStore.open(f"{postgres_url}&{query}")
        assert "hush" not in str(refused.value)


async def test_doorbell_leaves_a_server_that_becomes_read_only(
    postgres: PostgresServer, empty_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = f"{empty_database}&target_session_attrs=read-write"

    async def ring_until_logged(lines: int) -> str:
        while len(caplog.records) < lines:
            doorbell.ring([7])
            await asyncio.sleep(0.01)
        return caplog.records[lines - 1].message

    async with asyncio.timeout(SECONDS), await NotifyDoorbell.open(url) as doorbell:
        await asyncio.to_thread(set_on_server, postgres, "default_transaction_read_only = on")
        try:
            assert "the server is read-only by a setting" in await ring_until_logged(1)
        finally:
            await asyncio.to_thread(set_on_server, postgres, "default_transaction_read_only = off")
        assert "again" in await ring_until_logged(2)


def set_on_server(server: PostgresServer, setting: str) -> None:
    """Change a setting of the whole server, for the sessions that are open, too."""
    server.sql(f"ALTER SYSTEM SET {setting}")
    server.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("query", "on", "idle"),
    [("", 1, 60), ("keepalives_idle=7&keepalives_count=2", 1, 7), ("keepalives=0", 0, None)],
)
async def test_keepalives_are_set_on_the_socket(
    query: str, on: int, idle: int | None, postgres_url: str
) -> None:
    async with proxy_to(postgres_url) as (proxy, _):
        port = await proxy.listen_on_tcp()
        url = f"postgresql://postgres@127.0.0.1:{port}/{name_of(postgres_url)}?{query}"
        session = await Servers(read_url(url)).connect({})
        tcp = session._transport.get_extra_info("socket")
        assert bool(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == bool(on)
        if idle is not None and hasattr(socket, "TCP_KEEPIDLE"):
            assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
        await session.close()
