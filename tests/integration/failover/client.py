"""Clients of two services, and a record of all that they were answered."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from chatcore import Cursor
from tests.support.api import Api, Someone
from tests.support.sse import stream

RETRY_SECONDS = 0.1
SEND_SECONDS = 20
"""How long a client waits for one answer, which the service gives earlier."""


class NotAnswered(Exception):
    """A 503, or no answer at all: the client tries again."""


@dataclass(eq=False)
class Member:
    """One user of a chat, who sends at one service and listens at the other."""

    by: Someone
    chat_id: int
    sends_at: int
    listens_at: int


class Acknowledged(NamedTuple):
    service: int
    chat_id: int
    seq: int
    text: str
    began: float
    at: float


class PageSeen(NamedTuple):
    """The newest page of a chat, as one service answered it."""

    service: int
    began: float
    texts: Sequence[str]


async def get(api: Api, by: Someone, path: str) -> Any:
    """The answer of a request that changes nothing. Raises NotAnswered."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            answer = await api.call("GET", path, by)
    except (httpx.TransportError, TimeoutError):
        raise NotAnswered from None
    if answer.status_code == 503:
        raise NotAnswered
    assert answer.status_code == 200, (path, answer.status_code, answer.text)
    return answer.json()


async def history(api: Api, member: Member) -> dict[int, str]:
    """All messages of the member's chat, page by page. Raises NotAnswered."""
    shown: dict[int, str] = {}
    newer = True
    while newer:
        path = f"/v1/chats/{member.chat_id}/messages?limit=200&after={max(shown, default=0)}"
        page = await get(api, member.by, path)
        shown |= {message["seq"]: message["text"] for message in page["messages"]}
        newer = page["newer"] and page["messages"]
    return shown


@dataclass(eq=False)
class Device:
    """Follows a user's events as docs/api.md asks its readers to, and keeps what it shows."""

    api: Api
    member: Member
    cursor: Cursor | None = None
    shown: dict[int, str] = field(default_factory=dict)
    """The text of each number, in the member's chat."""
    resets: int = 0
    jumps: int = 0
    """Events that did not follow the one before, without a reset in between."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no client expects."""

    async def follow(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                if self.cursor is None:
                    await self.load()
                await self._stream()
            except (NotAnswered, httpx.TransportError, TimeoutError):
                pass
            except AssertionError as error:
                self.wrong.append(str(error)[:200])
            await asyncio.sleep(RETRY_SECONDS)

    async def load(self) -> None:
        """Load the present state: the cursor first, so that no event is missed."""
        state = await get(self.api, self.member.by, "/v1/sync")
        self.shown = await history(self.api, self.member)
        self.cursor = Cursor.parse(state["cursor"])

    async def _stream(self) -> None:
        async with stream(self.api.client, self.member.by, str(self.cursor)) as opened:
            if opened.response.status_code != 200:
                await opened.response.aread()
                assert opened.response.status_code == 503, opened.response.text
                raise NotAnswered
            while self.cursor is not None and (frame := await opened.frame()):
                self._take(frame.id, frame.data)

    def _take(self, cursor: str | None, event: Any) -> None:
        if event["type"] == "reset":
            self.resets += 1
            self.cursor = None
        elif cursor is not None and (place := Cursor.parse(cursor)):
            if self.cursor is not None and place.n != self.cursor.n + 1:
                self.jumps += 1
            self.cursor = place
            if event["type"] == "message":
                self.shown[event["message"]["seq"]] = event["message"]["text"]


@dataclass(eq=False)
class Reader:
    """Asks one service for newest pages and lists, over and over."""

    service: int
    api: Api
    members: Sequence[Member]
    pages: list[PageSeen] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that no client expects."""

    async def read(self) -> None:
        """Read until cancelled."""
        while True:
            for member in self.members:
                began = time.monotonic()
                try:
                    page = await self._newest(member)
                    await get(self.api, member.by, "/v1/chats")
                    texts = [message["text"] for message in page]
                    self.pages.append(PageSeen(self.service, began, texts))
                except NotAnswered:
                    pass
                except AssertionError as error:
                    self.wrong.append(str(error)[:200])
                await asyncio.sleep(RETRY_SECONDS)

    async def differences(self, kept: dict[int, dict[int, str]]) -> int:
        """How many messages this service's newest pages, histories and lists have that the
        database has not, or lack. Raises NotAnswered."""
        count = 0
        for member in self.members:
            stored = kept[member.chat_id]
            shown = await history(self.api, member)
            count += len(set(stored.items()) ^ set(shown.items()))
            newest = [message["text"] for message in await self._newest(member)]
            count += len(set(newest) ^ set(list(stored.values())[-50:]))
            (chat,) = (await get(self.api, member.by, "/v1/chats"))["chats"]
            last = [chat["last_message"]["text"]] if chat["last_message"] else []
            count += last != list(stored.values())[-1:]
        return count

    async def _newest(self, member: Member) -> Any:
        page = await get(self.api, member.by, f"/v1/chats/{member.chat_id}/messages?limit=50")
        return page["messages"]
