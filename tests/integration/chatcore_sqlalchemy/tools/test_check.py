"""`chatcore check` finds inconsistencies, names them and changes nothing."""

import asyncio
import hashlib
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatcore import NewMessage, Person, UserName
from chatcore.ports import NewSession, Renewal
from chatcore.testing import sessions
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from chatcore_sqlalchemy.tools.check import MOST_FAULTS, check_database
from chatcore_sqlalchemy.tools.copy import copy
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import run

NOW = 1_700_000_000_000_000
LATER = NOW + 2 * 3_600_000_000

ANN, BOB, EVE, DAN, IDA = range(1, 6)
AB, AE, BE, ED, AI = range(1, 6)
"""Chats. Ann and Bob talk; Ann blocks Eve; Dan was erased; Bob and Eve never wrote; Ann and Ida
began after Ann's log had been trimmed. Two users of a host, of whom one was erased."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which every feature has been used."""
    path = tmp_path_factory.mktemp("grown") / "chatcore.db"
    asyncio.run(use(path))
    return path


async def use(path: Path) -> None:
    async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
        for name in ("ann", "bob", "eve", "dan", "ida"):
            await store.add_user(UserName(name), "hash", NOW)
        pairs = [(ANN, BOB), (EVE, ANN), (BOB, EVE), (EVE, DAN)]
        assert [(await store.open_chat(*pair, NOW)).id for pair in pairs] == [AB, AE, BE, ED]
        for n in range(40):
            for chat, pair in ((AB, (ANN, BOB)), (AE, (EVE, ANN)), (ED, (DAN, EVE))):
                sender = pair[n % 3 == 0]
                key = f"key-{n}" if n % 2 else None
                await store.append_message(NewMessage(chat, sender, f"text {n}", NOW + n, key))
            if n % 7 == 0:
                for chat, pair in ((AB, (ANN, BOB)), (AE, (ANN, EVE)), (ED, (DAN, EVE))):
                    await store.move_read_marker(chat, pair[n % 2], n, NOW + n)
        await store.block(ANN, EVE, NOW)
        # Ann is not notified of these.
        await store.move_read_marker(AE, EVE, 39, NOW + 50)
        await store.trim_logs(keep=30, since_us=0, after_user=0)
        await store.erase_user(DAN, UserName("deleted user 1"), NOW + 60)
        await store.move_read_marker(ED, EVE, 40, NOW + 61)
        assert (await store.open_chat(ANN, IDA, LATER)).id == AI
        for n in range(3):
            await store.append_message(NewMessage(AI, IDA, f"text {n}", LATER + n, f"key-{n}"))
        await store.move_read_marker(AI, ANN, 2, LATER + 9)
        for n, user_id in enumerate((ANN, ANN, BOB)):
            id_ = sessions.session_id(n)
            start = NewSession(id_, user_id, "phone", bytes(32), LATER, LATER + 5, LATER + 9)
            await store.add_session(start, tokens_from_us=0, limit=50)
        use = Renewal(id_, bytes(32), bytes(32), bytes(32), LATER + 2, LATER, LATER + 10)
        await store.renew_session(use)
        await store.put_users([Person("shop", "1", "Ann"), Person("shop", "2", "Bob")], LATER)
        await store.erase_user(8, UserName("deleted user 2"), LATER)


async def faults(url: str) -> list[str]:
    found: list[str] = []
    await check_database(url, found.append, lambda *_: None)
    return found


def spoilt(path: Path, folder: Path, statements: str) -> str:
    """The URL of a copy on which the statements ran."""
    copied = Path(shutil.copy(path, folder / "spoilt.db"))
    with closing(sqlite3.connect(copied)) as connection:
        connection.executescript(statements)
    return f"sqlite:///{copied}"


