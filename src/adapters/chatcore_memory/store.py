"""Users, chats and messages in dictionaries."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from chatcore.errors import ChatExists, ChatNotFound, KeyReused, NameTaken, SelfChat, UserNotFound
from chatcore.events import ChatOpened, Cursor, Entry, MarkerMoved, MessageSent
from chatcore.model import Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName, canonical_name
from chatcore.ports import Credentials

TRIMMED = 10
"""Logs that one call of `trim_logs` looks at."""


@dataclass(slots=True)
class _Chat:
    chat: Chat
    activity: int
    messages: list[Message] = field(default_factory=list)
    by_key: dict[tuple[int, str], Message] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    """Read markers by user id."""
    told: dict[int, int] = field(default_factory=dict)
    """The same as far as the peer knows."""

    def has(self, user_id: int) -> bool:
        return any(user.id == user_id for user in self.chat.users)

    def state(self, user_id: int) -> ChatState:
        peer = next(user for user in self.chat.users if user.id != user_id)
        read = self.read.get(user_id, 0)
        return ChatState(
            self.chat,
            self.activity,
            self.messages[-1] if self.messages else None,
            read,
            self.told.get(peer.id, 0),
            sum(message.sender_id == peer.id for message in self.messages[read:]),
        )

    def summary(self) -> ChatSummary:
        return ChatSummary(self.chat, len(self.messages), self.activity)


@dataclass(slots=True)
class _Log:
    end: Cursor
    entries: deque[tuple[int, Entry]] = field(default_factory=deque)
    """The entries kept, each with its time."""


class MemoryStore:
    """An AccountStore and a ChatStore, for one event loop.

    No method awaits anything, so each is one step to every other task.
    """

    def __init__(self) -> None:
        self._users: dict[int, User] = {}
        self._accounts: dict[int, Credentials] = {}
        self._blocks: dict[int, set[int]] = {}
        self._ids_by_name: dict[str, int] = {}
        self._chats: dict[int, _Chat] = {}
        self._chats_by_pair: dict[tuple[int, int], _Chat] = {}
        self._chats_by_user: dict[int, list[_Chat]] = {}
        self._activity = 0
        self._log_name = secrets.token_hex(8)
        self._logs: dict[int, _Log] = {}

    async def user_by_name(self, canonical: str) -> User | None:
        user = self._users.get(self._ids_by_name.get(canonical, 0))
        # A name that was erased still leads to its user, so that nobody else gets it.
        return user if user and canonical_name(user.name) == canonical else None

    async def user_by_id(self, user_id: int) -> User | None:
        return self._users.get(user_id)

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        if name.canonical in self._ids_by_name:
            raise NameTaken
        user = User(len(self._users) + 1, name.typed)
        self._users[user.id] = user
        self._accounts[user.id] = Credentials(user, password_hash)
        self._ids_by_name[name.canonical] = user.id
        self._chats_by_user[user.id] = []
        return user

    async def credentials(self, canonical: str) -> Credentials | None:
        return self._accounts.get(self._ids_by_name.get(canonical, 0))

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        return self._accounts.get(user_id)

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        account = self._accounts.get(user_id)
        if account and account.password_hash == old:
            self._accounts[user_id] = account._replace(password_hash=new)

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        account = self._accounts.get(user_id)
        if account is None:
            raise UserNotFound
        from_us = max(from_us, account.tokens_from_us + 1_000_000)
        password_hash = password_hash or account.password_hash
        self._accounts[user_id] = Credentials(account.user, password_hash, from_us)
        return from_us

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        if user_id not in self._accounts:
            raise UserNotFound
        if tombstone.canonical in self._ids_by_name:
            raise NameTaken
        del self._accounts[user_id]
        self._ids_by_name[tombstone.canonical] = user_id
        user = self._users[user_id] = User(user_id, tombstone.typed)
        self._blocks.pop(user_id, None)
        for blocked in self._blocks.values():
            blocked.discard(user_id)
        self._logs.pop(user_id, None)
        for entry in self._chats_by_user[user_id]:
            first, second = entry.chat.users
            users = (user, second) if first.id == user_id else (first, user)
            entry.chat = Chat(entry.chat.id, users)

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        if user_id == peer_id:
            raise SelfChat
        if user_id not in self._accounts or peer_id not in self._accounts:
            raise UserNotFound
        self._blocks.setdefault(user_id, set()).add(peer_id)

    async def unblock(self, user_id: int, peer_id: int) -> None:
        self._blocks.get(user_id, set()).discard(peer_id)

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        blocked = sorted(peer for peer in self._blocks.get(user_id, ()) if peer > after)
        return [self._users[peer] for peer in blocked[:limit]]

    def _apart(self, lo: int, hi: int) -> bool:
        """Whether one of the two blocks the other, or was erased."""
        return (
            hi in self._blocks.get(lo, ())
            or lo in self._blocks.get(hi, ())
            or lo not in self._accounts
            or hi not in self._accounts
        )

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        lo, hi = pair = min(user_id, peer_id), max(user_id, peer_id)
        if lo not in self._users or hi not in self._users:
            raise UserNotFound
        if pair in self._chats_by_pair:
            raise ChatExists
        if self._apart(lo, hi):
            raise UserNotFound
        users = self._users[lo], self._users[hi]
        entry = _Chat(Chat(len(self._chats) + 1, users), self._next_activity())
        self._chats[entry.chat.id] = self._chats_by_pair[pair] = entry
        for user in users:
            self._chats_by_user[user.id].append(entry)
        self._log(users, opened_us, lambda cursor: ChatOpened(cursor, entry.chat))
        return entry.chat

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        entry = self._chats.get(chat_id)
        return entry.chat if entry else None

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        found = await self.user_by_name(peer)
        peer_id = found.id if found else 0
        entry = self._chats_by_pair.get((min(user_id, peer_id), max(user_id, peer_id)))
        return entry.chat if entry else None

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        return [entry.summary() for entry in self._entries_of(user_id, before, limit)]

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        return [entry.state(user_id) for entry in self._entries_of(user_id, before, limit)]

    def _entries_of(self, user_id: int, before: int | None, limit: int) -> list[_Chat]:
        entries = sorted(
            self._chats_by_user.get(user_id, ()), key=lambda entry: entry.activity, reverse=True
        )
        older = [entry for entry in entries if before is None or entry.activity < before]
        return older[:limit]

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        entry = self._chats.get(chat_id)
        return entry.state(user_id) if entry and entry.has(user_id) else None

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        entry = self._chats.get(chat_id)
        if entry is None or not entry.has(user_id):
            raise ChatNotFound
        before = entry.read.get(user_id, 0)
        marker = min(seq, len(entry.messages))
        if marker <= before:
            return before
        entry.read[user_id] = marker
        first, second = entry.chat.users
        reader = first if first.id == user_id else second
        told = (reader,) if self._apart(first.id, second.id) else entry.chat.users
        if len(told) > 1:
            entry.told[user_id] = marker
        self._log(told, moved_us, lambda cursor: MarkerMoved(cursor, entry.chat, reader, marker))
        return marker

    async def append_message(self, new: NewMessage) -> Sent:
        entry = self._chats.get(new.chat_id)
        if entry is None or not entry.has(new.sender_id):
            raise ChatNotFound
        key = (new.sender_id, new.idempotency_key) if new.idempotency_key else None
        if key and (first := entry.by_key.get(key)):
            if first.text != new.text:
                raise KeyReused
            return Sent(first, replayed=True)
        lo, hi = entry.chat.users
        if self._apart(lo.id, hi.id):
            raise ChatNotFound
        seq = len(entry.messages) + 1
        message = Message(new.chat_id, seq, new.sender_id, new.text, new.sent_us)
        entry.messages.append(message)
        entry.activity = self._next_activity()
        if key:
            entry.by_key[key] = message
        self._log(
            entry.chat.users,
            new.sent_us,
            lambda cursor: MessageSent(cursor, entry.chat, message),
        )
        return Sent(message, replayed=False)

    async def last_seq(self, chat_id: int) -> int:
        return len(self._messages(chat_id))

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        return self._messages(chat_id)[seq : seq + limit]

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        messages = self._messages(chat_id)
        end = len(messages) if seq is None else min(max(seq - 1, 0), len(messages))
        return messages[max(end - limit, 0) : end]

    async def end_of_log(self, user_id: int) -> Cursor:
        return self._log_of(user_id).end

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        log = self._log_of(after.user_id)
        missing = log.end.n - after.n
        if after.log != self._log_name or not 0 <= missing <= len(log.entries):
            return None
        start = len(log.entries) - missing
        wanted = range(start, min(start + limit, len(log.entries)))
        return [self._renamed(log.entries[index][1]) for index in wanted]

    def _renamed(self, entry: Entry) -> Entry:
        """The entry with its users' names as they are now."""
        chat = self._chats[entry.chat.id].chat
        match entry:
            case MarkerMoved():
                return entry._replace(chat=chat, reader=self._users[entry.reader.id])
            case ChatOpened() | MessageSent():
                return entry._replace(chat=chat)
        assert_never(entry)

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        users = sorted(user_id for user_id in self._logs if user_id > after_user)
        for user_id in users[:TRIMMED]:
            entries = self._logs[user_id].entries
            while len(entries) > max(keep, 1) or (len(entries) > 1 and entries[0][0] < since_us):
                entries.popleft()
        return users[TRIMMED - 1] if len(users) > TRIMMED else None

    def _log(self, users: Iterable[User], at_us: int, make: Callable[[Cursor], Entry]) -> None:
        for user in users:
            if user.id not in self._accounts:
                continue
            log = self._logs[user.id] = self._log_of(user.id)
            log.end = log.end._replace(n=log.end.n + 1)
            log.entries.append((at_us, make(log.end)))

    def _log_of(self, user_id: int) -> _Log:
        return self._logs.get(user_id) or _Log(Cursor(self._log_name, user_id, 0))

    def _messages(self, chat_id: int) -> list[Message]:
        entry = self._chats.get(chat_id)
        return entry.messages if entry else []

    def _next_activity(self) -> int:
        self._activity += 1
        return self._activity
