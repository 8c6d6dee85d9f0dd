"""The store in memory, in dictionaries."""

from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from chatcore.errors import (
    ChatExists,
    ChatNotFound,
    KeyReused,
    NameTaken,
    SelfChat,
    UserErased,
    UserNotFound,
)
from chatcore.events import (
    KINDS,
    ChatOpened,
    Cursor,
    Entry,
    MarkerMoved,
    MessageSent,
    mark_of,
)
from chatcore.handles import Person
from chatcore.model import Chat, ChatState, ChatSummary, Message, NewMessage, Sent, User, user_of
from chatcore.names import UserName
from chatcore.ports import Credentials, Put
from chatcore_memory.contents import ChatRecord, LogRecord
from chatcore_memory.sessions import MemorySessions

TRIMMED = 10
"""How many logs one call of `trim_logs` trims."""


class MemoryStore(MemorySessions):
    """An AccountStore, a People and a ChatStore, for one event loop.

    No method awaits anything, so other tasks see each method as one step.

    Tests plant faults in subclasses. These may use `contents` and override the methods from
    `_are_apart` to the end of the class: those are the seams, and all other methods go through
    them.
    """

    async def user_by_name(self, canonical: str) -> User | None:
        user = self.contents.users.get(self.contents.ids_by_name.get(canonical, 0))
        # A former key still leads to its user, so that it cannot be given again.
        return user if user and user.key == canonical else None

    async def user_by_id(self, user_id: int) -> User | None:
        return self.contents.users.get(user_id)

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        if name.canonical in self.contents.ids_by_name:
            raise NameTaken
        user = self._new_user(name.canonical, name.typed)
        self.contents.accounts[user.id] = Credentials(user, password_hash)
        return user

    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        found = [await self.user_by_name(key) for key in keys]
        return [user for user in found if user is not None]

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        known = [self.contents.ids_by_name.get(person.key) for person in people]
        for user_id, person in zip(known, people, strict=True):
            if user_id in self.contents.erased:
                raise UserErased(f"the user {person.handle!r} was erased")
        return [
            self._renamed(user_id, person.name)
            if user_id is not None
            else Put(self._new_user(person.key, person.name), renamed=False)
            for user_id, person in zip(known, people, strict=True)
        ]

    async def credentials(self, canonical: str) -> Credentials | None:
        return self.contents.accounts.get(self.contents.ids_by_name.get(canonical, 0))

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        return self.contents.accounts.get(user_id)

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        account = self.contents.accounts.get(user_id)
        if account and account.password_hash == old:
            self.contents.accounts[user_id] = account._replace(password_hash=new)

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        account = self.contents.accounts.get(user_id)
        if account is None:
            raise UserNotFound
        from_us = max(from_us, account.tokens_from_us + 1_000_000)
        password_hash = password_hash or account.password_hash
        self.contents.accounts[user_id] = Credentials(account.user, password_hash, from_us)
        self._end_sessions_of(user_id)
        return from_us

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        if not self._is_living(user_id):
            raise UserNotFound
        former = self.contents.users[user_id]
        user = former._replace(handle=tombstone.canonical, name=tombstone.typed)
        if user.key in self.contents.ids_by_name:
            raise NameTaken
        self._end_sessions_of(user_id)
        self.contents.accounts.pop(user_id, None)
        self.contents.erased.add(user_id)
        self.contents.ids_by_name[user.key] = user_id
        self.contents.blocks.pop(user_id, None)
        for blocked in self.contents.blocks.values():
            blocked.discard(user_id)
        self.contents.logs.pop(user_id, None)
        self._show(user)

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        if user_id == peer_id:
            raise SelfChat
        if not (self._is_living(user_id) and self._is_living(peer_id)):
            raise UserNotFound
        self.contents.blocks.setdefault(user_id, set()).add(peer_id)

    async def unblock(self, user_id: int, peer_id: int) -> None:
        self.contents.blocks.get(user_id, set()).discard(peer_id)

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        blocked = sorted(peer for peer in self.contents.blocks.get(user_id, ()) if peer > after)
        return [self.contents.users[peer] for peer in blocked[:limit]]

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        lo, hi = pair = min(user_id, peer_id), max(user_id, peer_id)
        if lo not in self.contents.users or hi not in self.contents.users:
            raise UserNotFound
        if pair in self.contents.chats_by_pair:
            raise ChatExists
        if self._are_apart(lo, hi):
            raise UserNotFound
        users = self.contents.users[lo], self.contents.users[hi]
        record = ChatRecord(Chat(len(self.contents.chats) + 1, users), self._next_activity())
        self.contents.chats[record.chat.id] = self.contents.chats_by_pair[pair] = record
        for user in users:
            self.contents.chats_by_user[user.id].append(record)
        self._add_entries(users, opened_us, lambda cursor: ChatOpened(cursor, record.chat))
        return record.chat

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        record = self.contents.chats.get(chat_id)
        return record.chat if record else None

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        found = await self.user_by_name(peer)
        peer_id = found.id if found else 0
        record = self.contents.chats_by_pair.get((min(user_id, peer_id), max(user_id, peer_id)))
        return record.chat if record else None

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        return [record.summary() for record in self._records_of(user_id, before, limit)]

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        return [record.state(user_id) for record in self._records_of(user_id, before, limit)]

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        record = self.contents.chats.get(chat_id)
        return record.state(user_id) if record and record.has(user_id) else None

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        record = self.contents.chats.get(chat_id)
        if record is None or not record.has(user_id):
            raise ChatNotFound
        before = record.read.get(user_id, 0)
        marker = min(seq, len(record.messages))
        if marker <= before:
            return before
        record.read[user_id] = marker
        first, second = record.chat.users
        reader = first if first.id == user_id else second
        notified = (reader,) if self._are_apart(first.id, second.id) else record.chat.users
        if len(notified) > 1:
            record.shown[user_id] = marker
        self._add_entries(
            notified, moved_us, lambda cursor: MarkerMoved(cursor, record.chat, reader, marker)
        )
        return marker

    async def append_message(self, new: NewMessage) -> Sent:
        record = self.contents.chats.get(new.chat_id)
        if record is None or not record.has(new.sender_id):
            raise ChatNotFound
        if replay := self._replay_in(record, new):
            return replay
        lo, hi = record.chat.users
        if self._are_apart(lo.id, hi.id):
            raise ChatNotFound
        seq = len(record.messages) + 1
        message = Message(new.chat_id, seq, new.sender_id, new.text, new.sent_us)
        record.messages.append(message)
        record.activity = self._next_activity()
        if key := new.idempotency_key:
            record.by_key[new.sender_id, key] = message
            record.digests[new.sender_id, key] = new.digest(self.contents.secret)
        self._add_entries(
            record.chat.users,
            new.sent_us,
            lambda cursor: MessageSent(cursor, record.chat, message),
        )
        return Sent(message, replayed=False)

    async def replay_of(self, new: NewMessage) -> Sent | None:
        record = self.contents.chats.get(new.chat_id)
        return self._replay_in(record, new) if record else None

    async def last_seq(self, chat_id: int) -> int:
        return len(self._messages_of(chat_id))

    async def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        return self._messages_of(chat_id)[seq : seq + limit]

    async def messages_before(
        self, chat_id: int, seq: int | None, *, limit: int
    ) -> Sequence[Message]:
        messages = self._messages_of(chat_id)
        end = len(messages) if seq is None else min(max(seq - 1, 0), len(messages))
        return messages[max(end - limit, 0) : end]

    async def end_of_log(self, user_id: int) -> Cursor:
        return self._log_of(user_id).end

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        log = self._log_of(after.user_id)
        missing = log.end.n - after.n
        if after.log != self.contents.log_name or not 0 <= missing <= len(log.entries):
            return None
        start = len(log.entries) - missing
        if start and after.mark not in (None, log.entries[start - 1][1].cursor.mark):
            return None
        wanted = range(start, min(start + limit, len(log.entries)))
        return [self._with_current_names(log.entries[index][1]) for index in wanted]

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        users = sorted(user_id for user_id in self.contents.logs if user_id > after_user)
        for user_id in users[:TRIMMED]:
            entries = self.contents.logs[user_id].entries
            while len(entries) > max(keep, 1) or (len(entries) > 1 and entries[0][0] < since_us):
                entries.popleft()
        return users[TRIMMED - 1] if len(users) > TRIMMED else None

    def _records_of(self, user_id: int, before: int | None, limit: int) -> list[ChatRecord]:
        records = sorted(
            self.contents.chats_by_user.get(user_id, ()),
            key=lambda record: record.activity,
            reverse=True,
        )
        older = [record for record in records if before is None or record.activity < before]
        return older[:limit]

    def _are_apart(self, lo: int, hi: int) -> bool:
        """Whether one of the users blocks the other or is erased, so nothing may be sent."""
        return (
            hi in self.contents.blocks.get(lo, ())
            or lo in self.contents.blocks.get(hi, ())
            or not self._is_living(lo)
            or not self._is_living(hi)
        )

    def _is_living(self, user_id: int) -> bool:
        """Whether the id is that of a user who is not erased."""
        return user_id in self.contents.users and user_id not in self.contents.erased

    def _new_user(self, key: str, name: str) -> User:
        user = user_of(len(self.contents.users) + 1, key, name)
        self.contents.users[user.id] = user
        self.contents.ids_by_name[key] = user.id
        self.contents.chats_by_user[user.id] = []
        return user

    def _renamed(self, user_id: int, name: str) -> Put:
        """Give the user the name, which may be the present one."""
        former = self.contents.users[user_id]
        if former.name == name:
            return Put(former, renamed=False)
        user = former._replace(name=name)
        self._show(user)
        return Put(user, renamed=True)

    def _show(self, user: User) -> None:
        """Show the user, under the present name and handle, in every chat."""
        self.contents.users[user.id] = user
        for record in self.contents.chats_by_user[user.id]:
            first, second = record.chat.users
            users = (user, second) if first.id == user.id else (first, user)
            record.chat = Chat(record.chat.id, users)

    def _replay_in(self, record: ChatRecord, new: NewMessage) -> Sent | None:
        """The first message with the key of `new`, if there is one. Raises KeyReused."""
        key = new.sender_id, new.idempotency_key or ""
        if (first := record.by_key.get(key)) is None:
            return None
        if record.digests[key] != new.digest(self.contents.secret):
            raise KeyReused
        return Sent(first, replayed=True)

    def _next_activity(self) -> int:
        """The activity of a chat that is opened, or gets a message, now."""
        self.contents.activity += 1
        return self.contents.activity

    def _messages_of(self, chat_id: int) -> list[Message]:
        """All messages of the chat, in order; empty for an unknown chat."""
        record = self.contents.chats.get(chat_id)
        return record.messages if record else []

    def _add_entries(
        self, users: Iterable[User], at_us: int, make: Callable[[Cursor], Entry]
    ) -> None:
        """Add an entry to the log of each user who is not erased; `make` gets its cursor."""
        for user in users:
            if not self._is_living(user.id):
                continue
            log = self.contents.logs[user.id] = self._log_of(user.id)
            n = log.end.n + 1
            entry = make(log.end.at(n))
            log.end = log.end.at(n, mark_of(KINDS[type(entry)], entry.chat.id, n, at_us))
            log.entries.append((at_us, entry._replace(cursor=log.end)))

    def _log_of(self, user_id: int) -> LogRecord:
        """The user's log; a new one, not yet in `contents`, if there is none."""
        return self.contents.logs.get(user_id) or LogRecord(
            Cursor(self.contents.log_name, user_id, 0)
        )

    def _with_current_names(self, entry: Entry) -> Entry:
        """The entry with its users' current names."""
        chat = self.contents.chats[entry.chat.id].chat
        match entry:
            case MarkerMoved():
                return entry._replace(chat=chat, reader=self.contents.users[entry.reader.id])
            case ChatOpened() | MessageSent():
                return entry._replace(chat=chat)
        assert_never(entry)
