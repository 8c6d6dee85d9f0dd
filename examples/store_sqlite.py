"""A store of your own: users of a host, their chats, events and blocks, without accounts, on the
standard library's sqlite3. docs/adapters.md leads through it.

python examples/store_sqlite.py
"""

import asyncio
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from chatcore import (
    Chat,
    ChatExists,
    ChatNotFound,
    ChatOpened,
    ChatState,
    ChatSummary,
    Cursor,
    KeyReused,
    MarkerMoved,
    Message,
    MessageSent,
    Messenger,
    NameTaken,
    NewMessage,
    Person,
    SelfChat,
    Sent,
    StoreUnavailable,
    User,
    UserErased,
    UserName,
    UserNotFound,
    user_of,
)
from chatcore.events import Entry
from chatcore.ports import Put

P = ParamSpec("P")
T = TypeVar("T")

TABLES = """
CREATE TABLE IF NOT EXISTS store (log TEXT NOT NULL, secret BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL, former_key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS chats (id INTEGER PRIMARY KEY, lo INTEGER NOT NULL,
    hi INTEGER NOT NULL, activity INTEGER NOT NULL UNIQUE, UNIQUE (lo, hi));
CREATE INDEX IF NOT EXISTS chats_of_hi ON chats (hi);
CREATE TABLE IF NOT EXISTS messages (chat INTEGER, seq INTEGER, sender INTEGER NOT NULL,
    text TEXT NOT NULL, sent_us INTEGER NOT NULL, key TEXT, digest BLOB, PRIMARY KEY (chat, seq),
    UNIQUE (chat, sender, key));
CREATE TABLE IF NOT EXISTS markers (chat INTEGER, user INTEGER, seq INTEGER NOT NULL,
    shown INTEGER NOT NULL, PRIMARY KEY (chat, user));
CREATE TABLE IF NOT EXISTS blocks (user INTEGER, peer INTEGER, PRIMARY KEY (user, peer));
CREATE TABLE IF NOT EXISTS events (user INTEGER, n INTEGER, at_us INTEGER NOT NULL,
    chat INTEGER NOT NULL, seq INTEGER, reader INTEGER, PRIMARY KEY (user, n));
"""
USERS = "SELECT id, key, name FROM users WHERE "
CHATS = """SELECT c.id, c.activity, lo.id, lo.key, lo.name, hi.id, hi.key, hi.name
    FROM chats c JOIN users lo ON lo.id = c.lo JOIN users hi ON hi.id = c.hi """
NEWEST_CHATS = """WHERE (lo = ?1 OR hi = ?1) AND (?2 ISNULL OR activity < ?2)
    ORDER BY activity DESC LIMIT ?3"""
MESSAGES = "SELECT chat, seq, sender, text, sent_us FROM messages WHERE chat = ? "
UNREAD = "SELECT count(*) FROM messages WHERE chat = ? AND seq > ? AND sender = ?"
EVENTS = "SELECT n, chat, seq, reader FROM events WHERE user = ? AND n > ? ORDER BY n LIMIT ?"
LOGS_AT_ONCE = 100


def step(
    method: Callable[Concatenate["SqliteStore", P], T],
) -> Callable[Concatenate["SqliteStore", P], Coroutine[Any, Any, T]]:
    """Make a method one atomic step: a transaction, without an await in it."""

    @wraps(method)
    async def transaction(self: "SqliteStore", /, *args: P.args, **options: P.kwargs) -> T:
        try:
            with self._db:  # commits, or rolls back if the method raises
                self._db.execute("BEGIN IMMEDIATE")
                return method(self, *args, **options)
        except sqlite3.Error as error:
            raise StoreUnavailable from error

    return transaction


