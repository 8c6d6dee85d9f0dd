"""Drains an outbox into a chatcore store."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from chatcore import (
    Actor,
    Chat,
    Clock,
    HostKey,
    InvalidText,
    Messenger,
    PolicyUnavailable,
    Refused,
    Unavailable,
    User,
)
from chatcore.model import utc_now
from chatcore_sqlalchemy.outbox.host import in_transaction
from chatcore_sqlalchemy.outbox.table import Rows, Settled, WaitingRow

logger = logging.getLogger("chatcore")

MAX_BATCH = 128
MAX_OUTAGES = 8
"""After outages in this many chats, a drain takes the whole store for unavailable."""

MAX_CHATS = 1_000
MAX_PAUSE = 5.0
"""Short, for an outage may concern one chat, and the others must not wait long for new rows."""

Resolve = Callable[[str], Awaitable[User]]
"""Finds the user that a row names as its sender or peer. Raises UserNotFound, Unavailable."""

Pair = tuple[int, int]
"""The ids of a chat's two users, in ascending order."""

T = TypeVar("T")


class Drained(NamedTuple):
    """The outcome of `Outbox.drain`."""

    sent: int
    """Rows sent and deleted, among them those that an interrupted drain had sent already."""
    refused: int
    """Rows refused and marked."""
    waiting: int
    """Rows left because of an outage; 0 if there was none."""
    outage: Unavailable | None
    """The first outage."""


class _Draft(NamedTuple):
    """A row whose users are known."""

    row: WaitingRow
    sender: User
    peer: User


@dataclass
class _Progress:
    """How far one drain has come."""

    stalled: set[Pair] = field(default_factory=set)
    """The chats whose later rows must not overtake a row that met an outage."""
    outages: int = 0
    """The number of chats that met an outage of the store."""
    outage: Unavailable | None = None
    blind: bool = False
    """Whether users could not be found, so that nothing says which chats must wait."""

    def met(self, outage: Unavailable) -> None:
        self.outage = self.outage or outage

    def stall(self, pair: Pair, outage: Unavailable) -> None:
        self.met(outage)
        self.stalled.add(pair)
        # A policy fails for one chat, a store for all.
        self.outages += not isinstance(outage, PolicyUnavailable)

    @property
    def over(self) -> bool:
        return self.blind or self.outages >= MAX_OUTAGES


