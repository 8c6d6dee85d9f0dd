"""The stores of chatcore's ports, written once for every database.

How a statement runs differs between a database in this process and one across a network;
`SqliteDatabase` is that difference, and all that this module knows of it is `prepare` (a
query), `write` (a change in a transaction) and `append`.
"""

from collections.abc import Sequence
from typing import Any, Self

from sqlalchemy import Connection, Integer, Select, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from chatcore.errors import ChatExists, NameTaken, SelfChat, UserNotFound
from chatcore.model import Chat, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName
from chatcore.ports import Credentials
from chatcore_sqlalchemy.schema import chats, messages, users
from chatcore_sqlalchemy.sqlite import CannotOpen, SqliteDatabase, sqlite_path

END = 2**63 - 1
"""Above every number that a store gives."""

lo = users.alias("lo")
hi = users.alias("hi")
peer = users.alias("peer")

USER_BY_NAME = select(users.c.id, users.c.name, users.c.password_hash).where(
    users.c.canonical == bindparam("canonical")
)
USER_BY_ID = select(users.c.id, users.c.name).where(users.c.id == bindparam("user_id"))

CHAT = (
    select(chats.c.id, lo.c.id, lo.c.name, hi.c.id, hi.c.name)
    .join_from(chats, lo, lo.c.id == chats.c.lo_id)
    .join(hi, hi.c.id == chats.c.hi_id)
)
CHAT_BY_ID = CHAT.where(chats.c.id == bindparam("chat_id"))
_me = bindparam("user_id", type_=Integer)
CHAT_WITH = CHAT.join(
    peer,
    # Not an OR over both orders of the pair: this way the unique index answers it directly.
    (chats.c.lo_id == case((peer.c.id < _me, peer.c.id), else_=_me))
    & (chats.c.hi_id == case((peer.c.id < _me, _me), else_=peer.c.id)),
).where(peer.c.canonical == bindparam("peer"))
LAST_SEQ = select(chats.c.last_seq).where(chats.c.id == bindparam("chat_id"))

_message = select(
    messages.c.chat_id, messages.c.seq, messages.c.sender_id, messages.c.text, messages.c.sent_us
).where(messages.c.chat_id == bindparam("chat_id"))
_limit = bindparam("limit", type_=Integer)
MESSAGES_AFTER = (
    _message.where(messages.c.seq > bindparam("seq")).order_by(messages.c.seq).limit(_limit)
)
MESSAGES_BEFORE = (
    _message.where(messages.c.seq < bindparam("seq")).order_by(messages.c.seq.desc()).limit(_limit)
)


def _side(side: Any) -> Select[Any]:
    recent = (
        select(chats.c.id)
        .where(side == bindparam("user_id"), chats.c.activity < bindparam("before"))
        .order_by(chats.c.activity.desc())
        .limit(_limit)
    )
    return select(recent.subquery().c.id)


CHATS_OF = (
    CHAT.add_columns(chats.c.last_seq, chats.c.activity)
    .where(chats.c.id.in_(_side(chats.c.lo_id).union_all(_side(chats.c.hi_id))))
    .order_by(chats.c.activity.desc())
    .limit(_limit)
)


