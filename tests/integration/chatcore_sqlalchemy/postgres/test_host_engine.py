"""The store on a host's AsyncEngine: which engines it takes, and what it leaves alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from chatcore import StoreUnavailable
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from chatcore_sqlalchemy.postgres import host_engine
from chatcore_sqlalchemy.tools.check import check_database
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres_server import PostgresServer, name_of


def of_sqlalchemy(url: str) -> str:
    return url.replace("postgresql:", "postgresql+asyncpg:")


@asynccontextmanager
async def engine_of(url: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(of_sqlalchemy(url), **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def refusal(database: Any) -> str:
    with pytest.raises(CannotOpen) as refused:
        await SqlAlchemyStore.open(database)
    assert str(refused.value).isprintable()
    return str(refused.value)


async def test_store_on_a_hosts_engine(empty_database: str) -> None:
    async with engine_of(empty_database, pool_size=1, max_overflow=0) as engine:
        assert (await migrate(engine)).schema == "chatcore"
        # The host uses up its own pool.
        async with engine.connect() as host, await SqlAlchemyStore.open(engine) as store:
            chat, ann, _ = await ann_and_bob(store)
            await asyncio.gather(*(send(store, chat, ann, f"{n}") for n in range(20)))
            assert len(await read_all(store, chat)) == 20
            assert store.schema == "chatcore"
            used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chatcore'"
            assert await host.scalar(text(used)) in range(1, 6)
        async with engine.connect() as host:
            assert await host.scalar(text("SELECT current_setting('enable_seqscan')")) == "on"
            assert await host.scalar(text("SELECT 1")) == 1


async def test_store_on_an_engine_takes_a_schema(empty_database: str) -> None:
    async with engine_of(empty_database) as engine:
        await migrate(engine, schema="chat")
        async with await SqlAlchemyStore.open(engine, schema="chat") as store:
            await ann_and_bob(store)
        assert "no tables of chatcore in the schema chatcore" in await refusal(engine)


async def test_engine_connects_with_its_own_arguments_and_events(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """The password comes from the host's code, as with short-lived tokens."""
    asked = 0

    async def password() -> str:
        nonlocal asked
        asked += 1
        return "pass:word/1"

    name = name_of(postgres_url)
    # Every appending transaction tells its settings.
    postgres.sql(
        "CREATE TABLE public.seen (isolation text, limit_ text, durable text);"
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO public.seen VALUES (current_setting('transaction_isolation'),"
        "current_setting('statement_timeout'), current_setting('synchronous_commit')); RETURN NULL;"
        "END $$; CREATE TRIGGER tell AFTER INSERT ON messages EXECUTE FUNCTION tell()",
        name,
    )
    url = postgres_url.replace("postgres@", "somebody@")
    async with engine_of(
        url, connect_args={"password": password}, isolation_level="SERIALIZABLE"
    ) as engine:

        @event.listens_for(engine.sync_engine, "connect")
        def prepare(connection: Any, record: object) -> None:
            connection.cursor().execute("SET search_path = nowhere")

        async with await SqlAlchemyStore.open(engine) as store:
            chat, ann, _ = await ann_and_bob(store)
            await send(store, chat, ann, "hello")
    assert postgres.sql("SELECT DISTINCT * FROM public.seen", name) == "read committed|5s|on"
    assert asked > 1


async def test_lost_connections_are_replaced(postgres: PostgresServer, postgres_url: str) -> None:
    async with engine_of(postgres_url) as engine, await SqlAlchemyStore.open(engine) as store:
        chat, ann, _ = await ann_and_bob(store)
        assert postgres.kill_backends(name_of(postgres_url)) > 0
        assert await store.user_by_id(ann.id) == ann
        await send(store, chat, ann, "hello")


async def test_server_that_stops_answering_makes_calls_fail(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_of(postgres_url) as engine, await SqlAlchemyStore.open(engine) as store:
        chat, *_ = await ann_and_bob(store)
        monkeypatch.setattr(host_engine, "ANSWER_SECONDS", 0.5)
        async with asyncio.timeout(60):
            with postgres.frozen(), pytest.raises(StoreUnavailable):
                await store.last_seq(chat.id)
        monkeypatch.undo()
        assert await store.last_seq(chat.id) == 0


async def test_plans_are_made_again_after_a_while(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_engine, "PLAN_SECONDS", -1)
    async with engine_of(postgres_url) as engine, await SqlAlchemyStore.open(engine) as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello")
        assert [message.text for message in await read_all(store, chat)] == ["hello"]


async def test_engine_of_another_database_or_driver_is_refused(postgres_url: str) -> None:
    # In place of a driver that the tests do not need otherwise.
    driver = SimpleNamespace(paramstyle="qmark", has_stop=True, sqlite_version_info=(3, 40, 0))
    async with engine_of("sqlite+aiosqlite://", module=driver) as engine:
        assert "sqlite:///chatcore.db" in await refusal(engine)
    async with engine_of(postgres_url) as engine:
        engine.dialect.driver = "psycopg"
        assert "the engine is of postgresql+psycopg" in await refusal(engine)
    line = await refusal(create_engine("sqlite://"))
    assert "an AsyncEngine of SQLAlchemy, not an object of the type Engine" in line
    assert "not an object of the type NoneType" in await refusal(None)


async def test_engine_without_prepared_statements_is_refused(postgres_url: str) -> None:
    options: dict[str, Any] = {"connect_args": {"statement_cache_size": 0}, "poolclass": NullPool}
    async with engine_of(postgres_url, **options) as engine:
        assert "keeps no prepared statements (statement_cache_size=0)" in await refusal(engine)


async def test_unreachable_server_is_refused_in_one_line(tmp_path: Path) -> None:
    async with engine_of(f"postgresql://ann:pass@/chat?host={tmp_path}") as engine:
        line = await refusal(engine)
        assert line.startswith("cannot open the database: ")
        assert "pass" not in line


@pytest.mark.parametrize(("limited", "limit"), [(True, "5s"), (False, "0")])
async def test_limits_of_the_database_are_overridden(
    limited: bool, limit: str, postgres: PostgresServer, postgres_url: str
) -> None:
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        postgres.sql(f"ALTER DATABASE {name_of(postgres_url)} SET {setting} = '10min'")
    async with engine_of(postgres_url) as engine:
        connection = await host_engine.EngineSource(engine).raw(limited=limited)
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            assert await connection.fetchval(f"SHOW {setting}") == limit
        await connection.close()


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_engine_through_a_pooler_is_refused(mode: str, postgres_url: str) -> None:
    with pgbouncer(postgres_url, pool_mode=mode) as pooler:
        async with engine_of(pooler.url(postgres_url)) as engine:
            assert "through a pooler such as PgBouncer" in await refusal(engine)


@pytest.mark.parametrize("query", ["", "&prepared_statement_cache_size=100", "&ssl=prefer"])
async def test_url_in_sqlalchemys_spelling_opens(query: str, postgres_url: str) -> None:
    url = of_sqlalchemy(postgres_url) + query
    await migrate(url)
    async with await SqlAlchemyStore.open(url) as store:
        await ann_and_bob(store)
    found: list[str] = []
    await check_database(url, found.append, lambda *_: None)
    assert found == []


async def test_url_of_sqlite_in_sqlalchemys_spelling_opens(tmp_path: Path) -> None:
    async with await SqlAlchemyStore.open(f"sqlite+aiosqlite:///{tmp_path}/chat.db") as store:
        await ann_and_bob(store)
        assert store.schema is None
    assert (tmp_path / "chat.db").exists()
    with pytest.raises(CannotOpen, match="a SQLite file has no schemas"):
        await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chat.db", schema="chatcore")
