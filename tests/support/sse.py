"""Follows events over a socket, as a client of the service would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from chatcore import Cursor
from tests.support.api import Someone
from tests.support.listening import Frame

FRAME_SECONDS = 60  # The limit for every wait, far above the time that any step takes.


def head(by: Someone, query: str = "", version: str = "1.1") -> bytes:
    """The request for a stream, for raw sockets."""
    return (
        f"GET /v1/events{query} HTTP/{version}\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {by.token}\r\n\r\n"
    ).encode()


class Stream:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._pieces = response.aiter_text()
        self._text = ""

    async def frame(self) -> Frame | None:
        """Return the next event, or None after the last. Raises httpx.TransportError if the
        transfer did not end properly."""
        async with asyncio.timeout(FRAME_SECONDS):
            while "\n\n" not in self._text:
                piece = await anext(self._pieces, None)
                if piece is None:
                    assert self._text == ""
                    return None
                self._text += piece
        text, _, self._text = self._text.partition("\n\n")
        return Frame.parse(text)

    async def rest(self) -> list[Frame]:
        """Return all events until the end."""
        found = []
        while frame := await self.frame():
            found.append(frame)
        return found


@asynccontextmanager
async def stream(
    client: httpx.AsyncClient, by: Someone, cursor: str | None = None
) -> AsyncIterator[Stream]:
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {by.token}"}
    if cursor is not None:
        headers["last-event-id"] = cursor
    async with client.stream("GET", "/v1/events", headers=headers) as response:
        yield Stream(response)


@dataclass
class Follower:
    """A user's device, which reconnects with its cursor after any failure."""

    client: httpx.AsyncClient
    by: Someone
    cursor: str
    seen: list[Frame] = field(default_factory=list)
    connected: int = 0
    """The number of connections so far."""
    _noted: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with stream(self.client, self.by, self.cursor) as opened:
                    if opened.response.status_code == 200:
                        self.connected += 1
                        while frame := await opened.frame():
                            self._note(frame)
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)

    def _note(self, frame: Frame) -> None:
        if frame.id is None:
            assert frame.data["type"] in {"heartbeat", "end"}
            return
        self.seen.append(frame)
        self.cursor = frame.id
        self._noted.set()

    async def has_seen(self, count: int) -> None:
        """Wait until `count` events have arrived."""
        async with asyncio.timeout(FRAME_SECONDS):
            while len(self.seen) < count:
                self._noted.clear()
                await self._noted.wait()

    def numbers(self) -> list[int]:
        """The numbers of the log entries, in order of arrival."""
        cursors = (Cursor.parse(frame.id) for frame in self.seen if frame.id)
        return [cursor.n for cursor in cursors if cursor]

    def messages(self, chat_id: int) -> list[tuple[int, str, str]]:
        """The seq, sender and text of each message, in order of arrival."""
        return [
            (message["seq"], message["sender"], message["text"])
            for data in (frame.data for frame in self.seen)
            if data["type"] == "message" and data["chat_id"] == chat_id
            for message in [data["message"]]
        ]
