"""A database of an earlier version upgrades, and its contents stay the same."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from chatcore import Chat, User
from chatcore.ports import Credentials
from chatcore.testing.scene import NOW_US, add_user, send
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.chatcore_sqlalchemy.sqlite.test_schema import make, schema_of


def copy(source: Path, target: Path) -> None:
    """Copy all rows, as far as the target has columns for them."""
    with closing(sqlite3.connect(target)) as connection, connection:
        connection.execute("ATTACH ? AS source", (str(source),))
        for table in ("users", "chats", "messages"):
            found = connection.execute(f"PRAGMA main.table_info({table})")
            columns = ", ".join(column[1] for column in found)
            connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM source.{table}"  # noqa: S608
            )


def old_database(new: Path, revision: str) -> Path:
    """Make a database of that revision with the rows of `new`."""
    old = new.with_name("old.db")
    make(old, revision)
    copy(new, old)
    return old


async def open_chats(
    store: SqlAlchemyStore, count: int, step: int
) -> tuple[list[User], list[Chat]]:
    """Add users, and a chat of each with every `step`-th earlier user."""
    users = [await add_user(store, f"user {n}") for n in range(count)]
    chats = [
        await store.open_chat(user.id, peer.id, NOW_US)
        for user in users
        for peer in users[: user.id - 1 : step]
    ]
    return users, chats


async def states(store: SqlAlchemyStore, chats: Sequence[Chat]) -> list[Any]:
    return [
        await store.chat_states(user.id, before=None, limit=500)
        for chat in chats
        for user in chat.users
    ]


async def test_database_of_revision_0001_upgrades(tmp_path: Path) -> None:
    random = Random(1)
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/new.db") as new:
        users, chats = await open_chats(new, 6, 2)
        for n in range(300):
            # The last chat stays empty.
            chat = random.choice(chats[:-1])
            await send(new, chat, random.choice(chat.users), f"message {n}")
        old = old_database(tmp_path / "new.db", "0001")
        async with await SqlAlchemyStore.open(f"sqlite:///{old}") as upgraded:
            assert not upgraded.created
            assert schema_of(old) == schema_of(tmp_path / "new.db")
            assert await states(upgraded, chats) == await states(new, chats)
            end = await upgraded.end_of_log(users[0].id)
            assert end.n == 0
            assert await upgraded.events_after(end, limit=500) == []
            # The upgraded store behaves like the new one.
            for _ in range(100):
                chat = random.choice(chats)
                user, seq = random.choice(chat.users), random.randrange(60)
                for store in (new, upgraded):
                    await send(store, chat, user, "one more")
                    await store.move_read_marker(chat.id, user.id, seq, NOW_US)
            assert await states(upgraded, chats) == await states(new, chats)


async def test_database_of_revision_0002_upgrades(tmp_path: Path) -> None:
    """Before revision 0003, peers saw the read marker itself, so the upgrade copies it."""
    random = Random(2)
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/new.db") as new:
        users, chats = await open_chats(new, 5, 1)
        for n in range(200):
            chat = random.choice(chats)
            await send(new, chat, random.choice(chat.users), f"message {n}")
            await new.move_read_marker(chat.id, random.choice(chat.users).id, n // 12, NOW_US)
        old = old_database(tmp_path / "new.db", "0002")
        async with await SqlAlchemyStore.open(f"sqlite:///{old}") as upgraded:
            assert schema_of(old) == schema_of(tmp_path / "new.db")
            found = await states(upgraded, chats)
            assert found == await states(new, chats)
            assert any(state.peer_read_seq for page in found for state in page)
            # No user is blocked, erased or logged out.
            for user in users:
                assert await upgraded.credentials_by_id(user.id) == Credentials(user, "a hash")
                assert await upgraded.blocked_by(user.id, after=0, limit=500) == []
            for chat in chats:
                await send(upgraded, chat, chat.users[0], "one more")
