"""Where the tables are: a schema of their own, apart from those of a host and of other stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import Messenger, StoreUnavailable
from chatcore.testing import CHAT_STORE_CHECKS, PEOPLE_CHECKS
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_notify import NotifyDoorbell
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate, migrate_on
from chatcore_sqlalchemy.schema import TABLES
from chatcore_sqlalchemy.tools.check import check_database
from chatcore_sqlalchemy.upgrade import REVISIONS
from tests.integration.chatcore_sqlalchemy.postgres.test_schema import to_revision
from tests.support.host import async_url
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.repository import ROOT

# As a host has them, down to a revision that is also one of chatcore's.
HOST = """
CREATE TABLE public.users (id serial PRIMARY KEY, email text CONSTRAINT users_canonical UNIQUE);
CREATE TABLE public.chats (id serial PRIMARY KEY, topic text);
CREATE TABLE public.messages (id serial CONSTRAINT messages_pk PRIMARY KEY, body text);
CREATE TABLE public.store (name text);
CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO public.alembic_version VALUES ('0005');
INSERT INTO public.users (email) VALUES ('ann@example.com');
CREATE INDEX chats_lo_activity ON public.chats (topic);
"""
ROWS_OF_HOST = """
SELECT (SELECT count(*) FROM public.users), (SELECT count(*) FROM public.chats),
    (SELECT count(*) FROM public.messages), (SELECT string_agg(version_num, ',')
    FROM public.alembic_version)
"""
PLACES = """
SELECT table_schema || '.' || table_name FROM information_schema.tables
WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""

MARK = "moved to chatcore"


async def refusal(url: str, schema: str | None = None) -> str:
    with pytest.raises(CannotOpen) as refused:
        await SqlAlchemyStore.open(url, schema=schema)
    assert str(refused.value).isprintable()
    return str(refused.value)


async def faults(url: str, schema: str | None = None) -> list[str]:
    found: list[str] = []
    await check_database(url, found.append, lambda *_: None, schema=schema)
    return found


async def use(url: str, schema: str | None = None) -> None:
    async with await SqlAlchemyStore.open(url, schema=schema) as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello")
        assert [message.text for message in await read_all(store, chat)] == ["hello"]


def places(postgres: PostgresServer, url: str) -> set[str]:
    return set(postgres.sql(PLACES, name_of(url)).split())


def expected_places(schema: str) -> set[str]:
    return {f"{schema}.{name}" for name in (*TABLES, "alembic_version")}


async def test_tables_of_a_host_and_of_chatcore_do_not_meet(
    postgres: PostgresServer, empty_database: str
) -> None:
    name = name_of(empty_database)
    postgres.sql(HOST, name)
    before, hosts = postgres.sql(ROWS_OF_HOST, name), places(postgres, empty_database)
    assert "no tables of chatcore in the schema chatcore" in await refusal(empty_database)
    made = await migrate(empty_database)
    assert (made.before, made.schema, made.moved_from) == (None, "chatcore", None)
    await use(empty_database)
    assert await faults(empty_database) == []
    assert postgres.sql(ROWS_OF_HOST, name) == before
    assert places(postgres, empty_database) - hosts == expected_places("chatcore")


async def test_schema_with_tables_of_a_host_is_refused(
    postgres: PostgresServer, empty_database: str
) -> None:
    postgres.sql(HOST, name_of(empty_database))
    before = places(postgres, empty_database)
    for refused in (migrate(empty_database, schema="public"), faults(empty_database, "public")):
        with pytest.raises(CannotOpen, match="alembic_version in the schema public is not of"):
            await refused
    assert "is not of chatcore" in await refusal(empty_database, "public")
    postgres.sql("DROP TABLE public.alembic_version", name_of(empty_database))
    with pytest.raises(CannotOpen, match="schema public already has a table named"):
        await migrate(empty_database, schema="public")
    assert places(postgres, empty_database) == before - {"public.alembic_version"}


@pytest.mark.parametrize("schema", ["chat", "user", "Shop's chat-1", "{schema}", "a.b", "ö" * 31])
async def test_any_name_of_a_schema_works(schema: str, empty_database: str) -> None:
    made = await migrate(empty_database, schema=schema)
    assert made.schema == schema
    await use(empty_database, schema)
    assert await faults(empty_database, schema) == []


