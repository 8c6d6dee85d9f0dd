"""Through PgBouncer: nothing is to be set in session mode, and CHATCORE_POOLER in transaction
mode."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import MetaData, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import StoreUnavailable
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_notify import NotifyDoorbell
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from chatcore_sqlalchemy.outbox import outbox_table
from chatcore_sqlalchemy.postgres.connection import Connection, UrlSource
from chatcore_sqlalchemy.postgres.session import SESSION
from chatcore_sqlalchemy.tools.check import check_database
from chatcore_sqlalchemy.tools.copy import copy
from tests.support.api import api_at
from tests.support.apps import SECRET
from tests.support.host import async_url
from tests.support.pgbouncer import SHARED, PgBouncer, pgbouncer
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService, run

OTHERS = "SELECT {} FROM pg_settings WHERE name = ANY($1) AND source = 'session'"

POOLED: dict[str, Any] = {"pooler": "transaction"}


@pytest.fixture
def shared_url(transaction_pooler: PgBouncer, postgres_url: str) -> str:
    """The URL of a database through a pooler in transaction mode."""
    return transaction_pooler.url(postgres_url)


@pytest.fixture
def session_url(postgres_url: str) -> Iterator[str]:
    """The URL of a database through a pooler in session mode, as it comes."""
    with pgbouncer(postgres_url) as pooler:
        yield pooler.url(postgres_url)


@pytest.fixture
async def connection(shared_url: str) -> AsyncIterator[Connection]:
    connection = await UrlSource(shared_url, "transaction").connect()
    others = [await asyncpg.connect(shared_url, statement_cache_size=0) for _ in range(2)]
    for step in ("BEGIN", "COMMIT"):
        # At the same time, so that the pooler has two sessions, which it uses by turns.
        for other in others:
            await other.execute(step)
    yield connection
    for each in (connection, *others):
        await each.close(timeout=5)


async def test_session_mode_works_as_it_comes(session_url: str) -> None:
    async with (
        await SqlAlchemyStore.open(session_url) as store,
        await NotifyDoorbell.open(session_url, channel=await store.channel()) as doorbell,
    ):
        chat, ann, _ = await ann_and_bob(store)
        await asyncio.gather(*(send(store, chat, ann, f"{n}") for n in range(20)))
        assert len(await read_all(store, chat)) == 20
        rung = asyncio.Event()
        doorbell.listen(ann.id, rung.set)
        async with asyncio.timeout(60):
            # A new connection wakes every listener, and may come late.
            for _ in range(2):
                doorbell.ring([ann.id])
                await rung.wait()
                rung.clear()
    found: list[str] = []
    await check_database(session_url, found.append, lambda *_: None)
    assert found == []
    other = await asyncpg.connect(session_url)
    assert await other.fetchval(OTHERS.format("count(*)"), [*SESSION]) == 0
    await other.close()


async def test_session_mode_keeps_the_settings_of_the_url(session_url: str) -> None:
    connection = await UrlSource(f"{session_url}&statement_timeout=1234&jit=on").connect()
    shown = "SELECT current_setting('statement_timeout'), current_setting('jit')"
    assert [*map(tuple, await connection.fetch(shown))] == [("1234ms", "on")]
    await connection.close(timeout=5)


async def test_each_transaction_has_the_settings_of_the_store(connection: Connection) -> None:
    names = [name for name in SESSION if not name.startswith("default_")]
    shown = """
    SELECT array_agg(current_setting(name)), min(current_setting('transaction_isolation')),
        pg_backend_pid()
    FROM unnest($1::text[]) AS name
    """
    # One outside a transaction, and one within; by turns in another session.
    processes = set()
    for begin in ("", "BEGIN; SET LOCAL lock_timeout = 70") * 3:
        if begin:
            await connection.execute(begin)
        ((values, isolation, process),) = await connection.fetch(shown, names)
        if begin:
            await connection.execute("COMMIT")
        limit = {"lock_timeout": "70ms"} if begin else {}
        assert (
            dict(zip(names, values, strict=True)) == {name: SESSION[name] for name in names} | limit
        )
        assert isolation == "read committed"
        processes.add(process)
    assert len(processes) > 1


async def test_acknowledged_writes_wait_for_the_disk(
    postgres: PostgresServer, postgres_url: str, shared_url: str
) -> None:
    # A deferred trigger runs within COMMIT, after all that comes before it.
    postgres.sql(
        "CREATE TABLE public.seen (value text); "
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; "
        "END $$; CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON events "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell()",
        name_of(postgres_url),
    )
    async with await SqlAlchemyStore.open(shared_url, **POOLED) as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello")
    seen = postgres.sql("SELECT value FROM public.seen", name_of(postgres_url)).split()
    assert len(seen) > 2
    assert set(seen) == {"on"}


async def test_nothing_is_left_in_shared_sessions(
    tmp_path: Path, shared_url: str, postgres_url: str
) -> None:
    await use(shared_url, tmp_path)
    left = "(SELECT count(*) FROM pg_prepared_statements), current_setting('statement_timeout')"
    others = [await asyncpg.connect(shared_url, statement_cache_size=0) for _ in range(5)]
    for other in others:
        # Each holds a session of its own.
        await other.execute("BEGIN")
        assert await other.fetchval(f"SELECT ({left})::text") == "(0,0)"
    for other in others:
        await other.close()


async def use(url: str, folder: Path) -> None:
    """Use every command on the database through the pooler."""
    file = folder / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{file}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "from the file")
    await migrate(url, **POOLED)
    for before in (False, True):
        copied = await copy(file, url, lambda *_: None, **POOLED)
        assert (copied.before, copied.rows["messages"]) == (before, 1)
    async with await SqlAlchemyStore.open(url, **POOLED) as store:
        await send(store, chat, ann, "hello")
        await store.check_writes()
        assert [it.text for it in await read_all(store, chat)] == ["from the file", "hello"]
    found: list[str] = []
    await check_database(url, found.append, lambda *_: None, **POOLED)
    assert found == []


async def test_empty_database_is_migrated_through_the_pooler(
    transaction_pooler: PgBouncer, empty_database: str
) -> None:
    url = transaction_pooler.url(empty_database)
    assert (await migrate(url, **POOLED)).before is None
    async with await SqlAlchemyStore.open(url, **POOLED) as store:
        assert await ann_and_bob(store)


async def test_setting_does_no_harm_without_a_pooler(postgres_url: str, tmp_path: Path) -> None:
    await use(postgres_url, tmp_path)


@pytest.mark.parametrize("settings", [{}, SHARED], ids=["as it comes", "round robin"])
async def test_transaction_mode_without_the_setting_is_refused(
    settings: dict[str, str], postgres_url: str
) -> None:
    refused = pytest.raises(CannotOpen, match=r"CHATCORE_POOLER=transaction and a CHATCORE_BUS_URL")
    with pgbouncer(postgres_url, **{**settings, "pool_mode": "transaction"}) as pooler:
        url = pooler.url(postgres_url)
        with refused:
            await SqlAlchemyStore.open(url)
        with refused:
            await migrate(url)
        # None of chatcore's settings is left to others.
        other = await asyncpg.connect(url, statement_cache_size=0)
        await other.execute("BEGIN")
        assert await other.fetchval(OTHERS.format("count(*)"), [*SESSION]) == 0
        await other.close()


async def test_pooler_that_appears_while_serving_is_named(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """Statements vanish as they do where a transaction gets another session."""
    postgres.sql(
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$; "
        "CREATE TRIGGER forget AFTER INSERT ON blocks EXECUTE FUNCTION forget()",
        name_of(postgres_url),
    )
    async with await SqlAlchemyStore.open(postgres_url) as store:
        _, ann, bob = await ann_and_bob(store)
        await store.user_by_id(ann.id)

        async def write_and_read() -> None:
            await store.block(ann.id, bob.id, 0)
            await store.user_by_id(ann.id)

        with pytest.raises(StoreUnavailable, match="set CHATCORE_POOLER=transaction") as failed:
            await write_and_read()
        assert str(failed.value).isprintable()


async def test_wrong_pooler_is_refused(postgres_url: str) -> None:
    for database, pooler, line in (
        (postgres_url, "session", "not a mode of a pooler: 'session'; expected transaction"),
        ("sqlite:///chatcore.db", "transaction", "a SQLite file has no pooler"),
        (create_async_engine(async_url(postgres_url)), "transaction", "the URL of the pooler"),
    ):
        with pytest.raises(CannotOpen, match=line):
            await SqlAlchemyStore.open(database, pooler=pooler)  # type: ignore[arg-type]


async def test_service_chats_through_the_pooler(
    tmp_path: Path, shared_url: str, postgres_url: str
) -> None:
    settings = {"database_url": shared_url, "pooler": "transaction", "secret": SECRET}
    of_host = {"outbox_url": f"sqlite:///{tmp_path}/shop.db"}
    shop = create_engine(of_host["outbox_url"])
    outbox_table(MetaData()).create(shop)
    shop.dispose()
    for command, others in (
        (["serve", "--port", "0"], {}),
        (["serve", "--port", "0"], {"bus_url": shared_url}),
        (["drain"], of_host),
    ):
        refused = run(*command, cwd=tmp_path, **settings, **others)
        assert refused.returncode == 2
        assert refused.stderr.startswith("chatcore: CHATCORE_POOLER=transaction needs")
    assert run("migrate", cwd=tmp_path, **settings).returncode == 0
    with QuickService(tmp_path, **settings, bus_url=postgres_url) as service:
        async with api_at(service.url) as api:
            ann, bob = await api.chat()
            assert (await api.send(ann, bob.name, "hello")).status_code == 201
            shown = await api.read(bob, ann.name)
            assert [item["message"] for item in shown.json()] == ["hello"]
            reset = run("passwd", ann.name, cwd=tmp_path, stdin="another-word\n", **settings)
            assert reset.returncode == 0
    drained = run("drain", cwd=tmp_path, **settings, **of_host, bus_url=postgres_url)
    assert drained.returncode == 0
    assert run("check", cwd=tmp_path, **settings).returncode == 0
