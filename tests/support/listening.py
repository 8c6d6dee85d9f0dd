"""Streams and polls of events in process, called as an ASGI server would."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from litestar import Litestar

from chatcore import Accounts, Chat, Clock, Messenger, User
from chatcore.doorbell import LocalDoorbell
from chatcore.model import Seconds, elapsed, utc_now
from chatcore_litestar import Streams, create_app
from chatcore_memory import MemoryStore
from tests.support.api import Someone, api_of
from tests.support.apps import Store, core

SECONDS = 60  # The limit for every wait, far above the time that any step takes.


@dataclass(frozen=True)
class Frame:
    """A frame of an event stream."""

    data: Any
    id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        fields: dict[str, str] = {}
        for line in text.split("\n"):
            name, colon, value = line.partition(": ")
            assert colon, f"not a field: {line!r}"
            assert name not in fields
            fields[name] = value
        return cls(json.loads(fields.pop("data")), fields.pop("id", None))


class Request:
    """A request in flight. `async with` ends it by disconnecting, as a client does."""

    def __init__(self, app: Litestar, by: Someone | None, path: str, **headers: str) -> None:
        path, _, query = path.partition("?")
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.whole = False
        self.reading = asyncio.Event()
        """While cleared, the client reads nothing."""
        self.reading.set()
        self._text = ""
        self._moved = asyncio.Event()
        self._left = asyncio.Event()
        pairs = ({"authorization": f"Bearer {by.token}"} if by else {}) | headers
        self._scope: Any = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode("latin-1"))
                for name, value in pairs.items()
            ],
        }
        self.task = asyncio.create_task(
            app(self._scope, self._receive, self._send)  # type: ignore[arg-type]
        )
        self.task.add_done_callback(lambda _: self._moved.set())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        self.reading.set()
        async with asyncio.timeout(SECONDS):
            await asyncio.wait([self.task])
        self.task.result()

    def leave(self) -> None:
        self._left.set()

    async def head(self) -> Self:
        await self._until(lambda: self.status != 0)
        return self

    async def answer(self) -> Any:
        """Return the JSON of a response that is not a stream."""
        await self._until(lambda: self.whole)
        return json.loads(b"".join(self.chunks))

    async def frame(self) -> Frame:
        """Return the next frame."""
        await self._until(lambda: "\n\n" in self._text)
        text, _, self._text = self._text.partition("\n\n")
        return Frame.parse(text)

    async def event(self) -> Frame:
        """Return the next frame that is not a heartbeat."""
        while (frame := await self.frame()).data == {"type": "heartbeat"}:
            pass
        return frame

    async def ended(self) -> None:
        """Check that the response is complete and fully read, and that the application has
        returned."""
        await self._until(self.task.done)
        self.task.result()
        assert self.whole
        assert not self._text

    async def closed(self) -> None:
        """Wait for the end of the response, and skip what was sent before."""
        await self._until(lambda: self.whole)

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                assert not self.task.done(), (self.status, self.chunks)
                self._moved.clear()
                await self._moved.wait()

    async def _receive(self) -> Any:
        if "asked" not in self._scope:
            self._scope["asked"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        elif not self._left.is_set():
            self.chunks.append(message["body"])
            self._text += message["body"].decode()
            self.whole = not message["more_body"]
        self._moved.set()


class CountingDoorbell(LocalDoorbell):
    """Counts its listeners."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners = 0

    def listen(self, user_id: int, wake: Any) -> Any:
        leave = super().listen(user_id, wake)
        self.listeners += 1

        def leave_counted() -> None:
            self.listeners -= 1
            leave()

        return leave_counted


@dataclass
class Scene:
    """A service with Ann and Bob and their chat, the only event in either log."""

    app: Litestar
    accounts: Accounts
    messenger: Messenger
    doorbell: CountingDoorbell
    streams: Streams
    ann: Someone
    bob: Someone
    users: dict[str, User]
    chat: Chat

    async def send(self, *texts: str) -> None:
        """Send messages from Ann to Bob."""
        for text in texts:
            await self.messenger.send(self.users["ann"], self.chat, text)

    def stream(self, query: str = "", by: Someone | None = None, **headers: str) -> Request:
        """Start a stream for Bob, or for `by`."""
        headers = {"accept": "text/event-stream"} | headers
        return Request(self.app, by or self.bob, f"/v1/events{query}", **headers)

    def poll(self, query: str = "", by: Someone | None = None, **headers: str) -> Request:
        return Request(self.app, by or self.bob, f"/v1/events{query}", **headers)


@asynccontextmanager
async def scene(
    store: Store | None = None,
    *,
    clock: Clock = utc_now,
    seconds: Seconds = elapsed,
    poll_seconds: float = 5,
    send_seconds: float = 30,
    **streams: Any,
) -> AsyncIterator[Scene]:
    store = store or MemoryStore()
    doorbell = CountingDoorbell()
    made = Streams(**streams)
    async with core(store, clock) as (accounts, _):
        messenger = Messenger(store, doorbell=doorbell, clock=clock, poll_seconds=poll_seconds)
        app = create_app(
            accounts,
            messenger,
            clock=clock,
            seconds=seconds,
            send_seconds=send_seconds,
            streams=made,
        )
        async with api_of(app) as api:
            ann, bob = await api.chat()
        users = {
            word: await messenger.find_user(someone.name)
            for word, someone in (("ann", ann), ("bob", bob))
        }
        chat = await messenger.chat_with(users["ann"], bob.name)
        yield Scene(app, accounts, messenger, doorbell, made, ann, bob, users, chat)
