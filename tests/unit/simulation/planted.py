"""Runs with one planted bug each."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from chatcore import (
    Actor,
    Chat,
    Cursor,
    Event,
    Following,
    Message,
    Messenger,
    NewMessage,
    Reset,
    Sent,
    Snapshot,
    StoreUnavailable,
    User,
)
from chatcore.chat_cache import ChatCache
from chatcore.events import Entry
from chatcore.gate import Gate
from chatcore_memory import MemoryStore
from tests.support.planted.people import RenamesInEveryRealm
from tests.unit.simulation.copies import Send
from tests.unit.simulation.device import Device
from tests.unit.simulation.parts import FaultyDoorbell
from tests.unit.simulation.run import NEVER, Plan


def following(kind: type[Following]) -> type[Messenger]:
    """A Messenger with a faulty way of following."""

    class FollowsWrongly(Messenger):
        def follow(self, user: User, *, after: Cursor | str | None = None) -> Following:
            right = super().follow(user, after=after)
            return kind(self._store, self._doorbell, user, right._cursor, self._poll_seconds)

    return FollowsWrongly


class FetchesBeforeItListens(Following):
    async def batch(self, seconds: float | None = None) -> Sequence[Event]:
        if events := await self._read():
            return events
        rung = asyncio.Event()
        leave = self._doorbell.listen(self._user.id, rung.set)
        try:
            async with asyncio.timeout(seconds):
                await rung.wait()
        except TimeoutError:
            return ()
        finally:
            leave()
        return await self._read()


class NeverLeaves(Following):
    async def batch(self, seconds: float | None = None) -> Sequence[Event]:
        self._doorbell.listen(self._user.id, lambda: None)
        return await super().batch(seconds)


class SwallowsResets(Following):
    async def _read(self) -> Sequence[Event]:
        return [event for event in await super()._read() if not isinstance(event, Reset)]


class KeepsTimeInCursors(MemoryStore):
    """Finds the entries after a cursor by their time, not by their number."""

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        entries = await super().events_after(after, limit=limit)
        if not entries:
            return entries
        log = self.contents.logs[after.user_id].entries
        since = next((at for at, entry in log if entry.cursor == after), 0)
        return [entry for at, entry in log if at > since][:limit]


class CarriesContent(FaultyDoorbell):
    """A doorbell whose rings carry their event."""

    content: Event | None = None

    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            log = self._world.logs[user_id]
            if log:
                self.carry(partial(self._arrive_with, user_id, log[-1].entry))

    def _arrive_with(self, user_id: int, content: Event) -> None:
        self.content = content
        self.arrive(user_id)


class TrustsRings(Following):
    """Reads the missed events, and takes later events from the rings."""

    caught_up = False

    async def batch(self, seconds: float | None = None) -> Sequence[Event]:
        doorbell = cast(CarriesContent, self._doorbell)
        arrived: deque[Event] = deque()
        rung = asyncio.Event()

        def wake() -> None:
            if doorbell.content:
                arrived.append(doorbell.content)
            rung.set()

        leave = doorbell.listen(self._user.id, wake)
        try:
            if not self.caught_up:
                if events := await self._read():
                    return events
                self.caught_up = True
            async with asyncio.timeout(seconds):
                while not arrived:
                    rung.clear()
                    await rung.wait()
        except TimeoutError:
            return ()
        finally:
            leave()
        return list(arrived)


class SyncsBeforeTheCursor(Messenger):
    async def sync(self, user: User) -> Snapshot:
        chats = await self.states(user, limit=100)
        return Snapshot(await self._store.end_of_log(user.id), chats)


class AcknowledgesEarly(Messenger):
    """Responds before the store has."""

    async def _append(
        self, sender: User, chat: Chat, text: str, key: str | None, actor: Actor
    ) -> Sent:
        seq = await self._store.last_seq(chat.id) + 1
        appending = super()._append(sender, chat, text, key, actor)
        task = asyncio.get_running_loop().create_task(appending)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.sleep(0)
        if task.done() and not isinstance(task.exception(), StoreUnavailable):
            return task.result()
        return Sent(Message(chat.id, seq, sender.id, text, 0), replayed=False)


class RetriesWithoutItsKey(Device):
    async def attempt(self, messenger: Messenger, send: Send, again: bool) -> Sent:
        if again:
            return Sent(await messenger.send(self.user, send.chat, send.text), replayed=False)
        return await super().attempt(messenger, send, again)


class MovesMarkersBack(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        if chat_id in self.contents.chats:
            self.contents.chats[chat_id].read.pop(user_id, None)
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)


class KeepsNames(Messenger):
    """Has a cache of chats that no rename empties."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._chat_cache = ChatCache()


class AsksAboutReplays(Gate):
    async def _replay_of(self, new: NewMessage) -> Sent | None:
        return None


class ForgetsTheSubmittedText(Gate):
    async def may_send(
        self, new: NewMessage, sender: User, chat: Chat, actor: Actor
    ) -> NewMessage | Sent:
        passed = await super().may_send(new, sender, chat, actor)
        return passed if isinstance(passed, Sent) else replace(passed, submitted=None)


def gated(kind: type[Gate]) -> type[Messenger]:
    """A Messenger with a faulty way of asking its policy."""

    class AsksWrongly(Messenger):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if self._gate is not None:
                self._gate = kind(self._gate._policy, self._gate._store, self._gate._seconds)

    return AsksWrongly


BUGS: dict[str, Plan] = {
    "fetch before subscribe": Plan(
        messenger=following(FetchesBeforeItListens), reliable_rings=True
    ),
    "listeners that stay": Plan(messenger=following(NeverLeaves)),
    "no polling": Plan(poll_seconds=NEVER),
    "cursor by time": Plan(store=KeepsTimeInCursors),
    "ring carries the payload": Plan(messenger=following(TrustsRings), doorbell=CarriesContent),
    "swallowed reset": Plan(messenger=following(SwallowsResets)),
    "cursor after the snapshot": Plan(messenger=SyncsBeforeTheCursor),
    "retry without its key": Plan(device=RetriesWithoutItsKey),
    "early acknowledgement": Plan(messenger=AcknowledgesEarly),
    "marker that moves back": Plan(store=MovesMarkersBack),
    "cached name": Plan(messenger=KeepsNames),
    "rename in every realm": Plan(store=RenamesInEveryRealm),
    "policy asked about replays": Plan(messenger=gated(AsksAboutReplays)),
    "retry compared with the stored text": Plan(messenger=gated(ForgetsTheSubmittedText)),
}
