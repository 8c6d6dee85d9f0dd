"""A grown installation moves from its SQLite file to PostgreSQL, completely or not at all."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatcore import ChatNotFound, NameTaken, NewMessage, Person, User, UserName
from chatcore.events import Cursor
from chatcore.testing.scene import read_all
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from chatcore_sqlalchemy.tools.copy import copy
from tests.integration.durability.load import Load
from tests.support.postgres_proxy import Fate, proxy_to
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import run
from tests.support.soak import SOAK


@pytest.fixture(scope="module")
async def grown_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with traces of every feature: markers, keys, trimmed logs, blocks, markers hidden
    from a peer, void tokens, an erased user, users of a host, and a
    user whose row is missing."""
    path = tmp_path_factory.mktemp("grown") / "chatcore.db"
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        load = Load()
        chats = await load.open_chats(store, 8)
        await load.talk(store, chats, 20)
        for number, chat in enumerate(chats):
            await store.move_read_marker(chat.id, chat.users[number % 2].id, 3 * number, 5)
        await store.append_message(
            NewMessage(1, chats[0].users[0].id, "rewritten", 7, "a-key", "with a key")
        )
        await store.trim_logs(keep=30, since_us=0, after_user=0)
        (one, other), (three, four), (_, five) = [chat.users for chat in chats[2:5]]
        await store.block(one.id, other.id, 8)
        await store.block(four.id, three.id, 9)
        for chat, reader in ((chats[2], one), (chats[3], four)):
            await store.move_read_marker(chat.id, reader.id, 15, 10)
        await store.unblock(four.id, three.id)
        await store.void_tokens(three.id, 11)
        await store.erase_user(five.id, UserName("Deleted user 1"), 12)
        await store.put_users([Person("shop", "1", "Ann"), Person("shop", "2", "Ann")], 13)
        missing = await store.add_user(UserName("missing"), "hash", 0)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM accounts WHERE user_id = ?", (missing.id,))
        connection.execute("DELETE FROM users WHERE id = ?", (missing.id,))
    return path


@pytest.fixture
def grown(grown_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(grown_once, tmp_path))


def quiet(phase: str, done: int, total: int) -> None:
    assert phase
    assert 0 < done <= total


async def everything(store: SqlAlchemyStore) -> list[object]:
    """Everything the store shows of every user."""
    found: list[object] = []
    user: User | None
    for user_id in range(1, 30):
        if (user := await store.user_by_id(user_id)) is None:
            continue
        states = await store.chat_states(user.id, before=None, limit=500)
        end = await store.end_of_log(user.id)
        since = Cursor(end.log, user.id, max(end.n - 20, 0))
        found += [user, await store.credentials(UserName(user.name).canonical), states, end]
        found += [await store.blocked_by(user.id, after=0, limit=500)]
        found += [
            await store.events_after(since, limit=500),
            await store.events_after(end, limit=1),
        ]
        found += [await read_all(store, state.chat) for state in states]
    return found


async def is_closed(store: SqlAlchemyStore, chat_id: int) -> bool:
    chat = await store.chat_by_id(chat_id)
    assert chat
    try:
        await store.append_message(NewMessage(chat_id, chat.users[0].id, "on", 9))
    except ChatNotFound:
        return True
    return False


async def test_every_row_is_copied(grown: Path, empty_database: str) -> None:
    rows, before = await copy(grown, empty_database, quiet)
    assert not before
    assert rows["messages"] > 300
    async with (
        await SqlAlchemyStore.open(f"sqlite:///{grown}") as old,
        await SqlAlchemyStore.open(empty_database) as new,
    ):
        assert await everything(new) == await everything(old)
        # Both stores continue alike.
        for store in (old, new):
            eve = await store.add_user(UserName("eve"), "hash", 0)
            chat = await store.open_chat(1, eve.id, 0)
            assert (eve.id, chat.id) == (21, 9)
            again = NewMessage(1, 1, "with a key", 8, "a-key")
            replay = await store.append_message(again)
            assert replay.replayed
            assert replay.message.sent_us == 7
            assert not (await store.append_message(NewMessage(1, 1, "on", 9))).replayed
            closed = [await is_closed(store, chat_id) for chat_id in range(1, 9)]
            assert sum(closed) == 2
            # Also the name of the missing user.
            for n in range(16):
                with pytest.raises(NameTaken):
                    await store.add_user(UserName(f"user {n}"), "hash", 0)
        assert await everything(new) == await everything(old)