@pytest.mark.parametrize("schema", ["", "pg_chat", 'a"b', "a\0b", "ö" * 32, "information_schema"])
async def test_invalid_name_of_a_schema_is_refused(schema: str, empty_database: str) -> None:
    assert "not a valid schema" in await refusal(empty_database, schema)
    with pytest.raises(CannotOpen, match="not a valid schema"):
        await migrate(empty_database, schema=schema)


async def test_store_in_another_schema_keeps_its_promises(
    postgres: PostgresServer, empty_database: str
) -> None:
    """The short form of the conformance kit; the whole runs on the default schema."""
    postgres.sql(HOST, name_of(empty_database))
    checks = [*CHAT_STORE_CHECKS[::6], *PEOPLE_CHECKS[::4]]
    url = f"{empty_database}&search_path=nowhere"
    for number, check in enumerate(checks):
        await migrate(empty_database, schema=f"chat_{number}")
        async with await SqlAlchemyStore.open(url, schema=f"chat_{number}") as store:
            await check(store)  # type: ignore[operator]


@asynccontextmanager
async def two_stores(url: str) -> AsyncIterator[list[SqlAlchemyStore]]:
    for schema in ("one", "two"):
        await migrate(url, schema=schema)
    async with (
        await SqlAlchemyStore.open(url, schema="one") as one,
        await SqlAlchemyStore.open(url, schema="two") as two,
    ):
        yield [one, two]


async def test_stores_in_two_schemas_do_not_see_each_other(empty_database: str) -> None:
    async with two_stores(empty_database) as (one, two):
        chat, ann, _ = await ann_and_bob(one)
        await send(one, chat, ann, "hello")
        assert await two.user_by_id(ann.id) is None
        assert await two.last_seq(chat.id) == 0
        other, ann, _ = await ann_and_bob(two)
        assert other == chat
        assert await two.messages_before(chat.id, None, limit=9) == []
        cursor = await one.end_of_log(ann.id)
        assert await one.events_after(cursor, limit=9) == []
        assert await two.events_after(cursor, limit=9) is None
    assert await faults(empty_database, "one") == await faults(empty_database, "two") == []


async def test_doorbells_of_two_schemas_do_not_hear_each_other(empty_database: str) -> None:
    async with (
        asyncio.timeout(60),
        two_stores(empty_database) as (one, two),
        await NotifyDoorbell.open(empty_database, channel=await one.channel()) as ringing,
        await NotifyDoorbell.open(empty_database, channel=await one.channel()) as hearing,
        await NotifyDoorbell.open(empty_database, channel=await two.channel()) as deaf,
    ):
        heard, mistaken = asyncio.Event(), asyncio.Event()
        hearing.listen(7, heard.set)
        deaf.listen(7, mistaken.set)
        ringing.ring([7])
        await heard.wait()
        # A ring that comes after it has arrived on the other channel.
        async with await NotifyDoorbell.open(empty_database, channel=await two.channel()) as later:
            arrived = asyncio.Event()
            deaf.listen(8, arrived.set)
            later.ring([8])
            await arrived.wait()
        assert not mistaken.is_set()


@pytest.mark.parametrize("path", ["public", "nowhere"])
async def test_statements_ignore_the_search_path(
    path: str, postgres: PostgresServer, empty_database: str
) -> None:
    """Otherwise a pooler or a role could lead chatcore to the tables of a host."""
    postgres.sql(HOST, name_of(empty_database))
    await migrate(empty_database)
    before = postgres.sql(ROWS_OF_HOST, name_of(empty_database))
    async with await SqlAlchemyStore.open(f"{empty_database}&search_path={path}") as store:
        messenger = Messenger(store, realm="shop")
        ann, bob = [await messenger.user(handle, name="A") for handle in ("1", "2")]
        chat = await messenger.open_chat(ann, bob)
        for _ in range(2):
            await messenger.send_once(ann, chat, "hello", "key")
            # The second time, a statement asks whether the cached page and list are current.
            assert len((await messenger.page(bob, chat)).messages) == 1
            assert len(await store.chats_of(bob.id, before=None, limit=9)) == 1
        await messenger.mark_read(bob, chat, 1)
        await messenger.block(ann, bob)
        await messenger.erase(bob)
    assert postgres.sql(ROWS_OF_HOST, name_of(empty_database)) == before
    assert await faults(empty_database) == []