class Outbox:
    """Drains one outbox table of a host's database into a chatcore store.

    `engine` is the host's, asynchronous or not; a synchronous one is used on a thread. `resolve`
    finds users by the texts in `sender` and `peer`, by default with `Messenger.find_user`: user
    names, or handles in the realm of the Messenger.

    Any number of drains may run at once, in any number of processes: each row is still sent once,
    in order. `drain` raises StoreUnavailable if the host's database fails.
    """

    def __init__(
        self,
        engine: Engine | AsyncEngine,
        table: Table,
        messenger: Messenger,
        *,
        resolve: Resolve | None = None,
        clock: Clock = utc_now,
        batch: int = MAX_BATCH,
    ) -> None:
        if batch < 1:
            raise ValueError("batch must be 1 or more")
        self._engine = engine
        self._rows = Rows(table)
        self._messenger = messenger
        self._resolve = resolve or messenger.find_user
        self._clock = clock
        self._batch = batch
        # Ids alone: the names of users change.
        self._chats: dict[Pair, int] = {}
        self._woken = asyncio.Event()
        self.sent = 0
        """How many rows were sent and deleted so far."""
        self.refused = 0
        """How many times a row was refused so far."""

    async def drain(self) -> Drained:
        """Send every row that was committed before the call.

        A refused row is marked and passed over. A row that meets an outage stays, and so do all
        later rows of its chat, until the next call. May be cancelled at any moment.
        """
        sent = refused = 0
        progress = _Progress()
        # A row committed after this may belong behind one that this drain has already passed.
        first, last = await self._run(self._rows.bounds)
        while first is not None and not progress.over:
            rows = await self._page(first, last)
            if not rows:
                break
            settled = await self._send_page(rows, progress)
            await self._run(partial(self._rows.settle, settled, self._clock()))
            now_refused = sum(bool(each.code) for each in settled)
            sent, refused = sent + len(settled) - now_refused, refused + now_refused
            self.sent += len(settled) - now_refused
            self.refused += now_refused
            first = rows[-1].id + 1
        waiting = await self._run(partial(self._rows.count, last)) if progress.outage else 0
        return Drained(sent, refused, waiting, progress.outage)

    async def run(self, *, poll_seconds: float = 1.0) -> None:
        """Drain until cancelled: again `poll_seconds` after the table was found empty, at once
        after `wake`, and up to 5 seconds after an outage. Logs refusals and outages."""
        failures, said = 0, ""
        while True:
            self._woken.clear()
            busy = False
            try:
                drained = await self.drain()
            except Unavailable as error:
                outage: Unavailable | None = error
            else:
                outage = drained.outage
                busy = drained.sent + drained.refused > 0
            name = self._rows.table.fullname
            reason = "" if outage is None else str(outage) or outage.code
            if outage is not None and reason != said:
                # The service does not know what a host's policy raised; only the log can say it.
                cause = outage.__cause__ if isinstance(outage, PolicyUnavailable) else None
                logger.error("Outbox %s waits: %s", name, reason, exc_info=cause)
            elif outage is None and failures:
                logger.warning("Outbox %s is drained again", name)
            said = reason
            failures = failures + 1 if outage is not None else 0
            if busy and not failures:
                continue
            pause = poll_seconds
            if failures:
                pause = min(MAX_PAUSE, poll_seconds if busy else 2.0 ** min(failures - 1, 9))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def wake(self) -> None:
        """Let `run` look for rows at once, for a host that commits in the same event loop."""
        self._woken.set()

    async def _page(self, first: int, last: int) -> Sequence[WaitingRow]:
        """The next waiting rows, each with a key that is committed before any send."""
        while True:
            rows = await self._run(partial(self._rows.page, first, last, self._batch))
            without = [row.id for row in rows if row.key is None]
            if not without:
                return rows
            await self._run(partial(self._rows.give_keys, without))

    async def _send_page(self, rows: Sequence[WaitingRow], progress: _Progress) -> list[Settled]:
        """Send rows, their chats at the same time. Returns the rows that were sent or refused."""
        settled: list[Settled] = []
        lanes: dict[Pair, list[_Draft]] = {}
        users: dict[str, User | Refused] = {}
        for row in rows:
            try:
                _expect_text(row)
                sender = await self._user(row.sender, users)
                peer = await self._user(row.peer, users)
            except Refused as error:
                settled.append(self._refuse(row, error))
            except Unavailable as error:
                progress.met(error)
                progress.blind = True
                break
            else:
                pair = min(sender.id, peer.id), max(sender.id, peer.id)
                if pair not in progress.stalled:
                    lanes.setdefault(pair, []).append(_Draft(row, sender, peer))

        async def send_lane(pair: Pair, drafts: Sequence[_Draft]) -> None:
            for draft in drafts:
                try:
                    settled.append(await self._send(pair, draft))
                except Unavailable as error:
                    progress.stall(pair, error)
                    break

        async with asyncio.TaskGroup() as tasks:
            for pair, drafts in lanes.items():
                tasks.create_task(send_lane(pair, drafts))
        return settled

    async def _user(self, address: str, known: dict[str, User | Refused]) -> User:
        if address not in known:
            try:
                known[address] = await self._resolve(address)
            except Refused as error:
                known[address] = error
        found = known[address]
        if isinstance(found, Refused):
            raise found
        return found

    async def _send(self, pair: Pair, draft: _Draft) -> Settled:
        row, sender, peer = draft
        try:
            # First, so that an invalid key opens no chat.
            key = HostKey("outbox", row.key or "")
            chat_id = self._chats.get(pair)
            if chat_id is None:
                chat_id = (
                    await self._messenger.ensure_chat(sender, peer, actor=Actor.HOST)
                ).chat.id
                if len(self._chats) >= MAX_CHATS:
                    self._chats.clear()
                self._chats[pair] = chat_id
            first, second = sorted((sender, peer))
            chat = Chat(chat_id, (first, second))
            await self._messenger.send_once(sender, chat, row.text, key, actor=Actor.HOST)
        except Refused as error:
            return self._refuse(row, error)
        return Settled(row, "")

    def _refuse(self, row: WaitingRow, error: Refused) -> Settled:
        logger.warning(
            "Outbox %s: row %d refused: %s", self._rows.table.fullname, row.id, error.code
        )
        return Settled(row, error.code)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        return await in_transaction(self._engine, work)


def _expect_text(row: WaitingRow) -> None:
    """Raise InvalidText if sender, peer, text or key is something else, as on SQLite it may."""
    if not all(isinstance(value, str) for value in row[1:]):
        raise InvalidText("a row of an outbox has text for its sender, peer, text and key")
