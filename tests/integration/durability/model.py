"""The promises of a store in plain Python, and whether they explain the answers to callers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatcore import (
    Chat,
    ChatExists,
    ChatNotFound,
    ChatSummary,
    KeyReused,
    Message,
    NameTaken,
    NewMessage,
    Person,
    SelfChat,
    Sent,
    User,
    UserErased,
    UserName,
    UserNotFound,
    user_of,
)
from chatcore.ports import Credentials, Put
from tests.integration.durability.session_model import SessionModel

Outcome = Any
"""The return value of a store method, or the class of the Refused that it raised."""

REPEATED = {"put_users", "erase_user"}
"""Writes that a caller repeats until their outcome is known."""

WRITES = {"add_user", "replace_password_hash", "open_chat", "append_message", *REPEATED}

Undo = Callable[[], object]


class Call(NamedTuple):
    """A call of a method of a store's port."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = {}  # noqa: RUF012


class Observed(NamedTuple):
    call: Call
    outcome: Outcome
    since: int | None = None
    """The step of the call; it may have taken effect at any time since then."""
    optional: bool = False
    """Whether it may have taken no effect. Then no Put knows `renamed`."""


class Active(NamedTuple):
    """When a chat was last active: in one of these steps."""

    first: int
    last: int


@dataclass
class _Entry:
    chat: Chat
    active: Active
    activity: int | None = None
    """What a list has shown since then."""
    floor: int = 0
    """What lists showed before that."""
    messages: list[Message] = field(default_factory=list)
    first_by_key: dict[tuple[int, str], tuple[Message, str]] = field(default_factory=dict)
    """The first message of a sender and key, and its text as submitted."""


