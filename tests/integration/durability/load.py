"""Many users write at once through the port, and every outcome is recorded."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from chatcore import Chat, KeyReused, Message, NewMessage, StoreUnavailable, User, UserName
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.checker import Ledger

MOST_ATTEMPTS = 50
NOW = 1_700_000_000_000_000


class Marker(NamedTuple):
    """A read marker that was moved."""

    chat_id: int
    user_id: int
    seq: int


@dataclass
class Load:
    """Pairs of users who talk to each other, all at the same time."""

    ledger: Ledger = field(default_factory=Ledger)
    random: Random = field(default_factory=lambda: Random(1))
    known: list[tuple[int, User | Chat | Marker]] = field(default_factory=list)
    """Acknowledged users, chats and read markers, each with its moment."""
    outages: int = 0
    """How often StoreUnavailable was raised."""
    _names: "itertools.count[int]" = field(default_factory=itertools.count)
    _texts: "itertools.count[int]" = field(default_factory=itertools.count)

    def as_of(self, moment: int) -> "Load":
        """The load as known at that moment, able to continue."""
        return replace(
            self,
            ledger=Ledger(self.ledger.as_of(moment), moment),
            known=[(noted, made) for noted, made in self.known if noted <= moment],
        )

    def chats(self) -> list[Chat]:
        return [made for _, made in self.known if isinstance(made, Chat)]

    async def missing(self, store: SqlAlchemyStore) -> list[User | Chat | Marker]:
        """The known users, chats and read markers that the store lacks."""
        return [made for _, made in self.known if not await _has(store, made)]

    async def open_chats(self, store: SqlAlchemyStore, pairs: int) -> list[Chat]:
        async with asyncio.TaskGroup() as tasks:
            opening = [tasks.create_task(self._open_chat(store)) for _ in range(pairs)]
        return [task.result() for task in opening]

    async def talk(self, store: SqlAlchemyStore, chats: Sequence[Chat], each: int) -> None:
        """Both users of every chat send `each` messages, one after the other."""
        async with asyncio.TaskGroup() as tasks:
            for chat in chats:
                for user in chat.users:
                    tasks.create_task(self._send_all(store, chat, user, each))

    async def _open_chat(self, store: SqlAlchemyStore) -> Chat:
        first, second = [await self._add_user(store) for _ in range(2)]
        chat = await store.open_chat(first.id, second.id, NOW)
        self._note(chat)
        return chat

    async def _add_user(self, store: SqlAlchemyStore) -> User:
        user = await store.add_user(UserName(f"user {next(self._names)}"), "hash", NOW)
        self._note(user)
        return user

    def _note(self, made: User | Chat | Marker) -> None:
        self.ledger.moment += 1
        self.known.append((self.ledger.moment, made))

    async def _send_all(self, store: SqlAlchemyStore, chat: Chat, user: User, each: int) -> None:
        for _ in range(each):
            number = next(self._texts)
            text = f"{user.name} says {number}"
            # A page of the database has 4 KiB: some messages take several, most share one.
            if self.random.random() < 0.1:
                text = text.ljust(4096, "\N{EURO SIGN}")
            key = f"key-{number}" if number % 2 else None
            new = NewMessage(chat.id, user.id, text, NOW, key)
            if await self._send(store, user, new) and key and self.random.random() < 0.3:
                await self._misuse(store, user, replace(new, text=f"not {number}"))

    async def _send(self, store: SqlAlchemyStore, user: User, new: NewMessage) -> bool:
        send = self.ledger.begin(new.chat_id, user.name, new.text, new.idempotency_key)
        # Only a send with a key can be retried.
        for _ in range(MOST_ATTEMPTS if new.idempotency_key else 1):
            try:
                sent = await store.append_message(new)
            except StoreUnavailable:
                self.outages += 1
            else:
                self.ledger.acknowledge(send, sent.message.seq)
                await self._read_back(store, sent.message)
                if self.random.random() < 0.3:
                    await self._mark_read(store, new.chat_id, user, sent.message.seq)
                return True
        return False

    async def _read_back(self, store: SqlAlchemyStore, message: Message) -> None:
        try:
            found = await store.messages_after(message.chat_id, message.seq - 1, limit=1)
        except StoreUnavailable:
            self.outages += 1
        else:
            assert found == [message]

    async def _mark_read(self, store: SqlAlchemyStore, chat_id: int, user: User, seq: int) -> None:
        try:
            moved = await store.move_read_marker(chat_id, user.id, seq, NOW)
        except StoreUnavailable:
            self.outages += 1
        else:
            self._note(Marker(chat_id, user.id, moved))

    async def _misuse(self, store: SqlAlchemyStore, user: User, reused: NewMessage) -> None:
        send = self.ledger.begin(reused.chat_id, user.name, reused.text)
        try:
            await store.append_message(reused)
        except KeyReused:
            self.ledger.refuse(send)
        except StoreUnavailable:
            self.outages += 1
        else:
            raise AssertionError("a key was taken for two messages")


async def _has(store: SqlAlchemyStore, made: User | Chat | Marker) -> bool:
    if isinstance(made, Marker):
        state = await store.chat_state(made.user_id, made.chat_id)
        return state is not None and state.read_seq >= made.seq
    find = store.chat_by_id if isinstance(made, Chat) else store.user_by_id
    return made == await find(made.id)
