"""Each command works on the tables in the schema that CHATCORE_SCHEMA names."""

import asyncio
from pathlib import Path

from chatcore.testing.scene import add_user
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.postgres.test_schema import to_revision
from tests.support.api import Someone, api_at
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService, run

SECRET = "a secret of at least 32 bytes, for tests"
PASSWORD = "correct horse battery"


async def test_commands_work_in_a_schema(
    tmp_path: Path, postgres: PostgresServer, empty_database: str
) -> None:
    # SQLAlchemy's spelling, which the doorbell must read, too.
    url = empty_database.replace("postgresql:", "postgresql+asyncpg:")
    settings = {"database_url": url, "schema": "shop_chat", "secret": SECRET}
    made = run("migrate", cwd=tmp_path, **settings)
    assert (made.returncode, made.stderr) == (0, "")
    service = QuickService(tmp_path, **settings)
    await asyncio.to_thread(service.start)
    try:
        async with api_at(service.url) as api:
            await api.register("ann")
            await api.register("bob")
            token = (await api.log_in("ann")).json()["token"]
            opened = await api.call("POST", "/chat/bob", Someone("ann", token))
            assert opened.status_code == 201
    finally:
        await asyncio.to_thread(service.stop)
    assert "no connection" not in service.log()
    changed = run("passwd", "ann", cwd=tmp_path, stdin=f"{PASSWORD}\n", **settings)
    assert (changed.returncode, changed.stderr) == (0, "")
    checked = run("check", "--schema", "shop_chat", cwd=tmp_path, database_url=url)
    assert checked.stdout.startswith("No faults in 2 users, 1 chats")
    names = "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
    assert postgres.sql(names, name_of(empty_database)) == "shop_chat"
    other = run("check", cwd=tmp_path, database_url=url)
    assert other.returncode == 2
    assert "no tables of chatcore in the schema chatcore" in other.stderr


def test_copy_fills_a_schema(tmp_path: Path, empty_database: str) -> None:
    async def prepare() -> None:
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
            await add_user(store, "ann")

    asyncio.run(prepare())
    arguments = ("copy", "--from", "sqlite:///chatcore.db", "--to", empty_database)
    copied = run(*arguments, "--schema", "shop_chat", cwd=tmp_path)
    assert (copied.returncode, copied.stderr) == (0, "")
    checked = run("check", cwd=tmp_path, database_url=empty_database, schema="shop_chat")
    assert checked.stdout.startswith("No faults in 1 users")


def test_migrate_tells_of_the_move(tmp_path: Path, empty_database: str) -> None:
    asyncio.run(to_revision(empty_database, "0003"))
    settings = {"database_url": empty_database, "secret": SECRET}
    refused = run("serve", cwd=tmp_path, port="0", **settings)
    assert refused.returncode == 2
    assert "run `chatcore migrate`, which moves them to the schema chatcore" in refused.stderr
    moved = run("migrate", cwd=tmp_path, **settings)
    assert (moved.returncode, moved.stderr) == (0, "")
    first, second = moved.stdout.splitlines()
    assert first.startswith("Moved the tables from the schema public to the schema chatcore")
    assert second.endswith("before: 0003")
    again = run("migrate", cwd=tmp_path, **settings)
    assert again.stdout.startswith("Nothing to do")


def test_schema_for_a_sqlite_file_is_refused(tmp_path: Path) -> None:
    for command in ("serve", "migrate", "check"):
        refused = run(command, "--schema", "chat", cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "a SQLite file has no schemas" in refused.stderr
    assert list(tmp_path.iterdir()) == []
