"""Opening by URL: which database it names, and which state the database must have."""

import asyncio

import asyncpg
import pytest

from chatcore.testing.scene import ann_and_bob
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from chatcore_sqlalchemy.postgres.connection import UrlSource
from chatcore_sqlalchemy.tools.check import check_database
from tests.support.postgres_proxy import proxy_to
from tests.support.postgres_server import PostgresServer, name_of

PASSWORD = "pass:word/1"
ESCAPED = "pass%3Aword%2F1"


async def refusal(url: str) -> str:
    """The one-line message for the operator."""
    with pytest.raises(CannotOpen) as refused:
        await SqlAlchemyStore.open(url)
    line = str(refused.value)
    assert line.isprintable()
    assert PASSWORD not in line
    assert ESCAPED not in line
    return line


async def test_url_with_an_escaped_password_opens(postgres_url: str) -> None:
    url = postgres_url.replace("postgres@", f"somebody:{ESCAPED}@")
    async with await SqlAlchemyStore.open(url) as store:
        assert await ann_and_bob(store)


async def test_url_with_host_and_port_opens_over_tcp(postgres_url: str) -> None:
    async with proxy_to(postgres_url) as (proxy, _):
        port = await proxy.listen_on_tcp()
        url = f"postgresql://somebody:{ESCAPED}@127.0.0.1:{port}/{name_of(postgres_url)}"
        async with await SqlAlchemyStore.open(f"{url}?sslmode=prefer") as store:
            assert await ann_and_bob(store)
        assert "SSL" in await refusal(f"{url}?sslmode=require")
        assert "password" in await refusal(url.replace(ESCAPED, "wrong"))


async def test_url_parameters_set_the_session(postgres_url: str) -> None:
    url = f"{postgres_url}&application_name=elsewhere&statement_timeout=1234"
    async with await SqlAlchemyStore.open(url) as store:
        await ann_and_bob(store)
        other = await asyncpg.connect(postgres_url)
        names = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = $1"
        found = {name for (name,) in await other.fetch(names, name_of(postgres_url))}
        await other.close()
    assert "elsewhere" in found
    assert "chatcore" not in found
    for setting in ("statement_timeout=1234", "options=-c%20statement_timeout%3D1234"):
        connection = await UrlSource(f"{postgres_url}&{setting}").raw(limited=False)
        assert await connection.fetchval("SHOW statement_timeout") == "1234ms"
        await connection.close()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://somebody:{PASSWORD}@host/db",
        f"postgresql://somebody:{PASSWORD}@host:port/db",
        f"postgresql://somebody:{ESCAPED}@host:port/db",
        f"postgresql+psycopg://somebody:{ESCAPED}@host/db",
        f"postgresql://somebody:{ESCAPED}@host/db?sslmode=maybe",
        f"postgresql://somebody:{ESCAPED}@[host/db",
        f"mysql://somebody:{ESCAPED}@host/db",
    ],
)
async def test_invalid_url_is_refused(url: str) -> None:
    assert "URL" in await refusal(url)


async def test_unreachable_server_is_refused(tmp_path: str, postgres: PostgresServer) -> None:
    assert await refusal(f"postgresql://ann:{ESCAPED}@/chat?host={tmp_path}")
    assert await refusal(f"postgresql://ann:{ESCAPED}@localhost:1/chat")
    assert "does not exist" in await refusal(postgres.url("nothing"))
    assert "no_such_setting" in await refusal(f"{postgres.url()}&no_such_setting=1")


async def test_database_without_tables_is_refused(empty_database: str) -> None:
    assert "chatcore migrate" in await refusal(empty_database)
    assert (await migrate(empty_database)).before is None
    async with await SqlAlchemyStore.open(empty_database) as store:
        assert await ann_and_bob(store)
        assert not store.created
    again = await migrate(empty_database)
    assert again.before == again.after


async def test_database_of_another_revision_is_refused(
    postgres: PostgresServer, postgres_url: str
) -> None:
    for revision, hint in (("0001", "chatcore migrate"), ("9999", "newer")):
        statement = f"UPDATE alembic_version SET version_num = '{revision}'"  # noqa: S608
        postgres.sql(statement, name_of(postgres_url))
        assert hint in await refusal(postgres_url)
    with pytest.raises(CannotOpen, match="newer"):
        await migrate(postgres_url)


async def test_encoding_other_than_utf8_is_refused(postgres: PostgresServer) -> None:
    name = "latin"
    postgres.sql(f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    with pytest.raises(CannotOpen, match="UTF8"):
        await migrate(postgres.url(name))
    postgres.drop_database(name)


async def test_concurrent_migrations_migrate_once(empty_database: str) -> None:
    migrated = await asyncio.gather(*(migrate(empty_database) for _ in range(6)))
    assert [it.before for it in migrated].count(None) == 1
    assert {it.after for it in migrated} == {migrated[0].after}
    async with await SqlAlchemyStore.open(empty_database) as store:
        assert await ann_and_bob(store)


@pytest.mark.parametrize("limit", ["1ms", "100ms"])
async def test_shorter_limits_of_the_database_or_role_are_overridden(
    limit: str, postgres: PostgresServer, empty_database: str
) -> None:
    name = name_of(empty_database)
    for owner in (f"DATABASE {name}", f"ROLE somebody IN DATABASE {name}"):
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            postgres.sql(f"ALTER {owner} SET {setting} = '{limit}'")
    url = empty_database.replace("postgres@", f"somebody:{ESCAPED}@")
    assert (await migrate(url)).before is None
    async with await SqlAlchemyStore.open(url) as store:
        await ann_and_bob(store)
    found: list[str] = []
    await check_database(url, found.append, lambda *_: None)
    assert found == []


async def test_store_overrides_asynchronous_commit(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    postgres.sql("CREATE TABLE public.seen (value text)", name)
    # Every appending transaction uses the setting of its connection.
    postgres.sql(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; "
        "END $$; "
        "CREATE TRIGGER tell AFTER INSERT ON events EXECUTE FUNCTION tell()",
        name,
    )
    async with await SqlAlchemyStore.open(postgres_url) as store:
        await ann_and_bob(store)
    assert set(postgres.sql("SELECT value FROM public.seen", name).split()) == {"on"}
