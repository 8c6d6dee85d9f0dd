"""Many users talk through several nodes, each listens at another node, and everything is
recorded."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Self

import httpx

from chatcore import Chat, Cursor, User, UserName
from chatcore.model import to_microseconds
from chatcore_jwt import JwtTokens
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import Api, Someone
from tests.support.checker import Ledger, Stored, find_faults
from tests.support.soak import SOAK
from tests.support.sse import stream

PAUSE = 0.3 if SOAK else 1.0
"""Seconds between two messages of a sender, on average: this is about faults, not about speed."""
RETRY_SECONDS = 0.2
NOW = to_microseconds(datetime.now(UTC))
"""Not a time long past: a service that runs for half a minute trims old events."""


@dataclass
class Person:
    """Sends at one node, or at the next if that one does not answer; listens at another."""

    user: User
    chat: Chat
    by: Someone
    cursor: Cursor
    sends_at: int
    listens_at: int
    frames: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Each event with its number in the log, in the order of arrival."""
    newest: int = 0
    """The number of the last message heard."""

    def hear(self, cursor: str, event: dict[str, Any]) -> None:
        self.cursor = Cursor.parse(cursor) or self.cursor
        self.frames.append((self.cursor.n, event))
        if event["type"] == "message":
            self.newest = event["message"]["seq"]

    def messages(self) -> list[Stored]:
        """The messages heard, in the order of arrival."""
        return [
            Stored(message["seq"], message["sender"], message["text"])
            for message in (event.get("message") for _, event in self.frames)
            if message is not None
        ]


@dataclass
class Traffic:
    store: SqlAlchemyStore
    nodes: Sequence[Api]
    people: list[Person] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    statuses: Counter[int] = field(default_factory=Counter)
    """How often a send got each status; 0 for no answer."""
    newest: dict[int, int] = field(default_factory=dict)
    """The largest acknowledged number of each chat."""
    began: dict[str, int] = field(default_factory=dict)
    """The moment at which each sender began their newest acknowledged message."""
    _random: Random = field(default_factory=lambda: Random(1))
    _stopped: bool = False

    @classmethod
    async def gather(
        cls, store: SqlAlchemyStore, nodes: Sequence[Api], secret: str, per_node: int
    ) -> Self:
        """Make pairs of people, `per_node` senders at each node."""
        made, tokens = cls(store, nodes), JwtTokens(secret)
        users = [
            await store.add_user(UserName(f"user {number}"), "no password", NOW)
            for number in range(per_node * len(nodes))
        ]
        for number, (first, second) in enumerate(zip(users[::2], users[1::2], strict=True)):
            chat = await store.open_chat(first.id, second.id, NOW)
            for user, home in ((first, 2 * number), (second, 2 * number + 1)):
                by = Someone(user.name, tokens.issue(user.id, datetime.now(UTC)))
                cursor = await store.end_of_log(user.id)
                here, there = home % len(nodes), (home + 1) % len(nodes)
                made.people.append(Person(user, chat, by, cursor, here, there))
        return made

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """All talk and listen inside the context; on exit all have heard everything."""
        async with AsyncExitStack() as listening:
            tasks = await listening.enter_async_context(asyncio.TaskGroup())
            listeners = [tasks.create_task(self._listen(person)) for person in self.people]
            async with asyncio.TaskGroup() as senders:
                for person in self.people:
                    senders.create_task(self._talk(person))
                yield
                self._stopped = True
            await self.all_have_heard()
            for listener in listeners:
                listener.cancel()

    async def all_have_heard(self) -> None:
        """Return when all have heard every message acknowledged before this call."""
        wanted = dict(self.newest)
        await _until(
            lambda: all(person.newest >= wanted.get(person.chat.id, 0) for person in self.people)
        )

    async def all_have_sent(self) -> None:
        """Return when each has sent a message begun after this call."""
        now = self.ledger.moment
        await _until(
            lambda: all(self.began.get(person.user.name, 0) > now for person in self.people)
        )

    async def wrong(self) -> list[object]:
        """Everything that contradicts an answer to a sender or an event of a listener."""
        stored = {person.chat.id: await self._stored(person.chat) for person in self.people}
        faults: list[object] = list(find_faults(self.ledger.sends, stored))
        for person in self.people:
            numbers = [number for number, _ in person.frames]
            first = numbers[0] if numbers else 0
            if numbers != list(range(first, first + len(numbers))):
                faults.append((person.user.name, "heard", numbers))
            if person.messages() != stored[person.chat.id]:
                faults.append((person.user.name, "heard", person.messages()))
        return faults

    async def _stored(self, chat: Chat) -> list[Stored]:
        found: list[Stored] = []
        while page := await self.store.messages_after(chat.id, len(found), limit=500):
            found += [
                Stored(message.seq, chat.sender_of(message).name, message.text) for message in page
            ]
        return found

    async def _talk(self, person: Person) -> None:
        number = 0
        while not self._stopped:
            number += 1
            await self._send(person, f"{person.user.name} says {number}", f"key-{number}")
            await asyncio.sleep(2 * PAUSE * self._random.random())

    async def _send(self, person: Person, text: str, key: str) -> None:
        send = self.ledger.begin(person.chat.id, person.user.name, text, key)
        path = f"/v1/chats/{person.chat.id}/messages"
        body = {"text": text, "idempotency_key": key}
        node = person.sends_at
        while True:
            try:
                answer = await self.nodes[node].call("POST", path, person.by, json=body)
            except httpx.TransportError:
                self.statuses[0] += 1
                node = (node + 1) % len(self.nodes)
            else:
                self.statuses[answer.status_code] += 1
                if answer.status_code == 201:
                    break
                assert answer.status_code == 503, answer.text
            await asyncio.sleep(RETRY_SECONDS)
        seq = answer.json()["seq"]
        self.ledger.acknowledge(send, seq)
        self.newest[person.chat.id] = max(self.newest.get(person.chat.id, 0), seq)
        self.began[person.user.name] = send.began

    async def _listen(self, person: Person) -> None:
        """Never returns: after any interruption it resumes with the cursor."""
        client = self.nodes[person.listens_at].client
        while True:
            try:
                async with stream(client, person.by, str(person.cursor)) as opened:
                    if opened.response.status_code == 200:
                        while frame := await opened.frame():
                            if frame.id is not None:
                                person.hear(frame.id, frame.data)
                    else:
                        answer = await opened.response.aread()
                        details = opened.response.status_code, opened.response.headers, answer
                        assert opened.response.status_code == 503, details
            except httpx.TransportError:
                pass
            await asyncio.sleep(RETRY_SECONDS)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (many tasks change the state)
        await asyncio.sleep(0.02)
