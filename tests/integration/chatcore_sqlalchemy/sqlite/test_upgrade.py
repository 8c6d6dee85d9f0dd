"""A database of an earlier version upgrades, and its contents stay the same."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatcore import (
    Chat,
    KeyReused,
    NameTaken,
    NewMessage,
    Person,
    Sent,
    User,
    UserName,
)
from chatcore.ports import Credentials
from chatcore.testing import sessions
from chatcore.testing.scene import NOW_US, add_user, ann_and_bob, send
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.tools.check import check_database
from chatcore_sqlalchemy.upgrade import REVISIONS
from tests.integration.chatcore_sqlalchemy.sqlite.test_schema import make, schema_of


def copy(source: Path, target: Path) -> None:
    """Copy all rows, as far as the target has tables and columns for them. Before revision 0004,
    users had the columns of accounts."""
    with closing(sqlite3.connect(target)) as connection, connection:
        connection.execute("ATTACH ? AS source", (str(source),))
        tables = ("users", "accounts", "retired_names", "blocks", "chats", "messages", "events")
        made = {name for (name,) in connection.execute("SELECT name FROM main.sqlite_schema")}
        for table in filter(made.__contains__, tables):
            found = connection.execute(f"PRAGMA main.table_info({table})")
            columns = ", ".join(column[1] for column in found)
            connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM source.{table}"  # noqa: S608
            )
        if "accounts" not in made:
            later = "tokens_from_us" in columns_of(connection, "users")
            connection.execute(
                f"""UPDATE users SET password_hash = a.password_hash
                    {", tokens_from_us = a.tokens_from_us" if later else ""}
                FROM source.accounts AS a WHERE a.user_id = users.id"""  # noqa: S608
            )


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")}


def old_database(new: Path, revision: str) -> Path:
    """Make a database of that revision with the rows of `new`."""
    old = new.with_name(f"old-{revision}.db")
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


async def test_database_of_revision_0003_upgrades(tmp_path: Path) -> None:
    """Before revision 0004, password hash and token time stood in the row of the user."""
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/new.db") as new:
        users, chats = await open_chats(new, 5, 1)
        for chat in chats:
            await send(new, chat, chat.users[0], "hello")
        ann, bob, eve, *_ = users
        voided = await new.void_tokens(bob.id, NOW_US, password_hash="another hash")
        await new.block(ann.id, eve.id, NOW_US)
        await new.erase_user(eve.id, UserName("deleted user 1"), NOW_US)
        old = old_database(tmp_path / "new.db", "0003")
        async with await SqlAlchemyStore.open(f"sqlite:///{old}") as upgraded:
            assert schema_of(old) == schema_of(tmp_path / "new.db")
            assert await states(upgraded, chats) == await states(new, chats)
            assert await upgraded.credentials_by_id(ann.id) == Credentials(ann, "a hash")
            wanted = Credentials(bob, "another hash", voided)
            assert await upgraded.credentials(bob.key) == wanted
            assert await upgraded.credentials_by_id(eve.id) is None
            with pytest.raises(NameTaken):
                await upgraded.add_user(UserName(eve.name), "hash", NOW_US)
            # A user of a host is added beside them.
            [put] = await upgraded.put_users([Person("shop", "2", "Bob")], NOW_US)
            assert put.user.id > users[-1].id
        # No hash stays where the erasure of an account does not reach it.
        with closing(sqlite3.connect(old)) as connection:
            kept = "SELECT count(*) FROM users WHERE password_hash <> '' OR tokens_from_us <> 0"
            assert connection.execute(kept).fetchone() == (0,)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_upgraded_database_has_no_fault(revision: str, tmp_path: Path) -> None:
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/new.db") as new:
        users, chats = await open_chats(new, 5, 2)
        for n in range(60):
            chat = chats[n % 3]
            await send(new, chat, chat.users[n % 5 < 2], f"message {n}")
        if revision >= "0003":
            await new.erase_user(users[0].id, UserName("deleted user 1"), NOW_US)
    old = old_database(tmp_path / "new.db", revision)
    await (await SqlAlchemyStore.open(f"sqlite:///{old}")).close()
    found: list[str] = []
    await check_database(f"sqlite:///{old}", found.append, lambda *_: None)
    assert found == []


async def test_database_of_revision_0004_upgrades(tmp_path: Path) -> None:
    """Before revision 0005 there were no digests, so these messages are compared by their text."""
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/new.db") as new:
        chat, ann, _ = await ann_and_bob(new)
        first = await send(new, chat, ann, "a bad word", "old")
        await send(new, chat, ann, "no key")
    old = old_database(tmp_path / "new.db", "0004")
    rewritten = NewMessage(chat.id, ann.id, "a *** word", NOW_US, "new", "a bad word")
    async with await SqlAlchemyStore.open(f"sqlite:///{old}") as upgraded:
        assert schema_of(old) == schema_of(tmp_path / "new.db")
        again = Sent(first.message, replayed=True)
        assert await send(upgraded, chat, ann, "a bad word", "old") == again
        # Also if a policy would rewrite the retry.
        retry = NewMessage(chat.id, ann.id, "a *** word", NOW_US, "old", "a bad word")
        assert await upgraded.append_message(retry) == again
        assert await upgraded.replay_of(retry) == again
        with pytest.raises(KeyReused):
            await send(upgraded, chat, ann, "a *** word", "old")
        sent = await upgraded.append_message(rewritten)
        assert (sent.message.seq, sent.replayed) == (3, False)
    async with await SqlAlchemyStore.open(f"sqlite:///{old}") as reopened:
        replay = Sent(sent.message, replayed=True)
        assert await send(reopened, chat, ann, "a bad word", "new") == replay
        with pytest.raises(KeyReused):
            await send(reopened, chat, ann, "a *** word", "new")


async def test_database_of_revision_0005_upgrades(tmp_path: Path) -> None:
    """Before revision 0006 there were no device sessions."""
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/new.db") as new:
        chat, ann, _ = await ann_and_bob(new)
        sent = await send(new, chat, ann, "hello")
    old = old_database(tmp_path / "new.db", "0005")
    async with await SqlAlchemyStore.open(f"sqlite:///{old}") as upgraded:
        assert schema_of(old) == schema_of(tmp_path / "new.db")
        assert await upgraded.messages_after(chat.id, 0, limit=5) == [sent.message]
        assert await upgraded.sessions_of(ann.id, NOW_US) == []
        session = await sessions.add(upgraded, ann)
    async with await SqlAlchemyStore.open(f"sqlite:///{old}") as reopened:
        assert await reopened.sessions_of(ann.id, NOW_US) == [session]


async def test_stored_row_does_not_hold_the_submitted_text(tmp_path: Path) -> None:
    path = tmp_path / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await store.append_message(NewMessage(chat.id, ann.id, "a", NOW_US, "k", "a bad word"))
        await store.append_message(NewMessage(chat.id, ann.id, "a", NOW_US, "l", "a bad word"))
    assert b"bad word" not in path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        digests = {digest for (digest,) in connection.execute("SELECT digest FROM messages")}
    # Equal texts do not show as equal digests.
    assert len(digests) == 2
