"""Users who write over HTTP, and a record of the answers they get."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Self

import httpx

from chatcore import NewMessage, UserName
from chatcore.model import to_microseconds
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import PASSWORD, Api, Someone, fresh
from tests.support.checker import Ledger, Send
from tests.support.service import Service

SECRET = "a secret of thirty-two bytes, or so"
NOW = to_microseconds(datetime.now(UTC))
"""Not a time long past: a service that runs for half a minute trims old events."""
ANSWERS_SECONDS = 600


@dataclass(eq=False)
class Seat:
    """One side of a chat."""

    chat_id: int
    me: Someone
    peer: str
    pending: Send | None = None
    """Sent with a key; retried until an answer decides its fate."""
    done: Send | None = None
    """The last one with a key that was acknowledged."""


@dataclass
class Crowd:
    random: Random
    api: Api = field(init=False)
    ledger: Ledger = field(default_factory=Ledger)
    statuses: Counter[int] = field(default_factory=Counter)
    seats: list[Seat] = field(default_factory=list)
    _texts: int = 0
    _answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    async def gather(cls, service: Service, pairs: int, random: Random, written: int = 0) -> Self:
        """Make users with tokens and chats, in pairs, in the database of a service that has not
        started. The first pair has `written` messages.

        All users share one hash of PASSWORD: registration and login would need two for each.
        """
        service.settings["secret"] = SECRET
        crowd, tokens = cls(random), JwtTokens(SECRET)
        async with Argon2Hasher() as hasher:
            password_hash = await hasher.hash(PASSWORD)
        async with await SqlAlchemyStore.open(f"sqlite:///{service.database_path}") as store:
            for _ in range(pairs):
                names = UserName(fresh("ann")), UserName(fresh("bob"))
                users = [await store.add_user(name, password_hash, NOW) for name in names]
                ann, bob = [
                    Someone(user.name, tokens.issue(user.id, datetime.now(UTC))) for user in users
                ]
                chat = await store.open_chat(users[0].id, users[1].id, NOW)
                crowd.seats += [Seat(chat.id, ann, bob.name), Seat(chat.id, bob, ann.name)]
                if written:
                    sends = [crowd.begin(crowd.seats[0]) for _ in range(written)]
                    news = [NewMessage(chat.id, users[0].id, send.text, NOW) for send in sends]
                    await asyncio.gather(*map(store.append_message, news))
                    for send in sends:
                        crowd.ledger.acknowledge(send)
                    written = 0
        return crowd

    async def talk_until(self, status: int, count: int) -> None:
        """All write until there are `count` more answers of that status."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.talk(stop))
            await self.answers(status, count)
            stop.set()

    async def talk(self, stop: asyncio.Event) -> None:
        """Inside the context, all write at once, each one message after the other."""
        async with asyncio.TaskGroup() as tasks:
            for seat in self.seats:
                tasks.create_task(self._talk(seat, stop))

    async def answers(self, status: int, count: int) -> None:
        """Return after `count` more answers of that status. Raises TimeoutError."""
        enough = self.statuses[status] + count
        async with asyncio.timeout(ANSWERS_SECONDS), self._answered:
            await self._answered.wait_for(lambda: self.statuses[status] >= enough)

    async def fill(self, seat: Seat, count: int) -> None:
        """One user writes that many messages, as fast as possible."""
        for _ in range(count):
            await self._send(seat, self.begin(seat))

    async def histories(self) -> dict[int, list[tuple[str, str]]]:
        """The history of every chat as the service shows it."""
        found = {}
        for seat in self.seats[::2]:
            answer = await self.api.read(seat.me, seat.peer)
            assert answer.status_code == 200
            found[seat.chat_id] = [(item["sender"], item["message"]) for item in answer.json()]
        return found

    async def _talk(self, seat: Seat, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if seat.pending is not None:
                await self._send(seat, seat.pending)
            elif seat.done is not None and self.random.random() < 0.2:
                await self._use_again(seat, seat.done)
            else:
                await self._send(seat, self.begin(seat, keyed=self.random.random() < 0.5))

    def begin(self, seat: Seat, *, keyed: bool = False) -> Send:
        self._texts += 1
        text = f"message {self._texts}".ljust(self.random.choice((1, 200, 4000)), ".")
        key = f"key-{self._texts}" if keyed else None
        return self.ledger.begin(seat.chat_id, seat.me.name, text, key)

    async def _send(self, seat: Seat, send: Send) -> None:
        seat.pending = send if send.key else None
        answer = await self._post(seat, send.text, send.key)
        if answer is not None and answer.status_code == 201:
            self.ledger.acknowledge(send)
            seat.done, seat.pending = seat.pending, None
            assert answer.json() == {"sender": seat.me.name, "message": send.text}

    async def _use_again(self, seat: Seat, done: Send) -> None:
        """Reuse a key: with its own text, with another text, and with a text no message may
        have."""
        text, status = self.random.choice(
            [(done.text, 201), (f"not {done.text}", 400), ("x" * 4097, 400)]
        )
        # Only the first of the three could be stored, and it is already.
        send = None if status == 201 else self.ledger.begin(seat.chat_id, seat.me.name, text)
        answer = await self._post(seat, text, done.key)
        if answer is not None and answer.status_code != 503:
            assert answer.status_code == status
            if send is None:
                assert answer.headers["idempotency-replayed"] == "true"
            else:
                self.ledger.refuse(send)

    async def _post(self, seat: Seat, text: str, key: str | None) -> httpx.Response | None:
        """The answer; None if none came, and the message may or may not be stored."""
        headers = {"idempotency-key": key} if key else {}
        try:
            answer = await self.api.send(seat.me, seat.peer, text, headers=headers)
        except httpx.TransportError:
            return None
        self.statuses[answer.status_code] += 1
        async with self._answered:
            self._answered.notify_all()
        assert answer.status_code in {201, 400, 503}, answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json().keys() == {"error"}
        return answer
