"""Sends, follows and reads at two services while their database fails over, and compares all
answers with what the database has in the end."""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Self

import httpx

from chatcore import UserName
from chatcore.model import to_microseconds
from chatcore_jwt import JwtTokens
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.failover.client import (
    RETRY_SECONDS,
    SEND_SECONDS,
    Acknowledged,
    Device,
    Member,
    NotAnswered,
    Reader,
)
from tests.support.api import Api, Someone
from tests.support.checker import Fate, Ledger, Stored, find_faults
from tests.support.postgres_server import PostgresServer

STORED = """
SELECT chat_id, seq, users.name, text FROM messages JOIN users ON users.id = sender_id
ORDER BY chat_id, seq
"""
NOW = to_microseconds(datetime.now(UTC))


@dataclass
class Findings:
    """What the witness found, after a run."""

    acknowledged: int
    unknown: int
    lost: int
    """Acknowledged, and not in the database."""
    doubled: int
    """Stored twice, or under another number than the acknowledged one."""
    reordered: int
    gaps: int
    given_again: int
    """Numbers that one service acknowledged for two texts, the first of which was lost."""
    torn: int
    """Sends that a service acknowledged on the old primary after it had written to the new one."""
    missed: int
    """Messages that a follower does not show, although it saw no error and no reset."""
    ghosts: int
    """Messages that a follower shows and the database has not."""
    jumps: int
    resets: int
    stale: int
    """Differences between the database and the pages, histories and lists of the services."""
    ghost_pages: int
    """Pages with a lost message, answered after their service had written to the new primary."""
    wrong: list[str]
    """Answers that no client expects, such as a 500."""
    pause: float
    """Seconds from the fault to the first send that each of the services stored on the new primary;
    infinite if one stored none."""