async def test_second_copy_verifies_the_first(grown: Path, empty_database: str) -> None:
    first = await copy(grown, empty_database, quiet)
    second = await copy(grown, empty_database, quiet)
    assert second == first._replace(before=True)
    async with await SqlAlchemyStore.open(empty_database) as store:
        await store.append_message(NewMessage(1, 1, "one more", 9))
    with pytest.raises(CannotOpen, match=r"differs|rows, not"):
        await copy(grown, empty_database, quiet)


@pytest.mark.parametrize("count", [1, 3, 5] if SOAK else [3])
async def test_interrupted_copy_leaves_nothing_and_can_be_repeated(
    count: int, grown: Path, empty_database: str, postgres: PostgresServer
) -> None:
    async with proxy_to(empty_database) as (proxy, url):
        pieces = 0

        def judge(message: bytes) -> Fate:
            nonlocal pieces
            # The data of one table.
            pieces += message[:1] == b"d"
            return Fate.IS_LOST if pieces == count else Fate.PASSES

        proxy.judge = judge
        with pytest.raises(CannotOpen):
            await copy(grown, url, quiet)
        assert proxy.cuts == 1
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'chatcore'"
    async with asyncio.timeout(120):
        while postgres.sql(tables, name_of(empty_database)) != "0":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert not (await copy(grown, empty_database, quiet)).before


async def test_used_target_is_refused_and_left_unchanged(grown: Path, postgres_url: str) -> None:
    async with await SqlAlchemyStore.open(postgres_url) as store:
        ann = await store.add_user(UserName("ann"), "hash", 0)
        with pytest.raises(CannotOpen, match="holds other data"):
            await copy(grown, postgres_url, quiet)
        assert await store.user_by_id(1) == ann
        assert await store.user_by_id(2) is None


async def test_nodes_are_no_data_of_the_store(
    grown: Path, postgres_url: str, postgres: PostgresServer
) -> None:
    """A node that crashed on the empty target stays recorded, and is neither copied nor in the
    way."""
    async with await SqlAlchemyStore.open(postgres_url) as store:
        assert await store.see_node("crashed", lambda _: ["digest"], 1) is None
        rows, before = await copy(grown, postgres_url, quiet)
        assert "node_keys" not in rows
        assert not before
        assert (await copy(grown, postgres_url, quiet)).before
    assert postgres.sql("SELECT node_id FROM node_keys", name_of(postgres_url)) == "crashed"


async def test_copy_that_differs_is_rolled_back(
    grown: Path, empty_database: str, postgres: PostgresServer
) -> None:
    await migrate(empty_database)
    postgres.sql(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "NEW.text := upper(NEW.text); RETURN NEW; END $$; "
        "CREATE TRIGGER spoil BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.seq = 20) "
        "EXECUTE FUNCTION spoil()",
        name_of(empty_database),
    )
    with pytest.raises(CannotOpen, match="copy of messages differs"):
        await copy(grown, empty_database, quiet)
    assert postgres.sql("SELECT count(*) FROM users", name_of(empty_database)) == "0"


async def test_missing_or_locked_source_is_refused(grown: Path, empty_database: str) -> None:
    with pytest.raises(CannotOpen, match="no file"):
        await copy(grown.with_name("nothing.db"), empty_database, quiet)
    assert not grown.with_name("nothing.db").exists()
    async with await SqlAlchemyStore.open(f"sqlite:///{grown}"):
        with pytest.raises(CannotOpen, match="in use"):
            await copy(grown, empty_database, quiet)


async def test_command_prints_its_progress_and_result(grown: Path, empty_database: str) -> None:
    folder = grown.parent
    arguments = ("copy", "--from", "sqlite:///chatcore.db")
    done = run(*arguments, cwd=folder, database_url=empty_database)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "copying messages: 321 of 321" in lines
    assert "comparing messages: 321 of 321" in lines
    assert lines[-1] == "Copied; every row verified: 18 users, 8 chats, 321 messages"
    done = run(*arguments, "--to", empty_database, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Already copied" in done.stdout


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("sqlite:///chatcore.db", "sqlite:///other.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:///nothing.db", "postgresql://somebody:secret@localhost:1/db"),
    ],
)
def test_command_refuses_unusable_urls(source: str, target: str, tmp_path: Path) -> None:
    done = run("copy", "--from", source, "--to", target, cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("chatcore: ")
    assert "secret" not in line
    assert not any(tmp_path.iterdir())
