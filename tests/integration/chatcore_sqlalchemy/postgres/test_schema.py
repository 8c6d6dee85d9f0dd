"""The tables on PostgreSQL."""

from sqlalchemy.ext.asyncio import create_async_engine

from chatcore_sqlalchemy.schema import metadata
from tests.support.postgres_server import PostgresServer

TABLES = """
SELECT table_name, column_name, data_type, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'
"""


async def test_migrations_lead_to_the_schema_of_the_code(
    postgres: PostgresServer, empty_database: str, migrated_template: str
) -> None:
    engine = create_async_engine(empty_database.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    created = empty_database.rpartition("/test_")[2].partition("?")[0]
    expected = postgres.sql(TABLES, f"test_{created}").splitlines()
    migrated = postgres.sql(TABLES, migrated_template).splitlines()
    assert sorted(line for line in migrated if not line.startswith("alembic_")) == sorted(expected)
    assert any(line.startswith("messages|messages_pk|") for line in expected)
