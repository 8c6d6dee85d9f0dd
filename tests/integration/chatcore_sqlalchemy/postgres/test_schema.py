"""The tables on PostgreSQL."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.schema import CreateSchema

import chatcore_sqlalchemy
from chatcore import Chat, Person, User
from chatcore.ports import Credentials
from chatcore_sqlalchemy import SqlAlchemyStore, migrate
from chatcore_sqlalchemy.postgres.connection import UrlSource
from chatcore_sqlalchemy.postgres.schema import transaction
from chatcore_sqlalchemy.schema import metadata
from chatcore_sqlalchemy.tools.check import check_database
from chatcore_sqlalchemy.upgrade import REVISIONS
from tests.support.postgres_server import PostgresServer, name_of

TABLES = """
SELECT table_name, column_name, data_type, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'chatcore'
UNION ALL
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
FROM pg_constraint WHERE connamespace = 'chatcore'::regnamespace
UNION ALL
SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'chatcore'
"""


async def test_migrations_lead_to_the_schema_of_the_code(
    postgres: PostgresServer, empty_database: str, migrated_template: str
) -> None:
    engine = create_async_engine(empty_database.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.execute(CreateSchema("chatcore"))
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    created = empty_database.rpartition("/test_")[2].partition("?")[0]
    expected = postgres.sql(TABLES, f"test_{created}").splitlines()
    migrated = postgres.sql(TABLES, migrated_template).splitlines()
    assert sorted(line for line in migrated if not line.startswith("alembic_")) == sorted(expected)
    assert any(line.startswith("messages|messages_pk|") for line in expected)


async def test_database_of_an_earlier_revision_upgrades(
    postgres: PostgresServer, empty_database: str
) -> None:
    """Before revision 0004, password hash and token time stood in the row of the user."""
    await to_revision(empty_database, "0003")
    postgres.sql(
        """
        INSERT INTO users (name, canonical, password_hash, registered_us, tokens_from_us, erased_us)
        VALUES ('Ann', 'ann', 'hash of ann', 1, 7000000, NULL), ('Bob', 'bob', 'hash', 2, 0, NULL),
            ('deleted user 1', 'deleted user 1', '', 3, 0, 4);
        INSERT INTO retired_names VALUES ('digest of eve');
        INSERT INTO chats (lo_id, hi_id, last_seq, activity, opened_us) VALUES (1, 2, 0, 1, 5)
        """,
        name_of(empty_database),
    )
    migrated = await migrate(empty_database)
    assert (migrated.before, migrated.after) == ("0003", REVISIONS[-1])
    found: list[str] = []
    await check_database(empty_database, found.append, lambda *_: None)
    assert found == []
    async with await SqlAlchemyStore.open(empty_database) as store:
        ann, bob = User(1, "ann", "Ann"), User(2, "bob", "Bob")
        assert await store.credentials("ann") == Credentials(ann, "hash of ann", 7_000_000)
        assert await store.credentials_by_id(2) == Credentials(bob, "hash")
        assert await store.credentials_by_id(3) is None
        assert await store.chat_with(1, "bob") == Chat(1, (ann, bob))
        [put] = await store.put_users([Person("shop", "ann", "Ann")], 6)
        assert put.user == User(4, "ann", "Ann", "shop")
    kept = "SELECT count(*) FROM users WHERE password_hash <> '' OR tokens_from_us <> 0"
    assert postgres.sql(kept, name_of(empty_database)) == "0"


async def test_password_that_an_old_service_changes_during_the_upgrade_is_kept(
    empty_database: str,
) -> None:
    await to_revision(empty_database, "0003")
    add = "INSERT INTO users (name, canonical, password_hash, registered_us) VALUES"
    async with transaction(UrlSource(empty_database)) as first:
        await first.exec_driver_sql(f"{add} ('Ann', 'ann', 'old', 1)")
    async with transaction(UrlSource(empty_database)) as old_service:
        await old_service.exec_driver_sql(
            "UPDATE users SET password_hash = 'new', tokens_from_us = 7000000"
        )
        await old_service.exec_driver_sql(f"{add} ('Bob', 'bob', 'hash of bob', 2)")
        upgrade = asyncio.create_task(migrate(empty_database))
        await _until_it_waits_for_a_lock(old_service)
    await upgrade
    async with await SqlAlchemyStore.open(empty_database) as store:
        ann, bob = User(1, "ann", "Ann"), User(2, "bob", "Bob")
        assert await store.credentials("ann") == Credentials(ann, "new", 7_000_000)
        assert await store.credentials("bob") == Credentials(bob, "hash of bob")


async def _until_it_waits_for_a_lock(connection: AsyncConnection) -> None:
    waiting = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    while not (await connection.exec_driver_sql(waiting)).scalar_one():
        # The statistics of the activity are those of the first look in the transaction.
        await connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
        await asyncio.sleep(0.01)


async def to_revision(url: str, revision: str) -> None:
    """Make an empty database that of an earlier version."""

    def upgrade(connection: Connection) -> None:
        config = Config()
        folder = Path(chatcore_sqlalchemy.__file__).with_name("migrations")
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with transaction(UrlSource(url)) as connection:
        await connection.run_sync(upgrade)
