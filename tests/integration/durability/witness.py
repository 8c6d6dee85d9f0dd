"""Makes calls to a store, overlapping ones too, and compares the store with the model."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chatcore import (
    Chat,
    DeviceSession,
    Message,
    Refused,
    Sent,
    Unavailable,
    User,
    UserName,
    user_of,
)
from chatcore.ports import MAX_PAGE, AccountStore, ChatStore, Credentials, People, Put
from tests.integration.durability.linear import explain
from tests.integration.durability.logs import Readers
from tests.integration.durability.model import REPEATED, WRITES, Call, Model, Observed, Outcome


class Store(AccountStore, People, ChatStore, Protocol):
    """All ports of a store."""


class Unexplained(AssertionError):
    """No order of the calls explains what the store did."""


class _Unanswered:
    """The outcome of a call whose caller got none."""

    def __repr__(self) -> str:
        return "no answer"


UNANSWERED = _Unanswered()


@dataclass
class _Seen:
    """What the store shows after a step."""

    users: dict[str | int, User | None] = field(default_factory=dict)
    """By the key or the id that was looked up."""
    accounts: dict[str, Credentials | None] = field(default_factory=dict)
    chats: dict[tuple[int, str], Chat | None] = field(default_factory=dict)
    messages: dict[int, list[Message]] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    """By id, of the users whose chats were looked up."""
    sessions: dict[int, Sequence[DeviceSession]] = field(default_factory=dict)
    """Device sessions by user id, expired ones too."""

    def matches(self, model: Model) -> bool:
        return (
            all(_user(model, by) == found for by, found in self.users.items())
            and all(model.credentials(name) == found for name, found in self.accounts.items())
            and all(model.chat_with(*pair) == found for pair, found in self.chats.items())
            and all(
                model.sessions_of(user_id, 0) == found for user_id, found in self.sessions.items()
            )
            and all(
                model.messages_after(chat_id, 0, limit=len(found) + 1) == found
                for chat_id, found in self.messages.items()
            )
        )


def _user(model: Model, by: str | int) -> User | None:
    return model.user_by_id(by) if isinstance(by, int) else model.user_by_name(by)


@dataclass
class Witness:
    """The only user of a store."""

    store: Store
    model: Model = field(default_factory=Model)
    limbo: list[Observed] = field(default_factory=list)
    """Writes of unknown fate: each takes effect at most once, and possibly late."""
    readers: Readers = field(default_factory=Readers)
    unavailable: list[Call] = field(default_factory=list)
    """Calls that raised Unavailable."""

    async def make(
        self, callers: Sequence[Sequence[Call]], patience: Mapping[int, int]
    ) -> list[list[Observed]]:
        """Make the calls of each caller in sequence, all callers at once.

        `patience` maps a caller to the turn of the event loop at which it is cancelled.
        """
        observed: list[list[Observed]] = [[] for _ in callers]
        async with asyncio.TaskGroup() as tasks:
            for number, calls in enumerate(callers):
                task = tasks.create_task(self._make(calls, observed[number]))
                if number in patience:
                    tasks.create_task(_cancel(task, patience[number]))
        return observed

    async def settle(self, observed: Sequence[list[Observed]]) -> None:
        """Repeat each upsert and erasure without an answer until there is one, as a host does."""
        for caller in observed:
            for place, one in enumerate(list(caller)):
                if one.outcome is UNANSWERED and one.call.method in REPEATED:
                    again: list[Observed] = []
                    while not again or again[-1].outcome is UNANSWERED:
                        await self._make([one.call], again)
                    outcome = await self._presumed(one.call, again[-1].outcome)
                    caller[place] = one._replace(outcome=outcome, optional=True)
                    caller.append(again[-1])

    async def _presumed(self, call: Call, again: Outcome) -> Outcome:
        """The outcome that the call had, if it took effect before it was repeated."""
        if call.method == "erase_user":
            return None
        people, _ = call.arguments
        if isinstance(again, type):
            found = await self.store.users_by_name([person.key for person in people])
            ids = {user.key: user.id for user in found}
        else:
            ids = {put.user.key: put.user.id for put in again}
        # Without an id the user was not added.
        known = [ids.get(it.key) or self.model.id_of(it.key) or 0 for it in people]
        users = (user_of(n, it.key, it.name) for n, it in zip(known, people, strict=True))
        return [Put(user, renamed=None) for user in users]  # type: ignore[arg-type]

    async def judge(self, observed: Sequence[Sequence[Observed]]) -> None:
        """Raises Unexplained unless the model explains the outcomes of the callers and what the
        store now shows."""
        self.model.step += 1
        self.limbo += [
            one._replace(since=self.model.step)
            for one in itertools.chain(*observed)
            if one.outcome is UNANSWERED and one.call.method in WRITES
        ]
        seen = await self._look(observed)
        late, unanswered = list[Observed](), list[Observed]()
        for one in self.limbo:
            outcome = self._effect(one.call, seen, [*itertools.chain(*observed), *late])
            (unanswered if outcome is UNANSWERED else late).append(one._replace(outcome=outcome))
        callers = [[one for one in caller if one.outcome is not UNANSWERED] for caller in observed]
        model = self.model
        stuck = explain(model, [*callers, *([one] for one in late)], lambda: seen.matches(model))
        if stuck is not None:
            raise Unexplained(
                f"the store did: {callers}\nstuck at: {stuck}\nthe store shows: {seen}\n"
                f"the model was at: {model.chats}\nno answer: {self.limbo}"
            )
        self.limbo = unanswered
        if wrong := await self.readers.read_on(self.store, model):
            raise Unexplained(f"the store did: {callers}\nthen: {wrong}")

    async def _make(self, calls: Sequence[Call], observed: list[Observed]) -> None:
        for call in calls:
            observed.append(Observed(call, UNANSWERED))
            outcome: Outcome = UNANSWERED
            try:
                outcome = await getattr(self.store, call.method)(*call.arguments, **call.options)
            except Refused as refusal:
                outcome = type(refusal)
            except Unavailable:
                self.unavailable.append(call)
            observed[-1] = Observed(call, outcome)

    async def _look(self, observed: Sequence[Sequence[Observed]]) -> _Seen:
        seen = _Seen()
        for call, *_ in (*itertools.chain(*observed), *self.limbo):
            match call.method, *call.arguments:
                case "put_users", people, _:
                    for person in people:
                        by_key = await self.store.user_by_name(person.key)
                        seen.users[person.key] = by_key
                case "erase_user", int() as user_id, *_:
                    seen.users[user_id] = await self.store.user_by_id(user_id)
                case "add_user", UserName() as name, *_:
                    seen.accounts[name.canonical] = await self.store.credentials(name.canonical)
                case "replace_password_hash", int() as user_id, *_:
                    if known := self._name(user_id):
                        seen.accounts[known] = await self.store.credentials(known)
                case "open_chat", int() as user_id, int() as peer_id, *_:
                    if peer := await self.store.user_by_id(peer_id):
                        found = await self.store.chat_with(user_id, peer.key)
                        seen.chats[user_id, peer.key] = found
                        seen.keys[peer_id] = peer.key
                case "append_message", new:
                    await self._read(new.chat_id, seen)
                case "add_session" | "renew_session" | "end_session", *_:
                    for user_id in self.model.accounts:
                        seen.sessions[user_id] = await self.store.sessions_of(user_id, 0)
                case "last_seq" | "messages_before" | "messages_after", int() as chat_id, *_:
                    await self._read(chat_id, seen)
        return seen

    async def _read(self, chat_id: int, seen: _Seen) -> None:
        if chat_id in seen.messages:
            return
        found = seen.messages[chat_id] = []
        end = 0
        while piece := await self.store.messages_after(chat_id, end, limit=MAX_PAGE):
            found += piece
            if found[-1].seq <= end:
                raise Unexplained(f"a page after {end} of chat {chat_id}: {piece}")
            end = found[-1].seq

    def _effect(self, call: Call, seen: _Seen, others: Sequence[Observed]) -> Outcome:
        """The outcome that the call would have had, if it has taken effect."""
        model = self.model
        match call.method, *call.arguments:
            case "append_message", new:
                # Times are unique.
                for message in seen.messages[new.chat_id][model.last_seq(new.chat_id) :]:
                    if message.sent_us == new.sent_us:
                        return Sent(message, replayed=False)
            case "add_user", name, password_hash, _:
                account = seen.accounts[name.canonical]
                # So are hashes.
                if account and model.credentials(name.canonical) is None:
                    return account.user if account.password_hash == password_hash else UNANSWERED
            case "replace_password_hash", user_id, _, password_hash:
                account = seen.accounts.get(self._name(user_id))
                if account and account.password_hash == password_hash:
                    known = model.accounts[user_id].password_hash
                    return UNANSWERED if known == password_hash else None
            case "open_chat", user_id, peer_id, _:
                # For two calls for one pair, it does not matter which one it was.
                chat = seen.chats.get((user_id, seen.keys.get(peer_id, "")))
                opened = [it.outcome.id for it in others if isinstance(it.outcome, Chat)]
                if chat and chat.id not in model.chats and chat.id not in opened:
                    return chat
        return UNANSWERED

    def _name(self, user_id: int) -> str:
        user = self.model.user_by_id(user_id)
        return user.key if user else ""


async def _cancel(task: "asyncio.Task[None]", patience: int) -> None:
    for _ in range(patience):
        await asyncio.sleep(0)
    task.cancel()