@dataclass
class Witness:
    services: Sequence[Api]
    members: list[Member]
    pause: float
    """Seconds between two messages of a sender, on average."""
    ledger: Ledger = field(default_factory=Ledger)
    acks: list[Acknowledged] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    """How often a send got each status; 0 for no answer."""
    wrong: list[str] = field(default_factory=list)
    fault_at: float = math.inf
    promoted_at: float = math.inf
    _random: Random = field(default_factory=lambda: Random(1))
    _stopped: bool = False
    _sending: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.devices = [Device(self.services[it.listens_at], it) for it in self.members]
        self.readers = [Reader(n, api, self.members) for n, api in enumerate(self.services)]

    @classmethod
    async def gather(
        cls, url: str, services: Sequence[Api], secret: str, senders: int, pause: float
    ) -> Self:
        """Make users with tokens and a chat for each two of them. The two send at different
        services, so that both number the messages of each chat."""
        tokens, members = JwtTokens(secret), []
        async with await SqlAlchemyStore.open(url) as store:
            for pair in range(senders // 2):
                names = [UserName(f"{word} {pair}") for word in ("ann", "bob")]
                users = [await store.add_user(name, "no password", NOW) for name in names]
                chat = await store.open_chat(users[0].id, users[1].id, NOW)
                for place, user in enumerate(users):
                    by = Someone(user.name, tokens.issue(user.id, datetime.now(UTC)))
                    members.append(Member(by, chat.id, place, 1 - place))
        return cls(services, members, pause)

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Inside the context, all follow and read, and send until `stop`."""
        await asyncio.gather(*(device.load() for device in self.devices))
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(each)
                for each in (
                    *(device.follow() for device in self.devices),
                    *(reader.read() for reader in self.readers),
                )
            ]
            self._sending = [tasks.create_task(self._talk(member)) for member in self.members]
            try:
                yield
            finally:
                for task in (*self._sending, *watching):
                    task.cancel()

    async def stop(self, limit: float) -> None:
        """Begin no more sends. Those under way have `limit` seconds to be acknowledged."""
        self._stopped = True
        _, late = await asyncio.wait(self._sending, timeout=limit)
        for task in late:
            task.cancel()
        await asyncio.wait(self._sending)

    async def sends(self, count: int, limit: float) -> None:
        """Return after that many more acknowledged sends, or after `limit` seconds."""
        enough = len(self.acks) + count

        async def enough_were_sent() -> bool:
            return len(self.acks) >= enough

        await until(enough_were_sent, limit)

    async def all_show(self, limit: float) -> None:
        """Return when every follower shows what was acknowledged before this call, or after `limit`
        seconds."""
        wanted = defaultdict[int, int](int)
        for ack in self.acks:
            wanted[ack.chat_id] = max(wanted[ack.chat_id], ack.seq)

        async def it_is_shown() -> bool:
            return all(wanted[it.member.chat_id] in {0, *it.shown} for it in self.devices)

        await until(it_is_shown, limit)

    async def has_moved(self, server: PostgresServer, database: str, limit: float) -> bool:
        """Wait until each service has stored a send, begun after the promotion, on this server."""
        waiting = set(range(len(self.services)))

        async def look() -> bool:
            for service in tuple(waiting):
                recent = [
                    ack.text
                    for ack in self.acks[-50:]
                    if ack.service == service and ack.began > self.promoted_at
                ]
                if recent:
                    query = f"SELECT count(*) FROM messages WHERE text = '{recent[-1]}'"  # noqa: S608
                    if await asyncio.to_thread(server.sql, query, database) != "0":
                        waiting.discard(service)
            return not waiting

        return await until(look, limit)

    async def judge(self, server: PostgresServer, database: str, limit: float) -> Findings:
        """Compare with what this server has, once all senders have stopped. Followers and services
        have `limit` seconds to show the same."""
        kept: dict[int, list[Stored]] = {}

        async def agree() -> bool:
            nonlocal kept
            kept = await asyncio.to_thread(self._stored, server, database)
            texts = {chat: _texts(stored) for chat, stored in kept.items()}
            for device in self.devices:
                if device.cursor is None or device.shown != texts[device.member.chat_id]:
                    return False
            return await self._stale(texts) == 0

        await until(agree, limit)
        texts = {chat: _texts(stored) for chat, stored in kept.items()}
        faults = Counter(fault.kind for fault in find_faults(self.ledger.sends, kept))
        stored = {text for chat in texts.values() for text in chat.values()}
        first = self._first_on_the_new_primary(stored)
        shown = [(device.shown, texts[device.member.chat_id]) for device in self.devices]
        return Findings(
            acknowledged=self.ledger.count(Fate.ACKNOWLEDGED),
            unknown=self.ledger.count(Fate.UNKNOWN),
            lost=faults["lost"],
            doubled=faults["doubled"] + faults["misnumbered"],
            reordered=faults["reordered"],
            gaps=faults["gap"] + faults["foreign"],
            given_again=self._given_again(),
            torn=sum(ack.text not in stored and ack.at > first[ack.service] for ack in self.acks),
            missed=sum(len(there.items() - here.items()) for here, there in shown),
            ghosts=sum(len(here.items() - there.items()) for here, there in shown),
            jumps=sum(device.jumps for device in self.devices),
            resets=sum(device.resets for device in self.devices),
            stale=await self._stale(texts),
            ghost_pages=sum(
                page.began > first[page.service] and not stored.issuperset(page.texts)
                for reader in self.readers
                for page in reader.pages
            ),
            wrong=[
                *self.wrong,
                *(line for device in self.devices for line in device.wrong),
                *(line for reader in self.readers for line in reader.wrong),
            ],
            pause=max(first.values()) - self.fault_at,
        )

    def _first_on_the_new_primary(self, stored: set[str]) -> dict[int, float]:
        first = dict.fromkeys(range(len(self.services)), math.inf)
        for ack in self.acks:
            if ack.began > self.promoted_at and ack.text in stored:
                first[ack.service] = min(first[ack.service], ack.at)
        return first

    def _given_again(self) -> int:
        texts = defaultdict[tuple[int, int, int], set[str]](set)
        for ack in self.acks:
            texts[ack.service, ack.chat_id, ack.seq].add(ack.text)
        return sum(len(of_number) > 1 for of_number in texts.values())

    async def _stale(self, texts: dict[int, dict[int, str]]) -> int:
        """How much the answers of the services differ; all of it for one that does not answer."""
        count = 0
        for reader in self.readers:
            try:
                count += await reader.differences(texts)
            except NotAnswered:
                count += sum(map(len, texts.values()))
        return count

    def _stored(self, server: PostgresServer, database: str) -> dict[int, list[Stored]]:
        kept: dict[int, list[Stored]] = {member.chat_id: [] for member in self.members}
        for line in server.sql(STORED, database).splitlines():
            chat_id, seq, sender, text = line.split("|")
            kept[int(chat_id)].append(Stored(int(seq), sender, text))
        return kept

    async def _talk(self, member: Member) -> None:
        number = 0
        while not self._stopped:
            number += 1
            await self._send(member, f"{member.by.name} says {number}")
            await asyncio.sleep(2 * self.pause * self._random.random())

    async def _send(self, member: Member, text: str) -> None:
        send = self.ledger.begin(member.chat_id, member.by.name, text, text)
        began = time.monotonic()
        seq = None
        while seq is None:
            try:
                seq = await self._post(member, text)
            except NotAnswered:
                await asyncio.sleep(RETRY_SECONDS)
        self.ledger.acknowledge(send, seq)
        at = time.monotonic()
        self.acks.append(Acknowledged(member.sends_at, member.chat_id, seq, text, began, at))

    async def _post(self, member: Member, text: str) -> int:
        path = f"/v1/chats/{member.chat_id}/messages"
        body = {"text": text, "idempotency_key": text.replace(" ", "-")}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                answer = await self.services[member.sends_at].call(
                    "POST", path, member.by, json=body
                )
        except (httpx.TransportError, TimeoutError):
            self.statuses[0] += 1
            raise NotAnswered from None
        self.statuses[answer.status_code] += 1
        if answer.status_code != 201:
            if answer.status_code != 503:
                self.wrong.append(f"{answer.status_code} {answer.text}"[:200])
            raise NotAnswered
        seq: int = answer.json()["seq"]
        return seq


async def until(condition: Callable[[], Awaitable[bool]], limit: float) -> bool:
    """Wait until it is true, at most `limit` seconds. Returns whether it is."""
    deadline = time.monotonic() + limit
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


def _texts(stored: Sequence[Stored]) -> dict[int, str]:
    return {message.seq: message.text for message in stored}