class Model(SessionModel):
    """The state of a store. The store chooses the ids and the activity numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        """Calls of one step overlap; calls of different steps do not."""
        self._now = Active(0, 0)
        self._unanswered = False
        self.users: dict[int, User] = {}
        self.erased: set[int] = set()
        self.accounts: dict[int, Credentials] = {}
        self.chats: dict[int, _Entry] = {}
        self._ids: dict[str, int] = {}
        """By key, former keys of erased users too."""
        self._pairs: dict[tuple[int, ...], _Entry] = {}

    def accept(self, observed: Observed) -> Undo | None:
        """Apply the step that the outcome implies, and return a function that undoes it; None if
        the call cannot have that outcome now."""
        call, outcome, since, _ = observed
        self._now = Active(self.step if since is None else since, self.step)
        self._unanswered = since is not None
        write = getattr(self, f"_{call.method}", None)
        if write is not None:
            undo: Undo | None = write(outcome, *call.arguments, **call.options)
            return undo
        return _if(outcome == getattr(self, call.method)(*call.arguments, **call.options))

    def user_by_name(self, canonical: str) -> User | None:
        user = self.user_by_id(self._ids.get(canonical, 0))
        return user if user and user.key == canonical else None

    def user_by_id(self, user_id: int) -> User | None:
        return self.users.get(user_id)

    def id_of(self, key: str) -> int | None:
        """Return the id of the user who has or had the key."""
        return self._ids.get(key)

    def credentials(self, canonical: str) -> Credentials | None:
        return self.accounts.get(self._ids.get(canonical, 0))

    def chat_by_id(self, chat_id: int) -> Chat | None:
        entry = self.chats.get(chat_id)
        return entry.chat if entry else None

    def chat_with(self, user_id: int, peer: str) -> Chat | None:
        found = self.user_by_name(peer)
        entry = self._pairs.get(_pair(user_id, found.id)) if found else None
        return entry.chat if entry else None

    def replay_of(self, new: NewMessage) -> Outcome:
        entry = self.chats.get(new.chat_id)
        key = new.sender_id, new.idempotency_key or ""
        if entry is None or key not in entry.first_by_key:
            return None
        message, submitted = entry.first_by_key[key]
        return Sent(message, True) if submitted == _submitted(new) else KeyReused

    def last_seq(self, chat_id: int) -> int:
        return len(self._messages(chat_id))

    def messages_after(self, chat_id: int, seq: int, *, limit: int) -> Sequence[Message]:
        return [message for message in self._messages(chat_id) if message.seq > seq][:limit]

    def messages_before(self, chat_id: int, seq: int | None, *, limit: int) -> Sequence[Message]:
        messages = self._messages(chat_id)
        return [message for message in messages if seq is None or message.seq < seq][-limit:]

    def _messages(self, chat_id: int) -> list[Message]:
        entry = self.chats.get(chat_id)
        return entry.messages if entry else []

    def _add_user(
        self, outcome: Outcome, name: UserName, password_hash: str, registered_us: int
    ) -> Undo | None:
        if name.canonical in self._ids:
            return _if(outcome is NameTaken)
        if not isinstance(outcome, User) or outcome != user_of(
            outcome.id, name.canonical, name.typed
        ):
            return None
        if (added := self._add(outcome)) is None:
            return None
        self.accounts[outcome.id] = Credentials(outcome, password_hash)
        return lambda: (self.accounts.pop(outcome.id), added())

    def _users_by_name(self, outcome: Sequence[User], keys: Sequence[str]) -> Undo | None:
        found = [user for key in keys if (user := self.user_by_name(key))]
        return _if(sorted(outcome) == sorted(found))

    def _put_users(self, outcome: Outcome, people: Sequence[Person], put_us: int) -> Undo | None:
        if any(self._ids.get(it.key) in self.erased for it in people):
            return _if(outcome is UserErased)
        if outcome is UserErased or len(outcome) != len(people):
            return None
        undos: list[Undo] = []

        def undo() -> None:
            for each in reversed(undos):
                each()

        for put, person in zip(outcome, people, strict=True):
            done = self._put(put, person)
            if done is None:
                undo()
                return None
            undos.append(done)
        return undo

    def _put(self, put: Put, person: Person) -> Undo | None:
        known = self.users.get(self._ids.get(person.key, 0))
        user_id = known.id if known else put.user.id
        renamed = known is not None and known.name != person.name
        user = user_of(user_id, person.key, person.name)
        if put.user != user or put.renamed not in (None, renamed):
            return None
        return self._show(user) if known else self._add(user)

    def _erase_user(
        self, outcome: Outcome, user_id: int, tombstone: UserName, erased_us: int
    ) -> Undo | None:
        user = self.users.get(user_id)
        if user is None or user_id in self.erased:
            return _if(outcome is UserNotFound)
        erased = user._replace(handle=tombstone.canonical, name=tombstone.typed)
        if erased.key in self._ids:
            return _if(outcome is NameTaken)
        if outcome is not None:
            return None
        account = self.accounts.pop(user_id, None)
        self.erased.add(user_id)
        self._ids[erased.key] = user_id
        hidden = self._show(erased)

        def undo() -> None:
            hidden()
            del self._ids[erased.key]
            self.erased.discard(user_id)
            if account:
                self.accounts[user_id] = account

        return undo

    def _add(self, user: User) -> Undo | None:
        if user.id < 1 or user.id in self.users:
            return None
        self.users[user.id] = user
        self._ids[user.key] = user.id
        return lambda: (self.users.pop(user.id), self._ids.pop(user.key))

    def _show(self, user: User) -> Undo:
        """Show the user under the name and handle, in every chat."""
        former = self.users[user.id]

        def show(shown: User) -> None:
            self.users[user.id] = shown
            for entry in self.chats.values():
                first, second = entry.chat.users
                if user.id in (first.id, second.id):
                    users = (shown, second) if first.id == user.id else (first, shown)
                    entry.chat = Chat(entry.chat.id, users)

        show(user)
        return lambda: show(former)

    def _replace_password_hash(
        self, outcome: Outcome, user_id: int, old: str, new: str
    ) -> Undo | None:
        account = self.accounts.get(user_id)
        if outcome is not None or account is None or account.password_hash != old:
            return _if(outcome is None)
        self.accounts[user_id] = account._replace(password_hash=new)
        return lambda: self.accounts.update({user_id: account})

    def _open_chat(
        self, outcome: Outcome, user_id: int, peer_id: int, opened_us: int
    ) -> Undo | None:
        pair = _pair(user_id, peer_id)
        if user_id == peer_id:
            return _if(outcome is SelfChat)
        if not self.users.keys() >= set(pair):
            return _if(outcome is UserNotFound)
        if pair in self._pairs:
            return _if(outcome is ChatExists)
        if self.erased & set(pair):
            return _if(outcome is UserNotFound)
        if not isinstance(outcome, Chat) or outcome.id < 1 or outcome.id in self.chats:
            return None
        chat = Chat(outcome.id, (self.users[pair[0]], self.users[pair[1]]))
        # The chat of a call without an answer was read later, with names of that time.
        if outcome != chat and not (self._unanswered and outcome.users[0].id == pair[0]):
            return None
        self.chats[chat.id] = self._pairs[pair] = _Entry(chat, self._now)
        return lambda: (self.chats.pop(chat.id), self._pairs.pop(pair))

    def _append_message(self, outcome: Outcome, new: NewMessage) -> Undo | None:
        entry = self.chats.get(new.chat_id)
        if entry is None or new.sender_id not in {user.id for user in entry.chat.users}:
            return _if(outcome is ChatNotFound)
        key = (new.sender_id, new.idempotency_key) if new.idempotency_key else None
        if (replay := self.replay_of(new)) is not None:
            return _if(outcome == replay)
        if self.erased & {user.id for user in entry.chat.users}:
            return _if(outcome is ChatNotFound)
        seq = len(entry.messages) + 1
        message = Message(new.chat_id, seq, new.sender_id, new.text, new.sent_us)
        if outcome != Sent(message, False):
            return None
        before = entry.active, entry.activity, entry.floor
        entry.messages.append(message)
        if key:
            entry.first_by_key[key] = message, _submitted(new)
        entry.active = Active(max(entry.active.first, self._now.first), self.step)
        entry.activity, entry.floor = None, entry.activity or entry.floor

        def undo() -> None:
            entry.messages.pop()
            if key:
                del entry.first_by_key[key]
            entry.active, entry.activity, entry.floor = before

        return undo

    def _chats_of(
        self, outcome: Sequence[ChatSummary], user_id: int, *, before: int | None, limit: int
    ) -> Undo | None:
        hidden = {
            entry.chat.id: entry
            for entry in self.chats.values()
            if user_id in {user.id for user in entry.chat.users}
        }
        shown: list[tuple[_Entry, int]] = []
        bound = before
        for chat, last_seq, activity in outcome:
            entry = hidden.pop(chat.id, None)
            if entry is None or (chat, last_seq) != (entry.chat, len(entry.messages)):
                return None
            if activity <= entry.floor or entry.activity not in {None, activity}:
                return None
            if (bound is not None and activity >= bound) or (
                shown and shown[-1][0].active.last < entry.active.first
            ):
                return None
            shown.append((entry, activity))
            bound = activity
        if len(shown) > limit:
            return None
        last = shown[-1][0] if len(shown) == limit else None
        if not all(_may_be_hidden(entry, before, bound, last) for entry in hidden.values()):
            return None
        news = [entry for entry, _ in shown if entry.activity is None]
        for entry, activity in shown:
            entry.activity = activity

        def undo() -> None:
            for entry in news:
                entry.activity = None

        return undo


def _may_be_hidden(
    entry: _Entry, before: int | None, bound: int | None, last: _Entry | None
) -> bool:
    """Whether a list may omit the chat: it lies above the page, or below a full page that ends with
    `last` at activity `bound`."""
    if entry.activity is None:
        # Its place is known only as far as the steps determine it.
        return before is not None or (last is not None and entry.active.first <= last.active.last)
    above = before is not None and entry.activity >= before
    below = last is not None and bound is not None and entry.activity < bound
    return above or below


def _pair(user_id: int, peer_id: int) -> tuple[int, ...]:
    return min(user_id, peer_id), max(user_id, peer_id)


def _submitted(new: NewMessage) -> str:
    return new.text if new.submitted is None else new.submitted


def _nothing() -> None:
    """Undo nothing."""


def _if(possible: bool) -> Undo | None:
    return _nothing if possible else None