class SqliteStore:
    """A People and a ChatStore in one file, for one event loop."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(TABLES)
        if not self._rows("SELECT * FROM store"):
            new = secrets.token_hex(8), secrets.token_bytes(32)
            self._db.execute("INSERT INTO store VALUES (?, ?)", new)
        [(self._log, self._secret)] = self._rows("SELECT log, secret FROM store")

    def close(self) -> None:
        self._db.close()

    # People: Directory, Erasure, and a host's own users.

    @step
    def user_by_name(self, canonical: str) -> User | None:
        return self._user("key = ?", canonical)

    @step
    def user_by_id(self, user_id: int) -> User | None:
        return self._user("id = ?", user_id)

    @step
    def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        return [user for key in keys if (user := self._user("key = ?", key))]

    @step
    def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        puts = []
        for it in people:
            known = self._user("key = ?", it.key)
            if self._user("former_key = ? OR key = ? AND former_key NOTNULL", it.key, it.key):
                raise UserErased(f"the user {it.handle!r} was erased")
            self._db.execute(
                "INSERT INTO users (key, name) VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET name = excluded.name",
                (it.key, it.name),
            )
            [(user_id,)] = self._rows("SELECT id FROM users WHERE key = ?", it.key)
            renamed = known is not None and known.name != it.name
            puts.append(Put(user_of(user_id, it.key, it.name), renamed))
        return puts

    @step
    def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        user = self._user("id = ? AND former_key ISNULL", user_id)
        if user is None:
            raise UserNotFound
        key = user._replace(handle=tombstone.canonical).key
        if self._user("key = ? OR former_key = ?", key, key):
            raise NameTaken
        self._db.execute(
            "UPDATE users SET key = ?, name = ?, former_key = key WHERE id = ?",
            (key, tombstone.typed, user_id),
        )
        self._db.execute("DELETE FROM blocks WHERE ? IN (user, peer)", (user_id,))
        self._db.execute("DELETE FROM events WHERE user = ?", (user_id,))

    # BlockList.

    @step
    def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        if user_id == peer_id:
            raise SelfChat
        if not (self._lives(user_id) and self._lives(peer_id)):
            raise UserNotFound
        self._db.execute("INSERT OR IGNORE INTO blocks VALUES (?, ?)", (user_id, peer_id))

    @step
    def unblock(self, user_id: int, peer_id: int) -> None:
        self._db.execute("DELETE FROM blocks WHERE user = ? AND peer = ?", (user_id, peer_id))

    @step
    def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        where = "id > ? AND (?, id) IN (SELECT user, peer FROM blocks) ORDER BY id LIMIT ?"
        return [user_of(*row) for row in self._rows(USERS + where, after, user_id, limit)]

    # Conversations.

    @step
    def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        if not (self._user("id = ?", user_id) and self._user("id = ?", peer_id)):
            raise UserNotFound
        lo, hi = sorted((user_id, peer_id))
        if self._chats("WHERE lo = ? AND hi = ?", lo, hi):
            raise ChatExists
        if self._are_apart(lo, hi):
            raise UserNotFound
        self._db.execute(
            "INSERT INTO chats (lo, hi, activity) "
            "SELECT ?, ?, coalesce(max(activity), 0) + 1 FROM chats",
            (lo, hi),
        )
        [(chat, _)] = self._chats("WHERE lo = ? AND hi = ?", lo, hi)
        self._log_event((lo, hi), opened_us, chat.id, None, None)
        return chat

    @step
    def chat_by_id(self, chat_id: int) -> Chat | None:
        found = self._chats("WHERE c.id = ?", chat_id)
        return found[0][0] if found else None

    @step
    def chat_with(self, user_id: int, peer: str) -> Chat | None:
        where = "WHERE (lo.id, hi.key) = (?1, ?2) OR (hi.id, lo.key) = (?1, ?2)"
        found = self._chats(where, user_id, peer)
        return found[0][0] if found else None

    @step
    def chats_of(self, user_id: int, *, before: int | None, limit: int) -> Sequence[ChatSummary]:
        chats = self._chats(NEWEST_CHATS, user_id, before, limit)
        return [ChatSummary(chat, self._last_seq(chat.id), activity) for chat, activity in chats]

    @step
    def chat_states(self, user_id: int, *, before: int | None, limit: int) -> Sequence[ChatState]:
        chats = self._chats(NEWEST_CHATS, user_id, before, limit)
        return [self._state(user_id, *it) for it in chats]

    @step
    def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        found = self._chats("WHERE c.id = ? AND ? IN (lo, hi)", chat_id, user_id)
        return self._state(user_id, *found[0]) if found else None

    @step
    def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        chat = self._chat_of(chat_id, user_id)
        before, shown = self._marker(chat_id, user_id)
        seq = min(seq, self._last_seq(chat_id))
        if seq <= before:
            return before
        lo, hi = (user.id for user in chat.users)
        hidden = self._are_apart(lo, hi)
        marker = chat_id, user_id, seq, shown if hidden else seq
        self._db.execute("REPLACE INTO markers VALUES (?, ?, ?, ?)", marker)
        self._log_event((user_id,) if hidden else (lo, hi), moved_us, chat_id, seq, user_id)
        return seq

    @step
    def append_message(self, new: NewMessage) -> Sent:
        chat = self._chat_of(new.chat_id, new.sender_id)
        if replay := self._replay(new):
            return replay
        lo, hi = (user.id for user in chat.users)
        if self._are_apart(lo, hi):
            raise ChatNotFound
        seq = self._last_seq(chat.id) + 1
        message = Message(chat.id, seq, new.sender_id, new.text, new.sent_us)
        row = (*message, new.idempotency_key, new.digest(self._secret))
        self._db.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._db.execute(
            "UPDATE chats SET activity = (SELECT max(activity) FROM chats) + 1 WHERE id = ?",
            (chat.id,),
        )
        self._log_event((lo, hi), new.sent_us, chat.id, seq, None)
        return Sent(message, replayed=False)

    @step
    def replay_of(self, new: NewMessage) -> Sent | None:
        return self._replay(new)

    @step
    def last_seq(self, chat_id: int) -> int:
        return self._last_seq(chat_id)

    @step
    def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        where = "AND seq > ? ORDER BY seq LIMIT ?"
        return [Message(*row) for row in self._rows(MESSAGES + where, chat_id, seq, limit)]

    @step
    def messages_before(self, chat_id: int, seq: int | None, *, limit: int) -> Sequence[Message]:
        where = "AND seq < ? ORDER BY seq DESC LIMIT ?"
        end = self._last_seq(chat_id) + 1 if seq is None else seq
        rows = self._rows(MESSAGES + where, chat_id, end, limit)
        return [Message(*row) for row in reversed(rows)]

    # EventLog.

    @step
    def end_of_log(self, user_id: int) -> Cursor:
        return Cursor(self._log, user_id, self._ends_of_log(user_id)[1])

    @step
    def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        start, end = self._ends_of_log(after.user_id)
        if after.log != self._log or not start <= after.n <= end:
            return None
        rows = self._rows(EVENTS, after.user_id, after.n, limit)
        return [self._entry(after.at(n), *row) for n, *row in rows]

    @step
    def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        logs = "SELECT DISTINCT user FROM events WHERE user > ? ORDER BY user LIMIT ?"
        recent = "SELECT min(n) FROM events WHERE user = ? AND at_us >= ?"
        users = self._rows(logs, after_user, LOGS_AT_ONCE)
        for (user_id,) in users:
            end = self._ends_of_log(user_id)[1]
            [(first,)] = self._rows(recent, user_id, since_us)
            first = min(max(end - keep + 1, first or end), end)
            self._db.execute("DELETE FROM events WHERE user = ? AND n < ?", (user_id, first))
        return users[-1][0] if len(users) == LOGS_AT_ONCE else None

    # What several methods share.

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, values).fetchall()

    def _user(self, where: str, *values: object) -> User | None:
        rows = self._rows(USERS + where, *values)
        return user_of(*rows[0]) if rows else None

    def _lives(self, user_id: int) -> bool:
        return self._user("id = ? AND former_key ISNULL", user_id) is not None

    def _are_apart(self, lo: int, hi: int) -> bool:
        blocks = "SELECT 1 FROM blocks WHERE (user, peer) IN (VALUES (?, ?), (?, ?))"
        return bool(self._rows(blocks, lo, hi, hi, lo)) or not (self._lives(lo) and self._lives(hi))

    def _chats(self, rest: str, *values: object) -> list[tuple[Chat, int]]:
        """Return chats, each with its activity."""
        return [
            (Chat(chat_id, (user_of(*users[:3]), user_of(*users[3:]))), activity)
            for chat_id, activity, *users in self._rows(CHATS + rest, *values)
        ]

    def _chat_of(self, chat_id: int, user_id: int) -> Chat:
        found = self._chats("WHERE c.id = ? AND ? IN (lo, hi)", chat_id, user_id)
        if not found:
            raise ChatNotFound
        return found[0][0]

    def _state(self, user_id: int, chat: Chat, activity: int) -> ChatState:
        lo, hi = (user.id for user in chat.users)
        peer_id = hi if user_id == lo else lo
        read = self._marker(chat.id, user_id)[0]
        last = self._rows(MESSAGES + "ORDER BY seq DESC LIMIT 1", chat.id)
        [(unread,)] = self._rows(UNREAD, chat.id, read, peer_id)
        shown = self._marker(chat.id, peer_id)[1]
        return ChatState(chat, activity, Message(*last[0]) if last else None, read, shown, unread)

    def _marker(self, chat_id: int, user_id: int) -> tuple[int, int]:
        """Return the user's read marker, and what the peer sees of it."""
        marker = "SELECT seq, shown FROM markers WHERE chat = ? AND user = ?"
        rows = self._rows(marker, chat_id, user_id)
        return (rows[0][0], rows[0][1]) if rows else (0, 0)

    def _last_seq(self, chat_id: int) -> int:
        [(last,)] = self._rows("SELECT max(seq) FROM messages WHERE chat = ?", chat_id)
        return last or 0

    def _replay(self, new: NewMessage) -> Sent | None:
        key = new.chat_id, new.sender_id, new.idempotency_key
        known = self._rows(MESSAGES + "AND sender = ? AND key = ?", *key)
        if not known:
            return None
        if not self._rows(
            MESSAGES + "AND sender = ? AND key = ? AND digest = ?", *key, new.digest(self._secret)
        ):
            raise KeyReused
        return Sent(Message(*known[0]), replayed=True)

    def _log_event(self, user_ids: Sequence[int], at_us: int, *what: int | None) -> None:
        for user_id in filter(self._lives, user_ids):
            n = self._ends_of_log(user_id)[1] + 1
            row = user_id, n, at_us, *what
            self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)

    def _ends_of_log(self, user_id: int) -> tuple[int, int]:
        """Return the numbers of the first and the last valid cursor."""
        [(first,)] = self._rows("SELECT min(n) FROM events WHERE user = ?", user_id)
        [(last,)] = self._rows("SELECT max(n) FROM events WHERE user = ?", user_id)
        return (first - 1, last) if first else (0, 0)

    def _entry(self, cursor: Cursor, chat_id: int, seq: int | None, reader: int | None) -> Entry:
        [(chat, _)] = self._chats("WHERE c.id = ?", chat_id)
        if seq is None:
            return ChatOpened(cursor, chat)
        if reader is not None:
            [user] = [user for user in chat.users if user.id == reader]
            return MarkerMoved(cursor, chat, user, seq)
        [row] = self._rows(MESSAGES + "AND seq = ?", chat_id, seq)
        return MessageSent(cursor, chat, Message(*row))


async def main(path: str) -> None:
    for text in ("Is it still for sale?", "Yes."):
        store = SqliteStore(path)
        messenger = Messenger(store, realm="shop")
        ann, bob = [await messenger.user(name, name=name) for name in ("ann", "bob")]
        chat, created = await messenger.ensure_chat(ann, bob)
        await messenger.send(ann if created else bob, chat, text)
        print([message.text for message in (await messenger.page(bob, chat)).messages])
        store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(f"{folder}/chats.db"))
