"""A web page or a phone: its data, how it follows, and the promises it relies on."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from chatcore import (
    ChatOpened,
    ChatState,
    Cursor,
    Event,
    Message,
    MessageSent,
    Messenger,
    Refused,
    Reset,
    Sent,
    Unavailable,
    User,
)
from chatcore.events import Entry
from tests.unit.simulation.asking import iterate, iterate_with_timeouts, poll
from tests.unit.simulation.copies import Copy, Send
from tests.unit.simulation.naming import same
from tests.unit.simulation.parts import Lost, Node
from tests.unit.simulation.world import World, describe

T = TypeVar("T")


class Device:
    """One client of a user. `cursor`, `chats` and `outbox` outlive its crashes."""

    def __init__(
        self, world: World, nodes: Sequence[Node], user: User, name: str, within: float
    ) -> None:
        self.world = world
        self.user = user
        self.name = name
        self.outbox: deque[Send] = deque()
        self.cursor: Cursor | None = None
        self.chats: dict[int, Copy] = {}
        self.stale = True
        """Whether it must reload its whole state."""
        self.slow = 0.0
        """Seconds to process an event."""
        self._nodes = nodes
        self._within = within
        """The longest wait for an event, in seconds."""
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._stream: asyncio.Task[None] | None = None
        self._delivering = False
        self._on = False

    # Life cycle.

    def start(self) -> None:
        if self._on:
            return
        self._on = True
        self.work(self._live())
        self._deliver_soon()

    def stop(self) -> None:
        self._on = False
        self.disconnect()
        for task in list(self._tasks):
            task.cancel()
        self._tasks.clear()
        self._delivering = False

    def forget(self) -> None:
        """Lose all data, including the outbox."""
        self.cursor = None
        self.chats = {}
        self.stale = True
        self.outbox.clear()

    def disconnect(self) -> None:
        if self._stream:
            self._stream.cancel()

    def work(self, what: Coroutine[Any, Any, None]) -> None:
        task = self.world.start(what)
        self._tasks[task] = None
        task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def request(self, work: Callable[[Messenger], Coroutine[Any, Any, T]]) -> T:
        """Return the response of some node. Raises Lost, and the errors of the Messenger."""
        world = self.world
        task = world.rng.choice(self._nodes).spawn(work)
        patience = world.rng.uniform(0.2, 3) if world.faulty else 60
        try:
            async with asyncio.timeout(patience):
                await _end_of(task)
        except TimeoutError:
            self._abandon(task)
            raise Lost from None
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if task.cancelled() or world.chance(0.05):
            raise Lost
        return task.result()

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        # The service may notice the disconnection at once, or never.
        self.world.count("requests abandoned")
        if self.world.rng.random() < 0.5:
            task.cancel()

    async def _pause(self) -> None:
        await asyncio.sleep(self.world.rng.uniform(0, 0.5))

    # Following.

    async def _live(self) -> None:
        while True:
            try:
                if self.stale:
                    await self._begin()
                await self._follow()
            except (Lost, Unavailable):
                await self._pause()

    async def _begin(self) -> None:
        if self.cursor is None and self.world.rng.random() < 0.3:
            # A stream that starts now, and then a sync.
            start = await self.request(lambda messenger: messenger.follow(self.user).start())
            await self.look()
            self.cursor = start
        else:
            self.cursor = await self.look()

    async def look(self) -> Cursor:
        """Load the current state: later changes follow after its cursor."""
        world = self.world
        held = {key: (it.read, it.peer_read, len(it.messages)) for key, it in self.chats.items()}
        after, began = self.cursor, world.loop.time()
        snapshot = await self.request(lambda messenger: messenger.sync(self.user))
        world.note(self.name, "sync", snapshot.cursor.n)
        world.check(after is None or after.n <= snapshot.cursor.n, "a sync went back")
        for state in snapshot.chats:
            kept = world.names.are_current(state.chat, began)
            world.check(kept, self.name, "saw a former name in a sync")
            self._check_state(state, held.pop(state.chat.id, (0, 0, 0)))
            copy = self.chats.setdefault(state.chat.id, Copy(state.chat))
            last = state.last_message.seq if state.last_message else 0
            while len(copy.messages) < last:
                await self._fetch(copy)
            copy.read = max(copy.read, state.read_seq)
            copy.peer_read = max(copy.peer_read, state.peer_read_seq)
        world.check(not held, "a sync has fewer chats than before")
        self.stale = False
        return snapshot.cursor

    def _check_state(self, state: ChatState, held: tuple[int, int, int]) -> None:
        last = state.last_message.seq if state.last_message else 0
        found = (state.read_seq, state.peer_read_seq, last)
        what = f"in {self.name}'s sync, chat {state.chat.id}: {found} after {held}"
        self.world.check(all(map(int.__ge__, found, held)), "something went back", what)
        unread = self.world.messages.get(state.chat.id, [])[state.read_seq : last]
        count = sum(message.sender_id != self.user.id for message in unread)
        self.world.check(state.unread == count, "unread is", state.unread, "not", count, what)

    async def _fetch(self, copy: Copy) -> None:
        after, limit = len(copy.messages), self.world.rng.randint(1, 20)
        page = await self.request(
            lambda messenger: messenger.page(self.user, copy.chat, after=after, limit=limit)
        )
        self.world.check(bool(page.messages), self.name, "got an empty page after", after)
        for message in page.messages:
            self._keep(copy, message)

    def _keep(self, copy: Copy, message: Message) -> None:
        held = len(copy.messages)
        self.world.check(message.seq <= held + 1, self.name, "misses a message before", message.seq)
        if message.seq == held + 1:
            copy.messages.append(message)
        else:
            same = copy.messages[message.seq - 1] == message
            self.world.check(same, self.name, "saw message", message.seq, "change")

    async def _follow(self) -> None:
        self._stream = self.world.rng.choice(self._nodes).spawn(self._receive_all)
        try:
            await _end_of(self._stream)
        finally:
            self._stream.cancel()
        if not self._stream.cancelled():
            self._stream.result()
        raise Lost

    async def _receive_all(self, messenger: Messenger) -> None:
        world = self.world
        after: Cursor | str | None = self.cursor
        if void := world.chance(0.02):
            stranger = Cursor(self.cursor.log if self.cursor else "x", self.user.id + 1, 0)
            elsewhere = stranger._replace(log="elsewhere", user_id=self.user.id)
            after = world.rng.choice(("nowhere", stranger, str(stranger), elsewhere))
        elif world.rng.random() < 0.5:
            after = str(after)
        following = messenger.follow(self.user, after=after)
        ask = world.rng.choice((iterate, iterate_with_timeouts, poll))
        world.note(self.name, "follows after", self.cursor and self.cursor.n, ask.__name__)
        while True:
            began = world.loop.time()
            try:
                events = await ask(world, following)
            except Unavailable:
                if world.rng.random() < 0.5:
                    raise
                world.count("followings asked again after a failure")
                continue
            came = world.loop.time()
            for event in events:
                self._receive(event, began, came, void)
                if self.stale:
                    if void or world.rng.random() < 0.5:
                        return
                    await self.look()
                if self.slow and world.faulty:
                    await asyncio.sleep(self.slow)

    def _receive(self, event: Event, began: float, came: float, void: bool) -> None:
        world, cursor = self.world, self.cursor
        assert cursor is not None
        world.note(self.name, "receives", describe(event))
        if isinstance(event, Reset):
            world.count("resets")
            world.check(void or not world.can_tell(cursor), "a reset of", self.name, "for nothing")
            self.stale = True
        else:
            n = event.cursor.n
            world.check(not void, "a void cursor of", self.name, "was followed")
            world.check(n == cursor.n + 1, self.name, "got event", n, "after", cursor.n)
            at, entry = world.logs[self.user.id][n - 1]
            world.check(same(event, entry), self.name, "got another event than was logged:", n)
            late = came - max(at, began)
            world.check(late <= self._within, self.name, "got event", n, "late by", late)
            self._apply(event)
        self.cursor = event.cursor

    def _apply(self, event: Entry) -> None:
        if isinstance(event, ChatOpened):
            self.chats.setdefault(event.chat.id, Copy(event.chat))
            return
        known = event.chat.id in self.chats
        self.world.check(known, self.name, "got no event for chat", event.chat.id)
        if isinstance(event, MessageSent):
            self._keep(self.chats[event.chat.id], event.message)
            return
        copy = self.chats[event.chat.id]
        if event.reader.id == self.user.id:
            copy.read = max(copy.read, event.seq)
        else:
            copy.peer_read = max(copy.peer_read, event.seq)

    # Sending and reading.

    def send(self, send: Send) -> None:
        self.outbox.append(send)
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self._on and not self._delivering:
            self._delivering = True
            self.work(self._deliver())

    async def _deliver(self) -> None:
        while self.outbox:
            send = self.outbox[0]
            again = send.tried
            if again and send.key is None:
                self.world.count("sends given up")
                self.outbox.popleft()
                continue
            if not again:
                send.above = self.world.acknowledged[send.chat.id]
            send.tried = True
            try:
                sent = await self.request(partial(self.attempt, send=send, again=again))
            except Refused as refused:
                self.world.note(self.name, "refused", repr(send.text), refused.code)
                as_due = refused.code == send.refusal
                self.world.check(as_due, repr(send.text), "was refused:", refused.code)
                self.world.count(f"refused: {refused.code}")
                send.refused = True
            except (Lost, Unavailable):
                await self._pause()
                continue
            else:
                self._acknowledge(send, sent)
            self.outbox.popleft()
        self._delivering = False

    async def attempt(self, messenger: Messenger, send: Send, again: bool) -> Sent:
        began = self.world.loop.time()
        attempts = self.world.attempts.setdefault(send.text, [])
        attempts.append(began)
        try:
            return await self._send(messenger, send)
        finally:
            attempts.remove(began)

    async def _send(self, messenger: Messenger, send: Send) -> Sent:
        if send.key is None:
            return Sent(await messenger.send(self.user, send.chat, send.text), replayed=False)
        return await messenger.send_once(self.user, send.chat, send.text, send.key)

    def _acknowledge(self, send: Send, sent: Sent) -> None:
        world, message = self.world, sent.message
        world.note(self.name, "acknowledged", repr(send.text), message.seq, sent.replayed)
        world.count("replays" if sent.replayed else "acknowledgements")
        world.check(not send.refusal, repr(send.text), "was not refused")
        world.check(message.text == send.stored, repr(send.text), "was stored as", message.text)
        if send.stored != send.text:
            world.count("rewritten messages replayed" if sent.replayed else "messages rewritten")
        world.check(message.seq > send.above, send.text, "came before one acknowledged earlier")
        send.message = message
        newest = self.world.acknowledged
        newest[send.chat.id] = max(newest[send.chat.id], message.seq)

    async def mark(self, copy: Copy, seq: int) -> None:
        """Move the read marker to `seq`, unless a fault happens."""
        key = self.user.id, copy.chat.id
        floor = min(seq, len(copy.messages))
        if len(self._nodes) == 1:
            # Each device of a user sends the furthest marker that it knows.
            floor = max(floor, self.world.marked.get(key, 0))
        try:
            marker = await self.request(
                lambda messenger: messenger.mark_read(self.user, copy.chat, seq)
            )
        except (Lost, Unavailable):
            return
        self.world.note(self.name, "marked", copy.chat.id, marker)
        self.world.count("markers acknowledged")
        self.world.check(marker >= floor, "a marker of", self.name, "is", marker, "not", floor)
        self.world.marked[key] = max(self.world.marked.get(key, 0), marker)
        copy.read = max(copy.read, marker)

    async def rename(self, names: dict[str, str]) -> None:
        """Rename users, by handle, unless a fault happens."""
        try:
            if len(names) > 1:
                await self.request(lambda messenger: messenger.users(names))
            else:
                [(handle, name)] = names.items()
                await self.request(lambda messenger: messenger.user(handle, name=name))
        except (Lost, Unavailable):
            return
        self.world.count("renames acknowledged")
        for name in names.values():
            self.world.names.acknowledge(name, self.world.loop.time())

    async def look_up(self, copy: Copy) -> None:
        """Find a chat, which may be cached, unless a fault happens."""
        began = self.world.loop.time()
        try:
            chat = await self.request(lambda messenger: messenger.chat(self.user, copy.chat.id))
        except (Lost, Unavailable):
            return
        kept = self.world.names.are_current(chat, began)
        self.world.check(kept, self.name, "found a former name in chat", chat.id)

    async def open(self, peer: User) -> None:
        """Open a chat, unless a fault happens."""
        try:
            opened = await self.request(lambda messenger: messenger.ensure_chat(self.user, peer))
        except (Lost, Unavailable):
            return
        self.world.note(self.name, "opened", opened.chat.id, opened.created)


async def _end_of(task: asyncio.Task[Any]) -> None:
    """Wait for a task. Cancelling the wait does not cancel the task."""
    ended = asyncio.Event()
    task.add_done_callback(lambda _: ended.set())
    await ended.wait()
