"""SQLite runs every statement by an index, however full the tables are."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chatcore.testing import sessions
from chatcore.testing.scene import NOW_US, add_user, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.sqlite import batch as sqlite_batch
from chatcore_sqlalchemy.sqlite.statement import sql_of
from tests.support.statements import STATEMENTS


def all_statements() -> Iterator[tuple[str, str]]:
    for name, statement in STATEMENTS.items():
        yield name, sql_of(statement)[0]
    for name, statement in vars(sqlite_batch).items():
        if isinstance(statement, str) and name.isupper():
            yield f"append {name}", statement


@pytest.fixture(params=["empty", "full and analysed"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        if request.param != "empty":
            users = [await add_user(store, f"user {n}") for n in range(40)]
            for user in users:
                for peer in users[: user.id - 1 : 3]:
                    chat = await store.open_chat(user.id, peer.id, NOW_US)
                    await send(store, chat, user, "hello", key="k")
                await sessions.add(store, user)
    if request.param != "empty":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ANALYZE")
    return path


def faults(connection: sqlite3.Connection, statement: str) -> list[str]:
    """The steps of the plan whose cost grows with a table."""
    names = set(re.findall(r":(\w+)", statement))
    values = dict.fromkeys(names) if names else ["[]"] * statement.count("?")
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
    return [
        step
        for *_, step in plan
        # These scans read a parameter array or the few rows of a subquery.
        if re.search(
            r"SCAN (?!\w+ VIRTUAL TABLE|anon_\d|renamed|CONSTANT)|ANY\(|TEMP B-TREE|AUTOMATIC", step
        )
    ]


async def test_every_statement_finds_its_rows_by_an_index(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        found = {name: faults(connection, statement) for name, statement in all_statements()}
    assert len(found) == 75
    assert {name: steps for name, steps in found.items() if steps} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM messages WHERE text = :text",
        "SELECT * FROM messages AS m WHERE chat_id = :chat_id ORDER BY sent_us",
        "SELECT count(*) FROM chats",
        "SELECT name FROM json_each(?) CROSS JOIN users ON name = value",
        "UPDATE chats SET activity = 1 WHERE activity = :before",
    ],
)
async def test_scan_or_sort_is_detected(statement: str, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        assert faults(connection, statement)


@pytest.mark.parametrize("name", ["CHATS_OF", "CHAT_STATES", "EVENTS_FROM"])
async def test_list_reads_no_more_than_its_page(name: str, tmp_path: Path) -> None:
    """For a user with chats on both sides of the pair."""
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        users = [await add_user(store, f"user {n}") for n in range(101)]
        for peer in (*users[:50], *users[51:]):
            chat = await store.open_chat(users[50].id, peer.id, NOW_US)
            await send(store, chat, peer, "hello")
    sql, constants = sql_of(STATEMENTS[name])
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(path)) as connection:
        connection.set_progress_handler(count, 1)
        costs = []
        for limit in (1, 1, 2, 100):  # The first one also reads the schema.
            steps = 0
            values = {"user_id": 51, "before": 2**63 - 1, "n": 1, "limit": limit}
            found = connection.execute(sql, {**constants, **values}).fetchall()
            assert len(found) == limit
            costs.append(steps)
    a_row = costs[2] - costs[1]
    assert costs[1] < 10 * a_row < costs[3]
