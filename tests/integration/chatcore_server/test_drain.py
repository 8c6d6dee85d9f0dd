"""`chatcore drain`: the outbox of a synchronous host, from the command line."""

import asyncio
import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from chatcore.testing.scene import ann_and_bob, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.fork_server import fork_server
from tests.support.host import PostgresHost, SqliteHost, create_tables, insert
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService, environment, run

SHOP = {"outbox_url": "sqlite:///shop.db"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a chatcore database in which Ann and Bob have a chat, and the database of a host."""

    async def prepare() -> None:
        (tmp_path / "shop.db").touch()
        await create_tables(SqliteHost(tmp_path / "shop.db"))
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
            await ann_and_bob(store)

    asyncio.run(prepare())
    return tmp_path


def commit(folder: Path, *rows: tuple[str, str, str]) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as connection, connection:
        for row in rows:
            connection.execute(insert(*row))


def texts(folder: Path) -> list[str]:
    async def read() -> list[str]:
        async with await SqlAlchemyStore.open(f"sqlite:///{folder}/chatcore.db") as store:
            ann = await store.user_by_name("ann")
            assert ann
            chat = await store.chat_with(ann.id, "bob")
            assert chat
            return [message.text for message in await read_all(store, chat)]

    return asyncio.run(read())


def test_drain_sends_lists_refused_rows_and_retries_them(folder: Path) -> None:
    commit(folder, ("ann", "bob", "one"), ("ann", "eve", "private"), ("bob", "Ann", "two"))
    done = run("drain", cwd=folder, **SHOP)
    assert (done.returncode, done.stdout) == (0, "Sent 2, refused 1\n")
    assert re.fullmatch(
        r"\S+ WARNING Outbox chat_outbox: row 2 refused: user_not_found\n", done.stderr
    )
    assert texts(folder) == ["one", "two"]

    listed = run("drain", "--list", cwd=folder, **SHOP)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert re.fullmatch(
        r"row 2, ann to eve: user_not_found \(1 refusals, the last at 20\S+Z\)\n"
        r"Refused rows: 1\n",
        listed.stdout,
    )
    for arguments, count in ((["1", "3"], 0), (["2"], 1), ([], 0)):
        retried = run("drain", "--retry", *arguments, cwd=folder, **SHOP)
        said = f"Refused rows that the next drain sends: {count}\n"
        assert (retried.returncode, retried.stdout, retried.stderr) == (0, said, "")
    assert run("drain", cwd=folder, **SHOP).stdout == "Sent 0, refused 1\n"


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        ([], {}, "CHATCORE_OUTBOX_URL is missing"),
        ([], {"outbox_url": "sqlite:///other.db"}, "there is no database other.db"),
        ([], {"outbox_url": "sqlite:shop.db"}, "a SQLite URL is sqlite:///"),
        ([], {"outbox_url": "shop.db"}, "the URL of the outbox's database is not valid"),
        ([], {"outbox_url": "nosuch://shop"}, "SQLAlchemy knows no database nosuch://"),
        ([], {"outbox_url": "oracle://shop"}, "needs the Python module oracledb"),
        (["--outbox-table", "x"], SHOP, "cannot read the table x: .* docs/outbox.md"),
        (["--outbox-table", "a.b.c"], SHOP, "expected table or schema.table"),
        (["--database-url", "sqlite:///no.db"], SHOP, "there is no database no.db"),
        (["--follow", "0"], SHOP, "expected a number of seconds from 0.01 to 3600"),
        (["--list", "--retry"], SHOP, "not allowed with argument"),
    ],
)
def test_drain_that_cannot_run_says_why_in_one_line(
    arguments: list[str], settings: dict[str, str], line: str, folder: Path
) -> None:
    refused = run("drain", *arguments, cwd=folder, **settings)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(f"chatcore: .*{line}.*\n", refused.stderr)


def test_drain_ends_with_status_1_while_the_host_holds_its_database(folder: Path) -> None:
    commit(folder, ("ann", "bob", "one"))
    with closing(sqlite3.connect(folder / "shop.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        failed = run("drain", cwd=folder, **SHOP)
    assert failed.returncode == 1
    assert failed.stderr == "chatcore: the outbox's database failed: database is locked\n"
    assert run("drain", cwd=folder, **SHOP).returncode == 0
    assert texts(folder) == ["one"]


def test_drain_ends_with_status_1_when_chatcore_cannot_write(
    folder: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    async def prepare() -> None:
        async with await SqlAlchemyStore.open(postgres_url) as store:
            await ann_and_bob(store)

    asyncio.run(prepare())
    commit(folder, ("ann", "bob", "one"), ("bob", "ann", "two"))
    read_only = f"ALTER DATABASE {name_of(postgres_url)} SET default_transaction_read_only ="
    postgres.sql(f"{read_only} on")
    failed = run("drain", cwd=folder, database_url=postgres_url, **SHOP)
    assert (failed.returncode, failed.stdout) == (1, "Sent 0, refused 0\n")
    assert re.fullmatch("chatcore: an outage left 2 rows in the outbox: .+\n", failed.stderr)
    postgres.sql(f"{read_only} off")
    done = run("drain", cwd=folder, database_url=postgres_url, **SHOP)
    assert (done.returncode, done.stdout) == (0, "Sent 2, refused 0\n")


def test_drain_follows_the_outbox_until_sigterm(folder: Path) -> None:
    output = folder / "output"
    with output.open("wb") as stream:
        process = fork_server().start(
            ["drain", "--follow", "0.01"],
            folder=folder,
            environment=environment(**SHOP),
            output=stream.fileno(),
            errors=stream.fileno(),
        )
        for round_ in range(2):
            commit(folder, ("ann", "bob", str(round_)))
            wait_until_drained(folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert output.read_text() == ("Drains chat_outbox every 0.01 seconds\nSent 2, refused 0\n")
    assert texts(folder) == ["0", "1"]


def test_service_drains_the_outbox_of_its_settings(folder: Path) -> None:
    commit(folder, ("ann", "bob", "before"))
    with QuickService(folder, **SHOP) as service:
        wait_until_drained(folder)
        commit(folder, ("ann", "bob", "after"))
        wait_until_drained(folder)
        assert service.stop() == 0
    assert texts(folder) == ["before", "after"]

    refused = run("serve", cwd=folder, port="0", outbox_url="sqlite:///other.db")
    assert refused.returncode == 2
    assert refused.stderr == "chatcore: there is no database other.db\n"


def wait_until_drained(folder: Path) -> None:
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        while connection.execute("SELECT count(*) FROM chat_outbox").fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_drain_reads_a_schema_of_a_postgresql_host(folder: Path, empty_database: str) -> None:
    async def prepare() -> None:
        host = PostgresHost(empty_database)
        await create_tables(host)
        async with host.transaction() as execute:
            await execute("CREATE SCHEMA shop")
            await execute("ALTER TABLE chat_outbox SET SCHEMA shop")
            await execute(insert("ann", "bob", "hello").replace("chat_outbox", "shop.chat_outbox"))

    asyncio.run(prepare())
    settings = {"outbox_url": empty_database, "outbox_table": "shop.chat_outbox"}
    done = run("drain", cwd=folder, **settings)
    assert (done.stdout, done.stderr) == ("Sent 1, refused 0\n", "")
    assert texts(folder) == ["hello"]
