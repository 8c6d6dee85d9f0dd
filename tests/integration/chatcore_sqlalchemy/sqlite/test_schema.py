"""The constraints of the database, and migrations that lead to the schema of the code."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

import chatcore_sqlalchemy
from chatcore import StoreUnavailable, UserName
from chatcore.testing.scene import ann_and_bob, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.schema import metadata
from chatcore_sqlalchemy.sqlite.file import APPLICATION_ID
from chatcore_sqlalchemy.upgrade import REVISIONS
from tests.support.statements import STATEMENTS

TABLES = {
    *("users", "accounts", "sessions", "retired_names", "blocks"),
    *("chats", "messages", "events", "store", "node_keys"),
}


async def made_by_opening(folder: Path) -> Path:
    """A database with ann (1) and bob (2), their chat (1), and message 1 of ann with key `k`."""
    path = folder / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "hello", key="k")
    return path


def schema_of(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in rows}


def config() -> Config:
    found = Config()
    migrations = Path(chatcore_sqlalchemy.__file__).with_name("migrations")
    found.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return found


def make(path: Path, revision: str) -> None:
    """An empty database, migrated up to that revision."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    engine.dispose()


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table, without the random name of the logs and the random secret."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE store SET log = length(log), digest_secret = zeroblob(length(digest_secret))"
        )
        tables = connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main'")
        names = [name for (name,) in tables if name != "sqlite_schema"]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}  # noqa: S608


async def test_new_database_equals_a_migrated_one(tmp_path: Path) -> None:
    created, migrated = tmp_path / "created.db", tmp_path / "migrated.db"
    await (await SqlAlchemyStore.open(f"sqlite:///{created}")).close()
    make(migrated, "head")
    assert schema_of(created) == schema_of(migrated)
    assert rows_of(created) == rows_of(migrated)
    assert set(schema_of(created)) >= TABLES


def test_known_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(config()).walk_revisions()
    assert [*REVISIONS] == [script.revision for script in scripts][::-1]


async def test_every_table_is_strict(tmp_path: Path) -> None:
    path = await made_by_opening(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name, strict FROM pragma_table_list").fetchall()
    assert {name for name, strict in tables if strict} == TABLES


@pytest.mark.parametrize(
    "statement",
    [
        # The same canonical name; the pair reversed, repeated, and with oneself.
        "INSERT INTO users VALUES (9, 'Ann', 'ann', 'hash', 0, 0, NULL)",
        "INSERT INTO users VALUES (9, NULL, 'eve', 'hash', 0, 0, NULL)",
        # A second account, one of an unknown user, one without a password.
        "INSERT INTO accounts VALUES (1, 'hash', 0)",
        "INSERT INTO accounts VALUES (3, 'hash', 0)",
        "UPDATE accounts SET password_hash = NULL",
        # A session of a user without an account, one twice, one without a digest or with a text.
        "INSERT INTO sessions VALUES ('a', 3, 'phone', x'00', NULL, NULL, 0, 0, 1, 1)",
        "INSERT INTO sessions VALUES ('a', 1, 'phone', x'00', NULL, NULL, 0, 0, 1, 1), "
        "('a', 2, 'phone', x'00', NULL, NULL, 0, 0, 1, 1)",
        "INSERT INTO sessions VALUES ('a', 1, 'phone', NULL, NULL, NULL, 0, 0, 1, 1)",
        "INSERT INTO sessions VALUES ('a', 1, 'phone', 'text', NULL, NULL, 0, 0, 1, 1)",
        "INSERT INTO chats VALUES (9, 2, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
        "INSERT INTO chats VALUES (9, 1, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
        "INSERT INTO chats VALUES (9, 1, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
        "INSERT INTO chats VALUES (9, 1, 3, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
        # Oneself, an unknown user, the same peer again; a retired name.
        "INSERT INTO blocks VALUES (1, 1, 0)",
        "INSERT INTO blocks VALUES (1, 3, 0)",
        "INSERT INTO blocks VALUES (3, 1, 0)",
        "INSERT INTO blocks VALUES (1, 2, 0), (1, 2, 9)",
        "INSERT INTO retired_names VALUES ('digest'), ('digest')",
        "UPDATE chats SET closed = 'yes'",
        "UPDATE messages SET digest = 'text'",
        "UPDATE chats SET last_seq = -1",
        "UPDATE chats SET activity = 'soon'",
        "INSERT INTO messages VALUES (1, 1, 1, 'again', 0, NULL, 0, NULL)",
        "INSERT INTO messages VALUES (1, 0, 1, 'before the first', 0, NULL, 0, NULL)",
        "INSERT INTO messages VALUES (1, 2, 1, '', 0, NULL, 0, NULL)",
        "INSERT INTO messages VALUES (1, 2, 1, printf('%.4097c', 'x'), 0, NULL, 0, NULL)",
        "INSERT INTO messages VALUES (1, 2, 1, x'00', 0, NULL, 0, NULL)",
        "INSERT INTO messages VALUES (1, 2, 1, 'same key', 0, 'k', 0, NULL)",
        "INSERT INTO messages VALUES (9, 1, 1, 'no such chat', 0, NULL, 0, NULL)",
        "INSERT INTO messages VALUES (1, 2, 9, 'no such user', 0, NULL, 0, NULL)",
        # Before the first, the first again, and another name for the logs.
        "INSERT INTO events VALUES (1, 0, 0, 1, 0, 0)",
        "INSERT INTO events VALUES (1, 1, 0, 1, 0, 0)",
        "INSERT INTO store (id, log) VALUES (2, 'name')",
        "INSERT INTO store (id, log) VALUES (1, 'name')",
    ],
)
async def test_database_refuses_invalid_rows(statement: str, tmp_path: Path) -> None:
    path = await made_by_opening(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)


async def test_foreign_keys_are_enforced_on_the_store(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM users WHERE id = ?", (ann.id,))
        with pytest.raises(StoreUnavailable):
            await send(store, chat, ann, "from no user")
        assert await store.last_seq(chat.id) == 0


async def test_ids_are_never_reused(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, bob = await ann_and_bob(store)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM chats")
        connection.execute("DELETE FROM accounts WHERE user_id = ?", (bob.id,))
        connection.execute("DELETE FROM users WHERE id = ?", (bob.id,))
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        eve = await store.add_user(UserName("eve"), "hash", 0)
        assert eve.id > bob.id
        assert (await store.open_chat(ann.id, eve.id, 0)).id > chat.id


def test_schema_and_statements_compile_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        sql = str(CreateTable(table).compile(dialect=dialect))
        assert "BIGINT" in sql or table.name == "retired_names"
        assert "INTEGER" not in sql
        for index in table.indexes:
            str(CreateIndex(index).compile(dialect=dialect))
    for name, statement in STATEMENTS.items():
        sql = str(statement.compile(dialect=dialect))  # type: ignore[attr-defined]
        # Ids and numbers have 64 bits, also where they are compared.
        assert re.search(r"%\((?!coalesce)\w+\)s::INTEGER", sql) is None
        # What may be there already is no error. Before the others their user is locked.
        assert (
            "INSERT" in sql
            and name not in {"LOG", "RETIRE", "ADD_ACCOUNT", "ADD_SESSION", "SEE_NODE"}
        ) == (re.search(r"ON CONFLICT \(.+\) DO NOTHING", sql) is not None)
