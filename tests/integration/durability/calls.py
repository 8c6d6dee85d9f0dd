"""Calls that are valid, or nearly so, in the current state of a store."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from chatcore import Chat, NewMessage, UserName
from chatcore.ports import MAX_PAGE
from tests.integration.durability.model import WRITES, Call, Model

T = TypeVar("T")

# Some of these have the same canonical name.
NAMES = list(
    map(UserName, ("ann", "Ann", "bob", "Änne", "A\u0308NNE", "名前", "dan", "eve", "fay"))
)
KEYS = ("a", "b", "c")
NOBODY = 1_000_000
END = 2**63 - 1
LIMITS = (MAX_PAGE, 1, 2, 3)
METHODS = (
    *["append_message"] * 8,
    *["add_user", "open_chat", "chats_of", "messages_after", "messages_before"] * 2,
    *["user_by_name", "user_by_id", "credentials", "replace_password_hash"],
    *["chat_by_id", "chat_with", "last_seq"],
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

    def call(self, plan: Plan) -> Call:
        method, first, second, third = plan
        match method:
            case "append_message":
                return self._append(first, second, third)
            case "add_user":
                return self.add_user(_pick(NAMES, first))
            case "open_chat":
                return self.open_chat(self.user_id(first), self.user_id(second))
            case "replace_password_hash":
                account = self._model.accounts.get(self.user_id(first))
                old = account.password_hash if account and second % 4 else "wrong"
                return Call(method, (self.user_id(first), old, f"hash {next(self._numbers)}"))
            case "user_by_name" | "credentials":
                return Call(method, (_pick(NAMES, first).canonical,))
            case "user_by_id":
                return Call(method, (self.user_id(first),))
            case "chat_with":
                return Call(method, (self.user_id(first), _pick(NAMES, second).canonical))
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

    def append(self, chat_id: int, sender_id: int, key: str | None = None, text: str = "") -> Call:
        number = next(self._numbers)
        new = NewMessage(chat_id, sender_id, text or f"text {number}", number, key)
        return Call("append_message", (new,))

    def chat(self, number: int) -> Chat:
        return _pick([entry.chat for entry in self._model.chats.values()], number)

    def user_id(self, number: int) -> int:
        return _pick([*self._model.accounts, NOBODY], number)

    def _append(self, first: int, second: int, third: int) -> Call:
        chat = self.chat(first)
        senders = [user.id for user in chat.users] * 4 + [NOBODY]
        key = _pick([None, *KEYS], second)
        # A key usually comes with its own text.
        text = f"text of key {key}" if key and third % 5 else ""
        return self.append(chat.id, _pick(senders, third), key, text)

    def _chat_id(self, number: int) -> int:
        return _pick([*self._model.chats, NOBODY], number)


def _pick(choices: Sequence[T], number: int) -> T:
    return choices[number % len(choices)]
