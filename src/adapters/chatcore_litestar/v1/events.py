"""`GET /v1/events`: a user's event log, as a batch, by long poll, or as a stream."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from chatcore import Clock, Event, InvalidPage, InvalidToken, Unavailable, User
from chatcore.following import Following
from chatcore_litestar.auth import CachedSession, Sessions, session_id_of
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import TEXT, in_query, number, operation, with_problems
from chatcore_litestar.replies import CHUNK, SAFETY, Reply, encode
from chatcore_litestar.requests import UserRequest, read_number, read_query
from chatcore_litestar.streams import (
    DISCONNECTED,
    LONG_RUNNING,
    REPLACED,
    VOID,
    Listener,
    Streams,
    ending_on_disconnect,
)
from chatcore_litestar.v1.items import EventItem, event_item
from chatcore_litestar.v1.problems import PROBLEM_JSON, problem, refusal

MAX_WAIT = 30

TOO_MANY = Reply(
    429,
    encode(problem(429)),
    [(b"retry-after", b"1")],
    (b"content-type", PROBLEM_JSON.encode()),
)

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    *SAFETY,
    # Otherwise nginx delays events until its buffer is full.
    (b"x-accel-buffering", b"no"),
]
_HEARTBEAT = b'data: {"type":"heartbeat"}\n\n'

logger = logging.getLogger("chatcore")


class Batch(msgspec.Struct):
    events: list[EventItem]
    cursor: str
    """The `after` of the next request."""


class Start(msgspec.Struct, tag="start"):
    cursor: str


class End(msgspec.Struct, tag="end"):
    reason: str


def event_routes(context: Context) -> list[HTTPRouteHandler]:
    """A route that needs `authentication` on its router."""

    @get(
        "/events",
        summary="Get my events after a cursor, or wait for new ones",
        description="With `Accept: text/event-stream`, a stream of server-sent events, with the "
        "event in `data` and its cursor in `id`. Otherwise up to 100 events; if there are none "
        "yet, the answer waits up to `wait` seconds for the first. Without a cursor, the events "
        "begin now. After `reset`, load the current state with `GET /v1/sync`.",
        operation_class=operation(
            parameters=(
                in_query("after", "A cursor: only events after it.", TEXT),
                in_query("wait", "The maximum time to wait, in seconds.", number(0, MAX_WAIT, 0)),
                Parameter(
                    name="Last-Event-ID",
                    param_in="header",
                    description="The cursor of a stream; takes precedence over `after`.",
                    schema=TEXT,
                ),
            ),
        ),
        responses=with_problems(Batch, 200, 400, 429),
    )
    async def events(request: UserRequest) -> ASGIApp:
        query = read_query(request, ("after", "wait"))
        wait = read_number(query.get("wait", "0"))
        if wait > MAX_WAIT:
            raise InvalidPage(f"wait must be at most {MAX_WAIT} seconds")
        request.scope[LONG_RUNNING] = True  # type: ignore[literal-required]
        after = query.get("after")
        if _wants_stream(request):
            # Browsers omit an empty Last-Event-ID.
            after = _header(request, b"last-event-id").decode("latin-1") or after
            return await _stream(context, request, after)
        return await _poll(context, request, after, wait)

    return [events]


async def _stream(context: Context, request: UserRequest, after: str | None) -> ASGIApp:
    user = request.user
    following = context.messenger.follow(user, after=after)
    first = b"" if after is not None else _data(Start(str(await following.start())))
    # Before the head, so that a failing store is a 503.
    first += _frames(await following.batch(0), user)
    watch = SessionWatch(context.sessions, request.auth, context.clock)
    return EventStream(following, user, first, context.streams, watch, context.send_seconds)


async def _poll(context: Context, request: UserRequest, after: str | None, wait: int) -> ASGIApp:
    user = request.user
    following = context.messenger.follow(user, after=after)
    if wait == 0:
        return await _reply(following, await following.batch(0), user)
    watch = SessionWatch(context.sessions, request.auth, context.clock)
    with (
        context.streams.listener(user.id, watch.session_id) as listener,
        ending_on_disconnect(listener, request.receive),
    ):
        found = await listener.batch(following, min(wait, watch.seconds()))
    if listener.ended == REPLACED:
        return TOO_MANY
    if await watch.lost():
        if context.sessions.ambient:
            # No scheme of HTTP stands for a cookie or an address.
            return refusal(401)
        raise InvalidToken
    return await _reply(following, found, user)


class SessionWatch:
    """Re-checks a session that may expire or be revoked while its request is open."""

    __slots__ = ("_clock", "_found", "_sessions")

    def __init__(self, sessions: Sessions, found: CachedSession, clock: Clock) -> None:
        self._sessions = sessions
        self._found = found
        self._clock = clock

    @property
    def session_id(self) -> str | None:
        return session_id_of(self._found)

    async def lost(self) -> str | None:
        """Why the session is no longer valid; None while it is. Raises Unavailable."""
        credential, session, _ = self._found
        try:
            self._found = await self._sessions.find(credential)
        except InvalidToken:
            expires_at = session.expires_at
            return VOID if expires_at is None or self._clock() < expires_at else "expired"
        return None

    def seconds(self) -> float:
        """Seconds until the next check is due."""
        return max(self._sessions.seconds_left(self._found), 0)


class EventStream:
    """A stream of server-sent events.

    A client that accepts none of a 64 KiB chunk for `send_seconds` is disconnected.
    """

    __slots__ = ("_first", "_following", "_send_seconds", "_streams", "_user", "_watch")

    def __init__(
        self,
        following: Following,
        user: User,
        first: bytes,
        streams: Streams,
        watch: SessionWatch,
        send_seconds: float,
    ) -> None:
        self._following = following
        self._user = user
        self._first = first
        self._streams = streams
        self._watch = watch
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with (
            self._streams.listener(self._user.id, self._watch.session_id) as listener,
            ending_on_disconnect(listener, receive),
        ):
            headers = _STREAM_HEADERS.copy()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send_events(listener, send)

    async def _send_events(self, listener: Listener, send: Send) -> None:
        now = asyncio.get_running_loop().time
        over_at = now() + self._streams.lifetime()
        chunk, self._first = self._first, b""
        while True:
            try:
                if reason := await self._watch.lost():
                    listener.end(reason)
                if now() >= over_at:
                    listener.end("age")
                if listener.ended is not None:
                    break
                if not await self._send_chunks(send, chunk):
                    return
                seconds = min(
                    self._streams.heartbeat_seconds, self._watch.seconds(), over_at - now()
                )
                events = await listener.batch(self._following, max(seconds, 0))
            except Unavailable as error:
                # Close without an end frame; the reconnecting client gets the 503.
                logger.warning("a stream of events ended: %r", error)
                await self._send_chunks(send, b"", more=False)
                return
            chunk = _frames(events, self._user) or _HEARTBEAT
        if listener.ended != DISCONNECTED:
            await self._send_chunks(send, _data(End(listener.ended)), more=False)

    async def _send_chunks(self, send: Send, data: bytes, *, more: bool = True) -> bool:
        for start in range(0, len(data) or 1, CHUNK):
            chunk = data[start : start + CHUNK]
            more_body = more or start + CHUNK < len(data)
            # Let other requests run, even if neither the store nor the socket blocks.
            await asyncio.sleep(0)
            try:
                async with asyncio.timeout(self._send_seconds):
                    await send(
                        {"type": "http.response.body", "body": chunk, "more_body": more_body}
                    )
            except TimeoutError:
                return False
        return True


async def _reply(following: Following, events: Sequence[Event], user: User) -> Reply:
    items = [event_item(event, user) for event in events]
    return Reply(200, encode(Batch(items, str(await following.start()))))


def _frames(events: Sequence[Event], user: User) -> bytes:
    return b"".join(
        b"id: %b\n%b" % (str(event.cursor).encode(), _data(event_item(event, user)))
        for event in events
    )


def _data(item: msgspec.Struct) -> bytes:
    # Encoded JSON contains no line ends.
    return b"data: %b\n\n" % encode(item)


def _wants_stream(request: UserRequest) -> bool:
    """Whether Accept names the type of streams, which a client of batches has no reason to do."""
    for media_range in _header(request, b"accept").lower().split(b","):
        name, *parameters = (part.strip() for part in media_range.split(b";"))
        if name == b"text/event-stream":
            return b"q=0" not in parameters
    return False


def _header(request: UserRequest, wanted: bytes) -> bytes:
    return b", ".join(value for name, value in request.scope["headers"] if name == wanted)