@pytest.fixture
async def earlier_database(empty_database: str) -> str:
    """A database of an earlier version, with tables in `public`."""
    await to_revision(empty_database, REVISIONS[-1])
    return empty_database


async def test_tables_of_an_earlier_version_are_moved(
    postgres: PostgresServer, earlier_database: str
) -> None:
    name = name_of(earlier_database)
    assert places(postgres, earlier_database) == expected_places("public")
    line = await refusal(earlier_database)
    assert "`chatcore migrate`, which moves them to the schema chatcore" in line
    assert "CHATCORE_SCHEMA=public" in line
    async with await SqlAlchemyStore.open(earlier_database, schema="public") as running:
        chat, ann, _ = await ann_and_bob(running)
        await send(running, chat, ann, "hello")
        cursor = await running.end_of_log(ann.id)
        moved = await migrate(earlier_database)
        assert (moved.before, moved.after) == (REVISIONS[-1], REVISIONS[-1])
        assert (moved.schema, moved.moved_from) == ("chatcore", "public")
        # A service that still runs on the former schema writes nothing.
        with pytest.raises(StoreUnavailable):
            await send(running, chat, ann, "too late")
        with pytest.raises(StoreUnavailable, match=r'"public.users" does not exist'):
            await running.user_by_id(ann.id)
    assert places(postgres, earlier_database) == {
        "public.alembic_version",
        *expected_places("chatcore"),
    }
    assert postgres.sql("SELECT version_num FROM public.alembic_version", name) == MARK
    assert (await migrate(earlier_database)).moved_from is None
    async with await SqlAlchemyStore.open(earlier_database) as store:
        assert [message.text for message in await read_all(store, chat)] == ["hello"]
        assert await store.events_after(cursor, limit=9) == []
        # The sequences have moved, too.
        await send(store, chat, ann, "again")
    assert await faults(earlier_database) == []


async def test_old_revision_is_moved_and_upgraded_in_one_step(
    postgres: PostgresServer, empty_database: str
) -> None:
    await to_revision(empty_database, "0001")
    postgres.sql(
        "INSERT INTO users (name, canonical, password_hash, registered_us) "
        "VALUES ('Ann', 'ann', 'hash', 1)",
        name_of(empty_database),
    )
    moved = await migrate(empty_database)
    assert (moved.before, moved.after, moved.moved_from) == ("0001", REVISIONS[-1], "public")
    assert await faults(empty_database) == []
    async with await SqlAlchemyStore.open(empty_database) as store:
        credentials = await store.credentials("ann")
        assert credentials is not None
        assert credentials.password_hash == "hash"


async def test_named_schema_keeps_tables_in_public(
    postgres: PostgresServer, earlier_database: str
) -> None:
    kept = await migrate(earlier_database, schema="public")
    assert (kept.before, kept.moved_from) == (kept.after, None)
    await use(earlier_database, "public")
    assert await faults(earlier_database, "public") == []
    assert places(postgres, earlier_database) == expected_places("public")


async def test_tables_found_by_a_search_path_stay(
    postgres: PostgresServer, empty_database: str
) -> None:
    postgres.sql("CREATE SCHEMA chat", name_of(empty_database))
    url = f"{empty_database}&search_path=chat"
    await to_revision(url, REVISIONS[-1])
    assert (await migrate(url)).schema == "chat"
    await use(url)
    assert await faults(url) == []
    assert places(postgres, url) == expected_places("chat")


async def test_revision_of_a_host_does_not_hide_tables_in_public(
    postgres: PostgresServer, earlier_database: str
) -> None:
    await use(earlier_database, "public")
    postgres.sql(
        "CREATE SCHEMA shop; CREATE TABLE shop.alembic_version (version_num varchar(32))",
        name_of(earlier_database),
    )
    url = f"{earlier_database}&search_path=shop,public"
    assert "are in the schema public" in await refusal(url)
    assert (await migrate(url)).moved_from == "public"
    async with await SqlAlchemyStore.open(url) as store:
        assert await store.user_by_name("ann") is not None


