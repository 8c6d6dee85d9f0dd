"""A void token ends its streams and exports: at once on this node, within a minute on others."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatcore import Accounts, ChatState, Cursor, User
from chatcore.events import Entry
from chatcore.ports import Credentials
from chatcore_memory import MemoryStore
from tests.support.api import PASSWORD, Api, api_of
from tests.support.apps import in_another_process
from tests.support.listening import Frame, Request, Scene, scene
from tests.unit.chatcore_litestar.test_events import waiting
from tests.unit.chatcore_litestar.test_sessions import void

pytestmark = pytest.mark.virtual_time

VOID = Frame({"type": "end", "reason": "void"})
MINUTE = timedelta(seconds=60)


class WatchedStore(MemoryStore):
    """Counts the reads of credentials, and runs `interruption` during the next read of a log."""

    questions = 0
    interruption: Callable[[], Awaitable[object]] | None = None

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        self.questions += 1
        return await super().credentials_by_id(user_id)

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        await self._interrupted()
        return await super().events_after(after, limit=limit)

    async def chat_states(self, user_id: int, **page: Any) -> Sequence[ChatState]:
        await self._interrupted()
        return await super().chat_states(user_id, **page)

    async def _interrupted(self) -> None:
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            await interruption()


@dataclass
class Nodes:
    """Two nodes on one store: Bob listens on the first, and voids his tokens there or on the
    second."""

    here: Scene
    api: Api
    elsewhere: Api
    store: WatchedStore
    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    seconds: float = 0.0

    def wait(self, duration: timedelta) -> None:
        self.now += duration
        self.seconds += duration.total_seconds()


@asynccontextmanager
async def nodes(**options: float) -> AsyncIterator[Nodes]:
    def clock() -> datetime:
        return made.now if made else Nodes.now

    def seconds() -> float:
        return made.seconds if made else 0.0

    made: Nodes | None = None
    store = WatchedStore()
    async with (
        scene(store, clock=clock, seconds=seconds, **options) as here,
        scene(in_another_process(store), clock=clock, seconds=seconds) as there,
        api_of(here.app) as api,
        api_of(there.app) as elsewhere,
    ):
        made = Nodes(here, api, elsewhere, store)
        yield made


@pytest.mark.parametrize("how", ["password", "everywhere", "erased"])
async def test_streams_and_polls_on_the_same_node_end_at_once(how: str) -> None:
    async with nodes() as room, room.here.stream() as stream, room.here.stream() as other:
        poll = room.here.poll("?wait=30")
        anns = room.here.stream(by=room.here.ann)
        for opened in (stream, other, anns):
            assert (await opened.frame()).data["type"] == "start"
        await waiting(room.here, 4)
        await void(room.api, room.here.bob, how)
        for opened in (stream, other):
            assert await opened.frame() == VOID
            await opened.ended()
        assert (await poll.answer())["code"] == "unauthorized"
        assert (poll.status, poll.headers[b"www-authenticate"]) == (
            401,
            b'Bearer error="invalid_token"',
        )
        for late in (room.here.stream(), room.here.poll("?wait=30"), room.here.poll()):
            assert (await late.head()).status == 401
        # Streams of other users stay open.
        assert room.here.streams.under_way == 1
        anns.leave()
        await anns.task


IN_PROCESS: dict[str, Callable[[Accounts, User], Awaitable[object]]] = {
    "change_password": lambda it, user: it.change_password(user, PASSWORD, "another password"),
    "reset_password": lambda it, user: it.reset_password(user.name, "another password"),
    "log_out_everywhere": lambda it, user: it.log_out_everywhere(user),
    "erase": lambda it, user: it.erase(user, PASSWORD),
}


@pytest.mark.parametrize("change", IN_PROCESS.values(), ids=IN_PROCESS.keys())
async def test_a_change_in_process_ends_sessions_and_streams_at_once(
    change: Callable[[Accounts, User], Awaitable[object]],
) -> None:
    async with scene() as here, here.stream() as stream, api_of(here.app) as api:
        anns = here.stream(by=here.ann)
        for opened in (stream, anns):
            await opened.frame()
        path = f"/v1/chats/{here.chat.id}"
        assert (await api.call("GET", path, here.bob)).status_code == 200
        await change(here.accounts, here.users["bob"])
        assert await stream.frame() == VOID
        await stream.ended()
        assert (await api.call("GET", path, here.bob)).status_code == 401
        # Other users' streams stay open.
        assert here.streams.under_way == 1
        anns.leave()
        await anns.task


@pytest.mark.parametrize("how", ["password", "everywhere", "erased"])
async def test_streams_and_polls_on_other_nodes_end_within_a_minute(how: str) -> None:
    async with nodes(heartbeat_seconds=0.05) as room, room.here.stream() as stream:
        poll = room.here.poll("?wait=30")
        await stream.frame()
        await void(room.elsewhere, room.here.bob, how)
        # The token was checked a moment ago. An erased user has no log either.
        going_on = {"heartbeat", "reset"} if how == "erased" else {"heartbeat"}
        for _ in "123":
            assert (await stream.frame()).data["type"] in going_on
        room.wait(MINUTE)
        assert await stream.event() == VOID
        await stream.ended()
        if how != "erased":
            await room.here.send("to nobody's surprise")
            assert (await poll.answer())["code"] == "unauthorized"
        poll.leave()
        await poll.task
        assert (await room.here.stream().head()).status == 401


async def test_no_event_is_sent_after_that_minute() -> None:
    async with nodes() as room, room.here.stream() as stream:
        await stream.frame()
        await void(room.elsewhere, room.here.bob, "everywhere")
        await room.here.send("within it")
        assert (await stream.frame()).data["message"]["text"] == "within it"
        room.wait(MINUTE)
        await room.here.send("after it")
        assert await stream.frame() == VOID
        await stream.ended()


async def test_setting_the_clock_back_does_not_prolong_a_void_token() -> None:
    async with nodes(heartbeat_seconds=0.05) as room, room.here.stream() as stream:
        await stream.frame()
        await void(room.elsewhere, room.here.bob, "everywhere")
        room.now -= timedelta(hours=1)
        room.seconds += 60
        assert await stream.event() == VOID
        await stream.ended()
        assert (await room.here.poll().head()).status == 401


async def test_open_stream_checks_its_token_once_a_minute() -> None:
    async with nodes(heartbeat_seconds=0.01) as room, room.here.stream() as stream:
        await stream.frame()
        for _ in range(3):
            room.store.questions = 0
            room.wait(MINUTE)
            for _ in range(10):
                await stream.frame()
            assert room.store.questions == 1


async def test_stream_whose_token_is_voided_while_it_opens_ends() -> None:
    async with nodes() as room:
        room.store.interruption = lambda: void(room.api, room.here.bob, "everywhere")
        async with room.here.stream() as stream:
            assert await stream.frame() == VOID
            await stream.ended()


async def test_export_whose_token_is_voided_is_cut_off() -> None:
    async with nodes() as room:
        await room.here.send("hello")
        whole = Request(room.here.app, room.here.bob, "/v1/me/export")
        await whole.task
        assert types(whole) == ["user", "chat", "message", "end"]
        room.store.interruption = lambda: void(room.api, room.here.bob, "everywhere")
        cut = Request(room.here.app, room.here.bob, "/v1/me/export")
        await cut.task
        # The store was read for what follows the account in the export.
        assert not {"message", "end"} & set(types(cut))


def types(request: Request) -> list[str]:
    """The types of the lines of an export."""
    return [json.loads(line)["type"] for line in b"".join(request.chunks).splitlines()]
