"""The stores of chatcore's ports, written once for both databases.

How a statement runs is behind `Database`: `read` runs a query, `write` a change in a transaction,
and `append` appends a message.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

from chatcore.bus import channel_of
from chatcore.errors import SelfChat, UserNotFound
from chatcore.handles import Person
from chatcore.model import MAX_INT64, Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName
from chatcore.ports import BoundStore, Credentials, Put
from chatcore_sqlalchemy.database import Database
from chatcore_sqlalchemy.engines import engine_of
from chatcore_sqlalchemy.errors import RetryTransaction
from chatcore_sqlalchemy.event_store import SqlEventLog
from chatcore_sqlalchemy.group_commit import Append, Run, Writes
from chatcore_sqlalchemy.node_store import SqlNodes
from chatcore_sqlalchemy.page_cache import PageCache, size_of_list, size_of_messages
from chatcore_sqlalchemy.queries import (
    accounts,
    blocks,
    chats,
    markers,
    messages,
    pairs,
    users,
)
from chatcore_sqlalchemy.session_store import SqlSessions
from chatcore_sqlalchemy.upgrade import Migrated

if TYPE_CHECKING:
    # It imports SQLAlchemy's ORM, which no service needs.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from chatcore_sqlalchemy.postgres.pooler import Pooler

T = TypeVar("T")


class SqlAlchemyStore(SqlSessions, SqlEventLog, SqlNodes):
    """An AccountStore, a People and a ChatStore on a SQL database, for one event loop.

    Open it with `SqlAlchemyStore.open`, and close it, or use it as an async context manager. Every
    method raises RuntimeError on an event loop other than the one that opened the store.
    """

    def __init__(self, database: Database) -> None:
        self._opened = database
        self._loop = asyncio.get_running_loop()
        self._secret = b""
        self.replayed = 0
        """How many sends so far were replays."""
        self._tails: PageCache[int, Sequence[Message]] = PageCache()
        self._lists: PageCache[tuple[int, int], Sequence[ChatSummary]] = PageCache()
        self._forgetting: list[Callable[[], None]] = []
        database.on_failover(self._forget)

    @classmethod
    async def open(
        cls,
        database: "str | AsyncEngine",
        *,
        schema: str | None = None,
        pooler: "Pooler | None" = None,
        writable: bool = False,
    ) -> Self:
        """Open the database that a URL like `sqlite:///chatcore.db` or
        `postgresql://user:password@host/database` names, or that of a host's AsyncEngine.

        A file that does not exist is created, an older schema is migrated, and no other
        process can open the file until `close`. In a PostgreSQL database the tables are in a schema
        of their own, by default `chatcore`. They must be those of this version (`migrate`), and any
        number of processes may use them. Raises CannotOpen, with one line that says why; with
        `writable`, also on a standby, in a read-only database, and for a role without all the
        rights of a service on the tables, naming what to set.

        `pooler="transaction"` is for a URL of a pooler in transaction mode, such as PgBouncer; then
        processes need another doorbell than NOTIFY. In session mode nothing differs.

        The engine must be of `postgresql+asyncpg`, with prepared statements and without a pooler.
        chatcore connects as the engine does, on up to 6 connections that are not the engine's;
        `close` ends them and leaves the engine open.
        """
        return cls(await engine_of(database, schema, pooler).open(writable=writable))

    @property
    def _database(self) -> Database:
        # Every method passes here first: awaiting a loop that has ended would hang.
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
    def schema(self) -> str | None:
        """The schema of PostgreSQL that holds the tables; None on SQLite."""
        return self._opened.migrated.schema

    async def channel(self) -> str:
        """Return the name of the channel on which the processes of this store ring for each other,
        which no other store has: `NotifyDoorbell.open(url, channel=await store.channel())`."""
        return await channel_of(self)

    @property
    def writes(self) -> Writes:
        """Figures of the queue of group commit; on PostgreSQL only messages pass it."""
        return self._opened.writes

    async def check_writes(self) -> None:
        """Raise Unavailable if a write would fail now, for a read-only database or a full disk.
        Writes only if the last write failed, and then changes nothing."""
        await self._database.check_writes()

    async def close(self) -> None:
        """Finish the waiting writes and release the database. Later calls raise
        StoreUnavailable. May be called again."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def user_by_name(self, canonical: str) -> User | None:
        rows = await self._database.read(users.USER_BY_NAME, canonical=canonical)
        return users.first_user(rows)

    async def user_by_id(self, user_id: int) -> User | None:
        rows = await self._database.read(users.USER_BY_ID, user_id=user_id)
        return users.first_user(rows)

    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        rows = await self._database.read(users.USERS_BY_NAME, keys=users.json_of(keys))
        return users.users_of(rows)

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        renamed = True
        try:
            puts = await self._write_retrying(lambda run: users.put_users(run, people, put_us))
            renamed = any(put.renamed for put in puts)
        finally:
            if renamed:
                self._forget_names()
        return puts

    async def credentials(self, canonical: str) -> Credentials | None:
        rows = await self._database.read(accounts.CREDENTIALS, canonical=canonical)
        return accounts.credentials_of(rows)

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        rows = await self._database.read(accounts.CREDENTIALS_BY_ID, user_id=user_id)
        return accounts.credentials_of(rows)

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        return await self._database.write(
            lambda run: accounts.add_user(run, name, password_hash, registered_us)
        )

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        await self._database.write(
            lambda run: run(accounts.REPLACE_HASH, user_id=user_id, old=old, new=new)
        )

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        return await self._database.write(
            lambda run: accounts.void_tokens(run, user_id, from_us, password_hash)
        )

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        try:
            await self._write_retrying(
                lambda run: users.erase_user(run, user_id, tombstone, erased_us)
            )
        finally:
            self._forget_names()

    def on_failover(self, forget: Callable[[], None]) -> None:
        """Call `forget` when another PostgreSQL server took over, and whenever a connection was
        lost or a number went down: what was read before may not be there any more. `changes_of`
        does, so that all caches of the process forget it. On SQLite only the last can happen."""
        self._forgetting.append(forget)

    def _forget(self) -> None:
        # Replaced, not cleared, as in `_forget_names`.
        self._tails, self._lists = PageCache(), PageCache()
        self._logs_name, self._secret = "", b""
        for forget in self._forgetting:
            forget()

    def _forget_names(self) -> None:
        # Replace the cache, don't clear it: a read in flight may still add a former name.
        self._lists = PageCache()

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        if user_id == peer_id:
            raise SelfChat
        await self._write_retrying(lambda run: blocks.block(run, user_id, peer_id, blocked_us))

    async def unblock(self, user_id: int, peer_id: int) -> None:
        with contextlib.suppress(UserNotFound):
            await self._write_retrying(lambda run: blocks.unblock(run, user_id, peer_id))

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        rows = await self._database.read(
            blocks.BLOCKED_BY, user_id=user_id, after=after, limit=limit
        )
        return blocks.users_of(rows)

    async def _write_retrying(self, change: Callable[[Run], T]) -> T:
        """Write the change, again after each RetryTransaction, and return its result."""
        while True:
            with contextlib.suppress(RetryTransaction):
                return await self._database.write(change)

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        lo, hi = min(user_id, peer_id), max(user_id, peer_id)
        return await self._database.write(lambda run: pairs.open_chat(run, lo, hi, opened_us))

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        rows = await self._database.read(chats.CHAT_BY_ID, chat_id=chat_id)
        return chats.first_chat(rows)

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        rows = await self._database.read(chats.CHAT_WITH, user_id=user_id, peer=peer)
        return chats.first_chat(rows)

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        if before is not None:
            return await self._chats_before(user_id, before, limit)
        version, lists = self._database.version, self._lists
        cached = lists.get((user_id, limit))
        if cached and not cached.is_old():
            if cached.is_current(version):
                return cached.value
            activity, newest = cached.value[0].activity, await self._newest_activity(user_id)
            # A list that was forgotten during the lookup may be that of a former server.
            if newest == activity and lists is self._lists:
                cached.version = version
                return cached.value
            if newest < activity:
                self._forget()
        summaries = await self._chats_before(user_id, MAX_INT64, limit)
        if summaries:
            lists.put((user_id, limit), summaries, size_of_list(summaries), version)
        return summaries

    async def _newest_activity(self, user_id: int) -> int:
        ((activity,),) = await self._database.read(chats.NEWEST_ACTIVITY, user_id=user_id)
        return int(activity)

    async def _chats_before(self, user_id: int, activity: int, limit: int) -> Sequence[ChatSummary]:
        rows = await self._database.read(
            chats.CHATS_OF, user_id=user_id, before=activity, limit=limit
        )
        return tuple(map(chats.summary_of, rows))

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        before = MAX_INT64 if before is None else before
        rows = await self._database.read(
            chats.CHAT_STATES, user_id=user_id, before=before, limit=limit
        )
        return list(map(chats.state_of, rows))

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        rows = await self._database.read(chats.CHAT_STATE, user_id=user_id, chat_id=chat_id)
        return chats.state_of(rows[0]) if rows else None

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        return await self._database.write(
            lambda run: markers.move_read_marker(run, chat_id, user_id, seq, moved_us)
        )

    async def append_message(self, new: NewMessage) -> Sent:
        digest = None
        if new.idempotency_key is not None:
            digest = new.digest(self._secret or await self._digest_secret())
        sent = await self._database.append(Append(new, digest))
        self.replayed += sent.replayed
        return sent

    async def replay_of(self, new: NewMessage) -> Sent | None:
        if new.idempotency_key is None:
            return None
        digest = new.digest(self._secret or await self._digest_secret())
        rows = await self._database.read(
            messages.MESSAGE_BY_KEY,
            chat_id=new.chat_id,
            user_id=new.sender_id,
            key=new.idempotency_key,
        )
        sent = messages.replay_of(new, digest, rows)
        self.replayed += sent is not None
        return sent

    async def _digest_secret(self) -> bytes:
        ((self._secret,),) = await self._database.read(messages.DIGEST_SECRET)
        return self._secret

    def bound(self, connection: "AsyncConnection | AsyncSession") -> BoundStore:
        """Return the store within the transaction of this connection or session, which is one of
        SQLAlchemy with asyncpg, in the same PostgreSQL database; its search path does not matter.
        Messenger.within does the same and also rings.

        Raises TypeError for any other connection, and on SQLite: use an outbox there
        (docs/outbox.md). Calls raise RuntimeError for an isolation level other than READ
        COMMITTED."""
        return self._database.bound(connection, self._known_secret)

    async def _known_secret(self) -> bytes:
        return self._secret or await self._digest_secret()

    async def last_seq(self, chat_id: int) -> int:
        rows = await self._database.read(messages.LAST_SEQ, chat_id=chat_id)
        return rows[0][0] if rows else 0

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        rows = await self._database.read(
            messages.MESSAGES_AFTER, chat_id=chat_id, seq=seq, limit=limit
        )
        return list(map(messages.message_of, rows))

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        if seq is not None:
            return await self._messages_before(chat_id, seq, limit)
        version, tails = self._database.version, self._tails
        cached = tails.get(chat_id)
        tail = cached.value if cached and _holds(cached.value, limit) else ()
        if cached and tail:
            if cached.is_current(version):
                return tail[-limit:]
            missing = await self.last_seq(chat_id) - tail[-1].seq
            if not missing and tails is self._tails:
                cached.version = version
                return tail[-limit:]
            if missing < 0:
                self._forget()
            if not 0 < missing <= limit:
                tail = ()
            else:
                newer = await self.messages_after(chat_id, tail[-1].seq, limit=missing)
                tail = [*tail, *newer][-max(limit, len(tail)) :]
            if tails is not self._tails:
                # Forgotten during the lookup: the page may be that of a former server.
                tail = ()
        tail = tail or await self._messages_before(chat_id, MAX_INT64, limit)
        if tail:
            tails.put(chat_id, tail, size_of_messages(tail), version)
        return tail[-limit:]

    async def _messages_before(self, chat_id: int, seq: int, limit: int) -> Sequence[Message]:
        rows = await self._database.read(
            messages.MESSAGES_BEFORE, chat_id=chat_id, seq=seq, limit=limit
        )
        return list(map(messages.message_of, reversed(rows)))


async def migrate(
    database: "str | AsyncEngine", *, schema: str | None = None, pooler: "Pooler | None" = None
) -> Migrated:
    """Bring the database to the schema of this version, and release it. It takes what
    `SqlAlchemyStore.open` takes.

    On PostgreSQL, tables that an earlier version made in `public` are moved to the schema
    `chatcore`, unless `schema` names one. Raises CannotOpen, also while a service holds the SQLite
    file.
    """
    return await engine_of(database, schema, pooler).migrate()


def _holds(tail: Sequence[Message], limit: int) -> bool:
    """Whether the tail of a chat holds its newest `limit` messages, or all of fewer."""
    return len(tail) >= limit or tail[0].seq == 1
