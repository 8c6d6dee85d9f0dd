"""Users, chats and messages in dictionaries."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chatcore.errors import ChatExists, ChatNotFound, KeyReused, NameTaken, SelfChat, UserNotFound
from chatcore.model import Chat, ChatSummary, Message, NewMessage, Sent, User
from chatcore.names import UserName
from chatcore.ports import Credentials


@dataclass(slots=True)
class _Chat:
    chat: Chat
    activity: int
    messages: list[Message] = field(default_factory=list)
    by_key: dict[tuple[int, str], Message] = field(default_factory=dict)

    def summary(self) -> ChatSummary:
        return ChatSummary(self.chat, len(self.messages), self.activity)


class MemoryStore:
    """An AccountStore and a ChatStore, for one event loop.

    No method awaits anything, so each is one step to every other task.
    """

    def __init__(self) -> None:
        self._accounts: dict[int, Credentials] = {}
        self._ids_by_name: dict[str, int] = {}
        self._chats: dict[int, _Chat] = {}
        self._chats_by_pair: dict[tuple[int, int], _Chat] = {}
        self._chats_by_user: dict[int, list[_Chat]] = {}
        self._activity = 0

    async def user_by_name(self, canonical: str) -> User | None:
        found = await self.credentials(canonical)
        return found.user if found else None

    async def user_by_id(self, user_id: int) -> User | None:
        found = self._accounts.get(user_id)
        return found.user if found else None

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        if name.canonical in self._ids_by_name:
            raise NameTaken
        user = User(len(self._accounts) + 1, name.typed)
        self._accounts[user.id] = Credentials(user, password_hash)
        self._ids_by_name[name.canonical] = user.id
        self._chats_by_user[user.id] = []
        return user

    async def credentials(self, canonical: str) -> Credentials | None:
        user_id = self._ids_by_name.get(canonical)
        return self._accounts[user_id] if user_id else None

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        account = self._accounts.get(user_id)
        if account and account.password_hash == old:
            self._accounts[user_id] = account._replace(password_hash=new)

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        lo, hi = pair = min(user_id, peer_id), max(user_id, peer_id)
        if lo not in self._accounts or hi not in self._accounts:
            raise UserNotFound
        if pair in self._chats_by_pair:
            raise ChatExists
        users = self._accounts[lo].user, self._accounts[hi].user
        entry = _Chat(Chat(len(self._chats) + 1, users), self._next_activity())
        self._chats[entry.chat.id] = self._chats_by_pair[pair] = entry
        for user in users:
            self._chats_by_user[user.id].append(entry)
        return entry.chat

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        entry = self._chats.get(chat_id)
        return entry.chat if entry else None

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        peer_id = self._ids_by_name.get(peer, 0)
        entry = self._chats_by_pair.get((min(user_id, peer_id), max(user_id, peer_id)))
        return entry.chat if entry else None

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        entries = sorted(
            self._chats_by_user.get(user_id, ()), key=lambda entry: entry.activity, reverse=True
        )
        older = [entry for entry in entries if before is None or entry.activity < before]
        return [entry.summary() for entry in older[:limit]]

    async def append_message(self, new: NewMessage) -> Sent:
        entry = self._chats.get(new.chat_id)
        if entry is None or new.sender_id not in {user.id for user in entry.chat.users}:
            raise ChatNotFound
        key = (new.sender_id, new.idempotency_key) if new.idempotency_key else None
        if key and (first := entry.by_key.get(key)):
            if first.text != new.text:
                raise KeyReused
            return Sent(first, replayed=True)
        seq = len(entry.messages) + 1
        message = Message(new.chat_id, seq, new.sender_id, new.text, new.sent_us)
        entry.messages.append(message)
        entry.activity = self._next_activity()
        if key:
            entry.by_key[key] = message
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

    def _messages(self, chat_id: int) -> list[Message]:
        entry = self._chats.get(chat_id)
        return entry.messages if entry else []

    def _next_activity(self) -> int:
        self._activity += 1
        return self._activity