async def test_stores_in_public_and_chatcore_must_be_named(earlier_database: str) -> None:
    await migrate(earlier_database, schema="chatcore")
    line = "the schemas public and chatcore both hold"
    assert line in await refusal(earlier_database)
    with pytest.raises(CannotOpen, match=line):
        await migrate(earlier_database)
    for schema in ("public", "chatcore"):
        await use(earlier_database, schema)


async def test_move_takes_partitions_and_privileges_along(
    postgres: PostgresServer, earlier_database: str
) -> None:
    name = name_of(earlier_database)
    scaling = (ROOT / "docs" / "scaling.md").read_text()
    partitions = scaling.partition("```sql partitions\n")[2].partition("```")[0]
    postgres.sql(partitions.replace("SET search_path = chatcore;", ""), name)
    postgres.sql('CREATE ROLE "Report\'s" LOGIN; GRANT SELECT ON messages TO "Report\'s"', name)
    try:
        await migrate(earlier_database)
        await use(earlier_database)
        left = {place for place in places(postgres, earlier_database) if place[:7] == "public."}
        assert left == {"public.alembic_version"}
        asked = 'SET ROLE "Report\'s"; SELECT count(*) FROM chatcore.messages'
        assert postgres.sql(asked, name).split()[-1] == "1"
    finally:
        postgres.sql('DROP OWNED BY "Report\'s"; DROP ROLE "Report\'s"', name)


async def test_failed_move_changes_nothing(postgres: PostgresServer, earlier_database: str) -> None:
    postgres.sql("CREATE SCHEMA chatcore; CREATE TABLE chatcore.events (x int)",
                 name_of(earlier_database))  # fmt: skip
    before = places(postgres, earlier_database)
    with pytest.raises(CannotOpen, match="already exists"):
        await migrate(earlier_database)
    assert places(postgres, earlier_database) == before
    await use(earlier_database, "public")


async def test_role_that_may_create_no_schema_is_told_what_to_do(
    postgres: PostgresServer, empty_database: str
) -> None:
    postgres.sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    url = empty_database.replace("postgres@", "guest@")
    with pytest.raises(CannotOpen, match='CREATE SCHEMA "chatcore" AUTHORIZATION'):
        await migrate(url)
    postgres.sql("CREATE SCHEMA chatcore AUTHORIZATION guest", name_of(empty_database))
    await migrate(url)
    await use(url)


async def test_role_of_the_service_can_open_moved_tables(
    postgres: PostgresServer, earlier_database: str
) -> None:
    name = name_of(earlier_database)
    postgres.sql(
        "CREATE ROLE waiter LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO waiter; "
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO waiter",
        name,
    )
    try:
        url = earlier_database.replace("postgres@", "waiter@")
        await use(url, "public")
        await migrate(earlier_database)
        async with await SqlAlchemyStore.open(url) as store:
            assert await store.user_by_name("ann") is not None
    finally:
        postgres.sql("DROP OWNED BY waiter; DROP ROLE waiter", name)


async def test_schema_map_of_a_host_moves_no_table(
    postgres: PostgresServer, empty_database: str
) -> None:
    tenants: dict[str | None, str | None] = {None: "tenant", "chatcore": "tenant"}
    engine = create_async_engine(
        async_url(empty_database), execution_options={"schema_translate_map": tenants}
    )
    async with engine.begin() as connection:
        await connection.exec_driver_sql("CREATE SCHEMA tenant")
        await connection.run_sync(migrate_on)
        assert connection.sync_connection is not None
        options = connection.sync_connection.get_execution_options()
        assert options["schema_translate_map"] == tenants
    await engine.dispose()
    assert places(postgres, empty_database) == expected_places("chatcore")


async def test_migration_without_a_transaction_is_refused(
    postgres: PostgresServer, empty_database: str
) -> None:
    engine = create_async_engine(async_url(empty_database), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        with pytest.raises(CannotOpen, match="AUTOCOMMIT"):
            await connection.run_sync(migrate_on)
    await engine.dispose()
    assert places(postgres, empty_database) == set()
