"""`GET /v1/events`: what happens to a user, as a batch, by long poll, or as a stream."""

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
from chatcore_litestar.auth import Sessions, Trusted
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import TEXT, in_query, number, operation, with_problems
from chatcore_litestar.replies import CHUNK, SAFETY, Reply, encode
from chatcore_litestar.requests import UserRequest, read_number, read_query
from chatcore_litestar.streams import (
    GONE,
    LONG_RUNNING,
    REPLACED,
    VOID,
    Listener,
    Streams,
    ending_when_gone,
)
from chatcore_litestar.v1.items import EventItem, event_item
from chatcore_litestar.v1.problems import PROBLEM_JSON, problem

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
    # nginx would hold events back until its buffer is full.
    (b"x-accel-buffering", b"no"),
]
_HEARTBEAT = b'data: {"type":"heartbeat"}\n\n'

logger = logging.getLogger("chatcore")


class Batch(msgspec.Struct):
    events: list[EventItem]
    cursor: str
    """What to ask for next, as `after`."""


class Start(msgspec.Struct, tag="start"):
    cursor: str


class End(msgspec.Struct, tag="end"):
    reason: str


def event_routes(context: Context) -> list[HTTPRouteHandler]:
    """For a router under `/v1` that puts the user into `scope["user"]` and what proves it
    into `scope["auth"]`."""

    @get(
        "/events",
        summary="What happened to me after a cursor, and what happens next",
        description="With `Accept: text/event-stream`, a stream of server-sent events: each of "
        "them in `data`, its cursor in `id`. Otherwise up to 100 events; if there are none yet, "
        "the answer waits for the first, for `wait` seconds at most. Without a cursor, it begins "
        "now. After `reset` look at everything anew, with `GET /v1/sync`.",
        operation_class=operation(
            parameters=(
                in_query("after", "A cursor.", TEXT),
                in_query("wait", "Seconds.", number(0, MAX_WAIT, 0)),
                Parameter(
                    name="Last-Event-ID",
                    param_in="header",
                    description="For a stream, the cursor, which goes before `after`.",
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
            raise InvalidPage(f"wait for {MAX_WAIT} seconds at most")
        request.scope[LONG_RUNNING] = True  # type: ignore[literal-required]
        after = query.get("after")
        if _wants_stream(request):
            # Browsers leave an empty one away.
            after = _header(request, b"last-event-id").decode("latin-1") or after
            return await _stream(context, request, after)
        return await _poll(context, request, after, wait)

    return [events]


async def _stream(context: Context, request: UserRequest, after: str | None) -> ASGIApp:
    user = request.user
    following = context.messenger.follow(user, after=after)
    first = b"" if after is not None else _data(Start(str(await following.start())))
    # Before the head, so that a store that fails is a 503.
    first += _frames(await following.batch(0), user)
    watch = TokenWatch(context.sessions, request.auth, context.clock)
    return EventStream(following, user, first, context.streams, watch, context.send_seconds)


async def _poll(context: Context, request: UserRequest, after: str | None, wait: int) -> ASGIApp:
    user = request.user
    following = context.messenger.follow(user, after=after)
    if wait == 0:
        return await _reply(following, await following.batch(0), user)
    watch = TokenWatch(context.sessions, request.auth, context.clock)
    with (
        context.streams.listener(user.id) as listener,
        ending_when_gone(listener, request.receive),
    ):
        found = await listener.batch(following, min(wait, watch.seconds()))
    if listener.ended == REPLACED:
        return TOO_MANY
    if await watch.lost():
        raise InvalidToken
    return await _reply(following, found, user)


class TokenWatch:
    """Re-checks a token that may expire or be revoked while its request is open."""

    __slots__ = ("_clock", "_sessions", "_trusted")

    def __init__(self, sessions: Sessions, trusted: Trusted, clock: Clock) -> None:
        self._sessions = sessions
        self._trusted = trusted
        self._clock = clock

    async def lost(self) -> str | None:
        """Why the token is not valid any more, if so. Raises Unavailable."""
        token, session, _ = self._trusted
        try:
            self._trusted = await self._sessions.find(token)
        except InvalidToken:
            return "expired" if self._clock() >= session.claims.expires_at else VOID
        return None

    def seconds(self) -> float:
        """How long that is good for."""
        return max(self._sessions.seconds_left(self._trusted), 0)


class EventStream:
    """Server-sent events. A client that takes none of 64 KiB for `send_seconds` is dropped."""

    __slots__ = ("_first", "_following", "_send_seconds", "_streams", "_user", "_watch")

    def __init__(
        self,
        following: Following,
        user: User,
        first: bytes,
        streams: Streams,
        watch: TokenWatch,
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
            self._streams.listener(self._user.id) as listener,
            ending_when_gone(listener, receive),
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
                if why := await self._watch.lost():
                    listener.end(why)
                if now() >= over_at:
                    listener.end("age")
                if listener.ended is not None:
                    break
                if not await self._taken(send, chunk):
                    return
                seconds = min(
                    self._streams.heartbeat_seconds, self._watch.seconds(), over_at - now()
                )
                events = await listener.batch(self._following, max(seconds, 0))
            except Unavailable as error:
                # An end without a word: who comes back gets the 503.
                logger.warning("a stream of events ended: %r", error)
                await self._taken(send, b"", more=False)
                return
            chunk = _frames(events, self._user) or _HEARTBEAT
        if listener.ended != GONE:
            await self._taken(send, _data(End(listener.ended)), more=False)

    async def _taken(self, send: Send, data: bytes, *, more: bool = True) -> bool:
        for start in range(0, len(data) or 1, CHUNK):
            chunk = data[start : start + CHUNK]
            more_body = more or start + CHUNK < len(data)
            # Others go on meanwhile, even where neither the store nor the socket waits.
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
    # JSON has no line ends of its own.
    return b"data: %b\n\n" % encode(item)


def _wants_stream(request: UserRequest) -> bool:
    """Whether it names the type. Who accepts JSON as well would not name it in vain."""
    for media_range in _header(request, b"accept").lower().split(b","):
        name, *parameters = (part.strip() for part in media_range.split(b";"))
        if name == b"text/event-stream":
            return b"q=0" not in parameters
    return False


def _header(request: UserRequest, wanted: bytes) -> bytes:
    return b", ".join(value for name, value in request.scope["headers"] if name == wanted)