FAULTS = {
    "UPDATE store SET log = '0123456789012345678901234567890123456789'": "the store has 1 names",
    "DELETE FROM retired_names": "2 users are erased, but 0 names are retired",
    "DELETE FROM accounts WHERE user_id = 2": "user 2 is in the empty realm, but has no account",
    "INSERT INTO accounts VALUES (4, 'hash', 0)": "user 4 has an account, but is erased",
    "INSERT INTO accounts VALUES (7, 'hash', 0)": "user 7 has an account, but is erased",
    "UPDATE users SET password_hash = 'hash' WHERE id = 1": "user 1 has a password hash or token t",
    "INSERT INTO sessions SELECT 'a', 3, 'x', digest, NULL, NULL, 0, 0, 1, 1 FROM sessions LIMIT 1;"
    "DELETE FROM accounts WHERE user_id = 3": "user 3, who has no account, has 1 sessions",
    "UPDATE sessions SET digest = substr(digest, 2) WHERE user_id = 2": (
        "of user 2 has a digest or a salt of a wrong length, or one alone"
    ),
    "UPDATE sessions SET former = NULL": "of user 2 has a digest or a salt of a wrong length, or o",
    "UPDATE sessions SET salt = digest WHERE user_id = 1": "of user 1 has a digest or a salt of a ",
    "UPDATE sessions SET expires_us = ends_us + 1": "of user 1 lasts too long",
    "UPDATE sessions SET used_us = used_us + 1 WHERE user_id = 1": "of user 1 lasts too long, or w",
    "UPDATE store SET digest_secret = NULL": "the secret of the digests has 0 bytes, not 32",
    "UPDATE messages SET idempotency_key = NULL WHERE chat_id = 1 AND seq = 8": (
        "message 8 of chat 1 has a digest of a wrong length, or has one without a key"
    ),
    "UPDATE messages SET digest = substr(digest, 2) WHERE chat_id = 1 AND seq = 8": (
        "message 8 of chat 1 has a digest of a wrong length, or has one without a key"
    ),
    "INSERT INTO blocks VALUES (2, 4, 0)": "user 2 blocks user 4, though one of them is erased",
    "UPDATE chats SET closed = 1 WHERE id = 1": "chat 1 is closed by 1; blocks and erased users m",
    "UPDATE chats SET closed = 0 WHERE id = 2": "chat 2 is closed by 0; blocks and erased users m",
    "DELETE FROM blocks": "chat 2 is closed by 1; blocks and erased users make it 0",
    "UPDATE chats SET closed = 2 WHERE id = 4": "chat 4 is closed by 2; blocks and erased users m",
    "UPDATE chats SET activity = (SELECT activity FROM chats WHERE id = 1) WHERE id = 2": (
        "user 1 has 2 chats of the activity"
    ),
    "UPDATE chats SET last_seq = 41 WHERE id = 1": (
        "chat 1 has 40 messages, numbered up to 40; it says 41"
    ),
    "DELETE FROM messages WHERE chat_id = 1 AND seq = 7": (
        "chat 1 has 39 messages, numbered up to 40; it says 40"
    ),
    "DELETE FROM messages WHERE chat_id = 1 AND seq = 40": (
        "chat 1 has 39 messages, numbered up to 39; it says 40"
    ),
    "UPDATE messages SET sender_id = 3 WHERE chat_id = 1 AND seq = 7": (
        "message 7 of chat 1 is from user 3, who is not in the chat"
    ),
    "UPDATE messages SET lo_sent = lo_sent + 1 WHERE chat_id = 1 AND seq = 8": (
        "message 8 of chat 1 counts 6 of its sender with the lower id; there are 5"
    ),
    "UPDATE chats SET lo_sent = lo_sent - 1 WHERE id = 1": (
        "chat 1 counts 25 messages of its user with the lower id; there are 26"
    ),
    "UPDATE chats SET lo_read = 41 WHERE id = 1": "user 1 has read chat 1 up to 41, shown to the",
    "UPDATE chats SET hi_told = hi_read + 1 WHERE id = 1": "user 2 has read chat 1 up to 35, shown",
    "UPDATE chats SET lo_seen = lo_seen + 1 WHERE id = 1": "user 1 has seen 11 messages of the pee",
    "UPDATE chats SET hi_seen = hi_seen - 1 WHERE id = 1": "user 2 has seen 22 messages of the pee",
    "DROP INDEX messages_key; UPDATE messages SET idempotency_key = 'key-1' WHERE chat_id = 1": (
        "26 messages of user 1 in chat 1, the first of them 2, have one key"
    ),
    "DELETE FROM events WHERE user_id = 2 AND n = 30": "entries, numbered from ",
    "INSERT INTO events VALUES (4, 1, 0, 4, 0, 0)": (
        "user 4, who is erased or unknown, has a log of 1 entries"
    ),
    "UPDATE events SET chat_id = 4 WHERE user_id = 2 AND n = 30": (
        "entry 30 of the log of user 2 is of chat 4, which the user is not in"
    ),
    "UPDATE events SET kind = 9 WHERE user_id = 2 AND n = 30": (
        "entry 30 of the log of user 2 is of kind 9 with the number"
    ),
    "UPDATE events SET seq = seq - 1 WHERE user_id = 2 AND n = 30": (
        "entry 30 of the log of user 2, of kind 1, has number"
    ),
    # A message missing from the log: in the middle, at the end, at the beginning, and as the only
    # one of its chat; and a whole log missing.
    """DELETE FROM events WHERE user_id = 2 AND n = 30;
    UPDATE events SET n = n + 100000 WHERE user_id = 2 AND n > 30;
    UPDATE events SET n = n - 100001 WHERE user_id = 2 AND n > 30""": (
        "entry 30 of the log of user 2, of kind 1, has number"
    ),
    "DELETE FROM events WHERE user_id = 5 AND n >= 4": (
        "the log of user 5 has messages 1 to 2 of chat 5, which has 3"
    ),
    "DELETE FROM events WHERE user_id = 1 AND chat_id = 5": (
        "the log of user 1 has messages 0 to 0 of chat 5, which has 3"
    ),
    "DELETE FROM events WHERE user_id = 5": (
        "the log of user 5 has messages 0 to 0 of chat 5, which has 3"
    ),
    "UPDATE events SET seq = 1 WHERE user_id = 1 AND chat_id = 5 AND kind = 2": (
        "the log of user 1 has a read marker, of kind 2, at 1 of chat 5; it is at 2"
    ),
    "UPDATE events SET seq = 1 WHERE user_id = 5 AND chat_id = 5 AND kind = 2": (
        "the log of user 5 has a read marker, of kind 2, at 1 of chat 5; it is at 2"
    ),
}

