"""Calls that are valid, or nearly so, in the current state of a store."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from chatcore import Chat, NewMessage, Person, UserName
from chatcore.ports import MAX_PAGE
from tests.integration.durability.model import WRITES, Call, Model
from tests.integration.durability.session_model import SessionPlan, session_call

T = TypeVar("T")

# Some of these have the same canonical name.
NAMES = list(
    map(UserName, ("ann", "Ann", "bob", "Änne", "A\u0308NNE", "名前", "dan", "eve", "fay"))
)
# The handles of one realm are those of the other, and of accounts.
PEOPLE = [(realm, handle) for handle in ("ann", "7", "bob") for realm in ("shop", "club")]
KEYS = ("a", "b", "c")
NOBODY = 1_000_000
END = 2**63 - 1
LIMITS = (MAX_PAGE, 1, 2, 3)
METHODS = (
    *["append_message"] * 8,
    *["add_user", "open_chat", "chats_of", "messages_after", "messages_before"] * 2,
    *["user_by_name", "user_by_id", "credentials", "replace_password_hash"],
    *["chat_by_id", "chat_with", "last_seq"],
    *["put_users", "put_users", "users_by_name", "erase_user", "replay_of"],
)


class Plan(NamedTuple):
    """An abstract call. Its numbers select from the state at the time of the call, so the draw does
    not depend on the outcome of earlier calls."""

    method: str
    first: int
    second: int
    third: int


numbers = st.integers(0, 59)
plans = st.builds(Plan, st.sampled_from(METHODS), numbers, numbers, numbers)
contested = st.builds(Plan, st.sampled_from(sorted(WRITES)), numbers, numbers, numbers)


class Caller:
    """Makes plans into calls. Times, hashes and, except with a key, texts are unique, so each call
    can be identified."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._numbers: Iterator[int] = itertools.count(1)

    def call(self, plan: Plan | SessionPlan) -> Call:
        if isinstance(plan, SessionPlan):
            user_id, number = self.user_id(plan.first), next(self._numbers)
            return Call(*session_call(plan, user_id, self._model.sessions, number))
        method, first, second, third = plan
        match method:
            case "append_message":
                return self._append(first, second, third)
            case "replay_of":
                return Call(method, self._append(first, second, third).arguments)
            case "put_users":
                return self._put_users(first, second, third)
            case "erase_user":
                return self._erase_user(first, third)
            case "users_by_name":
                return Call(method, ([_pick(self._keys(), first + n) for n in range(3)],))
            case "add_user":
                return self.add_user(_pick(NAMES, first))
            case "open_chat":
                return self.open_chat(self.user_id(first), self.user_id(second))
            case "replace_password_hash":
                account = self._model.accounts.get(self.user_id(first))
                old = account.password_hash if account and second % 4 else "wrong"
                return Call(method, (self.user_id(first), old, f"hash {next(self._numbers)}"))
            case "user_by_name" | "credentials":
                return Call(method, (_pick(self._keys(), first),))
            case "user_by_id":
                return Call(method, (self.user_id(first),))
            case "chat_with":
                return Call(method, (self.user_id(first), _pick(self._keys(), second)))
            case "chat_by_id" | "last_seq":
                return Call(method, (self._chat_id(first),))
            case "chats_of":
                options = {"before": None, "limit": _pick(LIMITS, second)}
                return Call(method, (self.user_id(first),), options)
            case _:
                chat_id = self._chat_id(first)
                seqs = [*range(self._model.last_seq(chat_id) + 3), END]
                seq = None if method == "messages_before" and second % 3 else _pick(seqs, second)
                return Call(method, (chat_id, seq), {"limit": _pick(LIMITS, third)})

    def add_user(self, name: UserName) -> Call:
        number = next(self._numbers)
        return Call("add_user", (name, f"hash {number}", number))

    def open_chat(self, user_id: int, peer_id: int) -> Call:
        return Call("open_chat", (user_id, peer_id, next(self._numbers)))

    def append(
        self,
        chat_id: int,
        sender_id: int,
        key: str | None = None,
        text: str = "",
        *,
        rewritten: bool = False,
    ) -> Call:
        number = next(self._numbers)
        text = text or f"text {number}"
        new = NewMessage(chat_id, sender_id, text, number, key)
        if rewritten:
            new = replace(new, text=f"rewritten {number}", submitted=text)
        return Call("append_message", (new,))

    def chat(self, number: int) -> Chat:
        return _pick([entry.chat for entry in self._model.chats.values()], number)

    def user_id(self, number: int) -> int:
        return _pick([*self._model.users, NOBODY], number)

    def _keys(self) -> list[str]:
        used = [user.key for user in self._model.users.values()]
        people = [Person(realm, handle, "?").key for realm, handle in PEOPLE]
        return list(dict.fromkeys([*(name.canonical for name in NAMES), *people, *used]))

    def _put_users(self, first: int, second: int, third: int) -> Call:
        number = next(self._numbers)
        people = []
        for place in range(_pick((1, 1, 2, 4), second)):
            realm, handle = _pick(PEOPLE, first + place)
            user = self._model.user_by_name(Person(realm, handle, "?").key)
            present = user.name if user else "Ann"
            people.append(Person(realm, handle, f"name {number}" if third % 3 else present))
        return Call("put_users", (people, number))

    def _erase_user(self, first: int, third: int) -> Call:
        number = next(self._numbers)
        # The first two users stay, or all chats would soon be closed.
        user_id = NOBODY if third % 4 > 1 else _pick([*list(self._model.users)[2:], NOBODY], first)
        # A tombstone has a space, which no handle has.
        tombstone = UserName("deleted before" if third % 4 else f"deleted {number}")
        return Call("erase_user", (user_id, tombstone, number))

    def _append(self, first: int, second: int, third: int) -> Call:
        chat = self.chat(first)
        senders = [user.id for user in chat.users] * 4 + [NOBODY]
        key = _pick([None, *KEYS], second)
        # A key usually comes with its own text, which a policy may rewrite.
        text = f"text of key {key}" if key and third % 5 else ""
        rewritten = bool(text) and third % 3 == 0
        return self.append(chat.id, _pick(senders, third), key, text, rewritten=rewritten)

    def _chat_id(self, number: int) -> int:
        return _pick([*self._model.chats, NOBODY], number)


def _pick(choices: Sequence[T], number: int) -> T:
    return choices[number % len(choices)]
