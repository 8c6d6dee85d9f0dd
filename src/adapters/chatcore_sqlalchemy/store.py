"""The stores of chatcore's ports, written once for every database.

How a statement runs differs between a database in this process and one across a network;
`SqliteDatabase` and `PostgresDatabase` are that difference, and all that this module knows of
it is `read` (a query), `write` (a change, in a transaction) and `append` (a message).
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Union

from chatcore.errors import ChatExists, ChatNotFound, SelfChat, UserNotFound
from chatcore.events import Cursor, Entry
from chatcore.model import MAX_INT64, Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName
from chatcore.ports import Credentials
from chatcore_sqlalchemy import accounts, blocks
from chatcore_sqlalchemy import statements as sql
from chatcore_sqlalchemy.database_url import sqlite_path
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.group_commit import Run, Writes
from chatcore_sqlalchemy.log import chat_of, entries, log, trim
from chatcore_sqlalchemy.page_cache import Recent, size_of_list, size_of_messages
from chatcore_sqlalchemy.schema import HI_READ, LO_READ, OPENED
from chatcore_sqlalchemy.sqlite.database import SqliteDatabase
from chatcore_sqlalchemy.upgrade import Migrated

if TYPE_CHECKING:
    from chatcore_sqlalchemy.postgres.database import PostgresDatabase

Database = Union["SqliteDatabase", "PostgresDatabase"]


class SqlAlchemyStore:
    """An AccountStore and a ChatStore on a SQL database, for one event loop.

    Open it with `SqlAlchemyStore.open`, and close it, or use it as an async context manager. What
    is used or closed in another event loop than the one that opened it raises RuntimeError.
    """

    def __init__(self, database: Database) -> None:
        self._opened = database
        self._loop = asyncio.get_running_loop()
        self._log = ""
        self.replayed = 0
        """Sends so far that were answered with a message stored before."""
        self._tails: Recent[int, Sequence[Message]] = Recent()
        self._lists: Recent[tuple[int, int], Sequence[ChatSummary]] = Recent()

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database that a URL like `sqlite:///chatcore.db` or
        `postgresql://user:password@host/database` names.

        A file that does not exist is created, an older schema is migrated, and no other
        process can open the file until `close`. A PostgreSQL database must be at the schema of
        this version (`migrate`), and any number of processes may use it. Raises CannotOpen,
        with one line that says why.
        """
        return cls(await _open(url))

    @property
    def _database(self) -> Database:
        # Every use comes by here, before anything could wait for a loop that runs no more.
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "this store belongs to the event loop that opened it: open another one here, and "
                "close each in its own"
            )
        return self._opened

    @property
    def created(self) -> bool:
        """Whether opening made a new, empty database."""
        return self._opened.migrated.before is None

    @property
    def writes(self) -> Writes:
        """What became of the writes that share commits: on PostgreSQL, of messages alone."""
        return self._opened.writes

    async def check_writes(self) -> None:
        """Raises Unavailable when a write would fail now: on a database that is read-only, or a
        disk that is full. Writes only where the last write failed, and then nothing new."""
        await self._database.check_writes()

    async def close(self) -> None:
        """Finish the writes under way and let go of the database. Later calls raise
        StoreUnavailable. May be called again."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def user_by_name(self, canonical: str) -> User | None:
        rows = await self._database.read(sql.USER_BY_NAME, canonical=canonical)
        return User(*rows[0]) if rows else None

    async def user_by_id(self, user_id: int) -> User | None:
        rows = await self._database.read(sql.USER_BY_ID, user_id=user_id)
        return User(*rows[0]) if rows else None

    async def credentials(self, canonical: str) -> Credentials | None:
        return _credentials(await self._database.read(sql.CREDENTIALS, canonical=canonical))

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        return _credentials(await self._database.read(sql.CREDENTIALS_BY_ID, user_id=user_id))

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        return await self._database.write(
            lambda run: accounts.add_user(run, name, password_hash, registered_us)
        )

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        await self._database.write(
            lambda run: run(sql.REPLACE_HASH, user_id=user_id, old=old, new=new)
        )

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        def change(run: Run) -> int:
            for (raised,) in run(
                sql.VOID_TOKENS, user_id=user_id, from_us=from_us, password_hash=password_hash
            ):
                return int(raised)
            raise UserNotFound

        return await self._database.write(change)

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        try:
            await self._write_alone(
                lambda run: accounts.erase_user(run, user_id, tombstone, erased_us)
            )
        finally:
            # Another one, for what is being read meanwhile goes into the old one.
            self._lists = Recent()

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        if user_id == peer_id:
            raise SelfChat
        await self._write_alone(lambda run: blocks.block(run, user_id, peer_id, blocked_us))

    async def unblock(self, user_id: int, peer_id: int) -> None:
        with contextlib.suppress(UserNotFound):
            await self._write_alone(lambda run: blocks.unblock(run, user_id, peer_id))

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        rows = await self._database.read(sql.BLOCKED_BY, user_id=user_id, after=after, limit=limit)
        return [User(*row) for row in rows]

    async def _write_alone(self, change: Callable[[Run], None]) -> None:
        while True:
            with contextlib.suppress(accounts.Meanwhile):
                return await self._database.write(change)

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        lo, hi = min(user_id, peer_id), max(user_id, peer_id)

        def change(run: Run) -> Chat:
            pair = run(sql.PAIR, lo=lo, hi=hi)
            if len(pair) < 2 or run(sql.BLOCKS_OF_PAIR, user_id=lo, peer_id=hi):
                raise ChatExists if run(sql.CHAT_OF_PAIR, lo=lo, hi=hi) else UserNotFound
            added = run(sql.ADD_CHAT, lo=lo, hi=hi, opened_us=opened_us)
            if not added:
                raise ChatExists
            chat_id = added[0][0]
            log(run, (lo, hi), OPENED, chat_id, 0, opened_us)
            first, second = pair
            return Chat(chat_id, (User(*first), User(*second)))

        return await self._database.write(change)

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        rows = await self._database.read(sql.CHAT_BY_ID, chat_id=chat_id)
        return chat_of(rows[0]) if rows else None

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        rows = await self._database.read(sql.CHAT_WITH, user_id=user_id, peer=peer)
        return chat_of(rows[0]) if rows else None

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        if before is not None:
            return await self._chats_before(user_id, before, limit)
        version, lists = self._database.version, self._lists
        kept = lists.get((user_id, limit))
        if kept and not kept.is_old():
            if kept.is_current(version):
                return kept.value
            if kept.value[0].activity == await self._newest_activity(user_id):
                kept.version = version
                return kept.value
        summaries = await self._chats_before(user_id, MAX_INT64, limit)
        if summaries:
            lists.put((user_id, limit), summaries, size_of_list(summaries), version)
        return summaries

    async def _newest_activity(self, user_id: int) -> int:
        ((activity,),) = await self._database.read(sql.NEWEST_ACTIVITY, user_id=user_id)
        return int(activity)

    async def _chats_before(self, user_id: int, activity: int, limit: int) -> Sequence[ChatSummary]:
        rows = await self._database.read(
            sql.CHATS_OF, user_id=user_id, before=activity, limit=limit
        )
        return tuple(ChatSummary(chat_of(row), row[5], row[6]) for row in rows)

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        before = MAX_INT64 if before is None else before
        rows = await self._database.read(
            sql.CHAT_STATES, user_id=user_id, before=before, limit=limit
        )
        return [_state(row) for row in rows]

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        rows = await self._database.read(sql.CHAT_STATE, user_id=user_id, chat_id=chat_id)
        return _state(rows[0]) if rows else None

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        def change(run: Run) -> int:
            for lo, lo_read, hi, hi_read, last_seq, closed in run(sql.MARKERS, chat_id=chat_id):
                marker = min(seq, last_seq)
                if user_id == lo:
                    before, kind, move = lo_read, LO_READ, sql.MOVE_LO_MARKER
                elif user_id == hi:
                    before, kind, move = hi_read, HI_READ, sql.MOVE_HI_MARKER
                else:
                    break
                if marker > before:
                    told = [user for user, _ in run(sql.PAIR, lo=lo, hi=hi)]
                    if closed:
                        told = [user for user in told if user == user_id]
                    run(move, chat_id=chat_id, seq=marker)
                    log(run, told, kind, chat_id, marker, moved_us)
                return int(max(marker, before))
            raise ChatNotFound

        return await self._database.write(change)

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await self._database.append(new)
        self.replayed += sent.replayed
        return sent

    async def last_seq(self, chat_id: int) -> int:
        rows = await self._database.read(sql.LAST_SEQ, chat_id=chat_id)
        return rows[0][0] if rows else 0

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        rows = await self._database.read(sql.MESSAGES_AFTER, chat_id=chat_id, seq=seq, limit=limit)
        return list(map(_message, rows))

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        if seq is not None:
            return await self._messages_before(chat_id, seq, limit)
        version = self._database.version
        kept = self._tails.get(chat_id)
        tail = kept.value if kept and _holds(kept.value, limit) else ()
        if kept and tail:
            if kept.is_current(version):
                return tail[-limit:]
            missing = await self.last_seq(chat_id) - tail[-1].seq
            if not missing:
                kept.version = version
                return tail[-limit:]
            if missing > limit:
                tail = ()
            else:
                newer = await self.messages_after(chat_id, tail[-1].seq, limit=missing)
                tail = [*tail, *newer][-max(limit, len(tail)) :]
        tail = tail or await self._messages_before(chat_id, MAX_INT64, limit)
        if tail:
            self._tails.put(chat_id, tail, size_of_messages(tail), version)
        return tail[-limit:]

    async def _messages_before(self, chat_id: int, seq: int, limit: int) -> Sequence[Message]:
        rows = await self._database.read(sql.MESSAGES_BEFORE, chat_id=chat_id, seq=seq, limit=limit)
        return list(map(_message, reversed(rows)))

    async def end_of_log(self, user_id: int) -> Cursor:
        ((n,),) = await self._database.read(sql.END_OF_LOG, user_id=user_id)
        return Cursor(await self._log_name(), user_id, n)

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        if after.log != await self._log_name() or after.n > MAX_INT64:
            return None
        # From the entry before the first one wanted, which shows in the same glance whether
        # anything between them is missing.
        rows = await self._database.read(
            sql.EVENTS_FROM, user_id=after.user_id, n=after.n, limit=limit + 1
        )
        return entries(after, rows, limit)

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await self._database.write(
            partial(trim, keep=keep, since_us=since_us, after_user=after_user)
        )

    async def _log_name(self) -> str:
        if not self._log:
            ((self._log,),) = await self._database.read(sql.LOG_NAME)
        return self._log


async def migrate(url: str) -> Migrated:
    """Bring the database to the schema of this version, and let go of it.

    Raises CannotOpen, also while a service uses the database.
    """
    if sqlite_path(url) is None:
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres import schema as postgres_schema
        return await postgres_schema.migrate(url)
    database = await _open(url)
    await database.close()
    return database.migrated


async def _open(url: str) -> Database:
    database: Database
    if (path := sqlite_path(url)) is not None:
        database = SqliteDatabase(path)
    else:
        with _asyncpg_needed():
            from chatcore_sqlalchemy.postgres.database import PostgresDatabase
        database = PostgresDatabase(url)
    await database.open()
    return database


@contextlib.contextmanager
def _asyncpg_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise CannotOpen(f"PostgreSQL needs chatcore[postgres]: {error}") from error


# What Message._make does, without a call into Python for each row.
_message = partial(tuple.__new__, Message)


def _holds(tail: Sequence[Message], limit: int) -> bool:
    """Whether the newest `limit` messages of a chat were in its tail when it was read."""
    return len(tail) >= limit or tail[0].seq == 1


def _credentials(rows: Sequence[Sequence[Any]]) -> Credentials | None:
    for user_id, name, *rest in rows:
        return Credentials(User(user_id, name), *rest)
    return None


def _state(row: Sequence[Any]) -> ChatState:
    activity, read_seq, peer_read_seq, unread = row[5:9]
    # A chat without messages joins none.
    last = None if row[9] is None else _message(row[9:])
    return ChatState(chat_of(row), activity, last, read_seq, peer_read_seq, unread)