OF_SQLITE = {
    "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'users'": (
        "the last id of users is 8, but the next one is given after 3"
    ),
    "DELETE FROM sqlite_sequence": "the last id of chats is 5, but the next one is given after N",
    "DELETE FROM users WHERE id = 5": "1 rows of chats refer to missing users",
    """PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = replace(sql, 'idempotency_key IS NOT NULL', 'seq > 20')
    WHERE name = 'messages_key'""": "the file is damaged",
}


async def test_used_database_has_no_fault(grown: Path) -> None:
    assert await faults(f"sqlite:///{grown}") == []


@pytest.mark.parametrize(("statements", "fault"), (FAULTS | OF_SQLITE).items())
async def test_planted_fault_is_found(
    statements: str, fault: str, grown: Path, tmp_path: Path
) -> None:
    found = await faults(spoilt(grown, tmp_path, statements))
    assert any(fault in line for line in found), found


async def test_planted_faults_are_found_on_postgresql(
    grown: Path, empty_database: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    source = Path(shutil.copy(grown, tmp_path))
    await copy(source, empty_database, lambda *_: None)
    async with await SqlAlchemyStore.open(empty_database) as store:
        # While a service runs.
        await store.append_message(NewMessage(BE, BOB, "one more", LATER))
        assert await faults(empty_database) == []
    template = name_of(empty_database)
    missed = {}
    for statements, fault in FAULTS.items():
        if "DROP INDEX" in statements:
            continue
        spoilt = postgres.new_database(template)
        postgres.sql(f"SET session_replication_role = replica; {statements}", spoilt)
        found = await faults(postgres.url(spoilt))
        if not any(fault in line for line in found):
            missed[fault] = found
        postgres.drop_database(spoilt)
    assert missed == {}


async def test_number_of_reported_faults_of_a_kind_is_bounded(grown: Path, tmp_path: Path) -> None:
    url = spoilt(grown, tmp_path, "UPDATE messages SET lo_sent = 99 WHERE chat_id = 1")
    lines = [line for line in await faults(url) if "counts 99" in line or "counts of mess" in line]
    assert len(lines) == MOST_FAULTS + 1
    assert "… and more about counts of messages" in lines


def torn(path: Path) -> None:
    """Overwrite pages in the middle."""
    content = bytearray(path.read_bytes())
    content[8 * 4096 : 12 * 4096] = b"\xaa" * 4 * 4096
    path.write_bytes(content)


def test_command_prints_what_it_found(grown: Path, tmp_path: Path) -> None:
    good = Path(shutil.copy(grown, tmp_path / "good.db"))
    before = hashlib.sha256(good.read_bytes()).digest()
    done = run("check", "--database-url", "sqlite:///good.db", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No faults in 7 users, 5 chats, 123 messages, 101 events\n"
    assert hashlib.sha256(good.read_bytes()).digest() == before

    spoilt(grown, tmp_path, "UPDATE chats SET last_seq = 41 WHERE id = 1")
    done = run("check", "--database-url", "sqlite:///spoilt.db", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    first, *_, last = done.stdout.splitlines()
    assert first == "chat 1 has 40 messages, numbered up to 40; it says 41"
    assert last.startswith("Faults found in 7 users")

    torn(good)
    done = run("check", "--database-url", "sqlite:///good.db", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "malformed" in done.stdout
    assert "Faults found in" in done.stdout


def test_failed_check_is_one_line(grown: Path, tmp_path: Path) -> None:
    spoilt(grown, tmp_path, "UPDATE alembic_version SET version_num = '0002'")
    done = run("check", "--database-url", "sqlite:///spoilt.db", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("chatcore: the database is at revision 0002")


async def test_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    note, none = tmp_path / "note.txt", tmp_path / "none.db"
    note.write_text("no database " * 1000)
    for path, reason in [
        (none, f"there is no file {none}"),
        (note, f"cannot read {note}: file is not a database"),
    ]:
        with pytest.raises(CannotOpen, match=f"^{re.escape(reason)}"):
            await faults(f"sqlite:///{path}")
    assert not none.exists()


async def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE users (id)")
    with pytest.raises(CannotOpen, match="not a chatcore database"):
        await faults(f"sqlite:///{tmp_path}/other.db")