class SqlAlchemyStore:
    """An AccountStore and a ChatStore on a SQL database, for one event loop.

    Open it with `SqlAlchemyStore.open`, and close it, or use it as an async context manager.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._user_by_name = database.prepare(USER_BY_NAME)
        self._user_by_id = database.prepare(USER_BY_ID)
        self._chat_by_id = database.prepare(CHAT_BY_ID)
        self._chat_with = database.prepare(CHAT_WITH)
        self._chats_of = database.prepare(CHATS_OF)
        self._last_seq = database.prepare(LAST_SEQ)
        self._messages_after = database.prepare(MESSAGES_AFTER)
        self._messages_before = database.prepare(MESSAGES_BEFORE)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database that a URL like `sqlite:///chatcore.db` names.

        A file that does not exist is created, an older schema is migrated, and no other
        process can open the file until `close`. Raises CannotOpen, with one line that says
        why.
        """
        path = sqlite_path(url)
        if path is None:
            raise CannotOpen("only sqlite:/// databases are supported")
        database = SqliteDatabase(path)
        await database.open()
        return cls(database)

    @property
    def created(self) -> bool:
        """Whether opening made a new, empty database."""
        return self._database.created

    async def close(self) -> None:
        """Finish the writes under way and let go of the database. Later calls raise
        StoreUnavailable."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def user_by_name(self, canonical: str) -> User | None:
        found = await self.credentials(canonical)
        return found.user if found else None

    async def user_by_id(self, user_id: int) -> User | None:
        rows = await self._user_by_id(user_id=user_id)
        return User(*rows[0]) if rows else None

    async def credentials(self, canonical: str) -> Credentials | None:
        for user_id, name, password_hash in await self._user_by_name(canonical=canonical):
            return Credentials(User(user_id, name), password_hash)
        return None

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        statement = (
            insert(users)
            .values(
                name=name.typed,
                canonical=name.canonical,
                password_hash=password_hash,
                registered_us=registered_us,
            )
            .on_conflict_do_nothing(index_elements=[users.c.canonical])
            .returning(users.c.id)
        )

        def change(connection: Connection) -> User:
            user_id = connection.scalar(statement)
            if user_id is None:
                raise NameTaken
            return User(user_id, name.typed)

        user: User = await self._database.write(change)
        return user

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        statement = (
            update(users)
            .where(users.c.id == user_id, users.c.password_hash == old)
            .values(password_hash=new)
        )
        await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        pair = sorted((user_id, peer_id))

        def change(connection: Connection) -> Chat:
            found = connection.execute(
                select(users.c.id, users.c.name).where(users.c.id.in_(pair)).order_by(users.c.id)
            ).all()
            if len(found) < len(pair):
                raise UserNotFound
            newest = connection.scalar(
                select(func.max(chats.c.activity)).where(
                    or_(chats.c.lo_id.in_(pair), chats.c.hi_id.in_(pair))
                )
            )
            chat_id = connection.scalar(
                insert(chats)
                .values(
                    lo_id=pair[0],
                    hi_id=pair[1],
                    last_seq=0,
                    activity=(newest or 0) + 1,
                    opened_us=opened_us,
                )
                .on_conflict_do_nothing(index_elements=[chats.c.lo_id, chats.c.hi_id])
                .returning(chats.c.id)
            )
            if chat_id is None:
                raise ChatExists
            first, second = found
            return Chat(chat_id, (User(*first), User(*second)))

        chat: Chat = await self._database.write(change)
        return chat

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        rows = await self._chat_by_id(chat_id=chat_id)
        return _chat(rows[0]) if rows else None

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        rows = await self._chat_with(user_id=user_id, peer=peer)
        return _chat(rows[0]) if rows else None

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        rows = await self._chats_of(
            user_id=user_id, before=END if before is None else before, limit=limit
        )
        return [ChatSummary(_chat(row), row[5], row[6]) for row in rows]

    async def append_message(self, new: NewMessage) -> Sent:
        return await self._database.append(new)

    async def last_seq(self, chat_id: int) -> int:
        rows = await self._last_seq(chat_id=chat_id)
        return rows[0][0] if rows else 0

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        rows = await self._messages_after(chat_id=chat_id, seq=seq, limit=limit)
        return list(map(Message._make, rows))

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        rows = await self._messages_before(
            chat_id=chat_id, seq=END if seq is None else seq, limit=limit
        )
        return list(map(Message._make, reversed(rows)))


def _chat(row: Sequence[Any]) -> Chat:
    return Chat(row[0], (User(row[1], row[2]), User(row[3], row[4])))
