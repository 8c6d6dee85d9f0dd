"""HTTP/1.1 with bounds: uvicorn's httptools protocol, plus the limits that it lacks."""

import asyncio
import re
import sys
from http import HTTPStatus
from typing import Any, ClassVar

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

MAX_HEAD = 32 * 1024
"""Bytes of a request's first line and headers."""

MAX_TARGET = 4096
"""Bytes of a request's path and query. The longest name takes 768. Litestar caches the last 1,024
requested paths of all clients, as text of up to 4 bytes a character."""

MAX_PIPELINED = 64
"""Requests on one connection that may wait for the answer to an earlier request."""

_WITHOUT_PATH = re.compile(rb"\A([a-z]+://[^/?#]+)(?=[?#]|\Z)", re.IGNORECASE)


class _Refused(Exception):
    """Stops the parser after a refusal has been handled."""


class BoundedProtocol(HttpToolsProtocol):
    """Handles one connection and bounds what its peer can cost.

    - A path and query over MAX_TARGET is refused (414).
    - A head over MAX_HEAD is refused (431); so are trailers, chunk extensions and any other
      bytes outside heads and bodies beyond that size.
    - A connection without a complete head after `head_seconds` is closed. The application
      limits the wait for a body.
    - A peer that reads nothing of an answer for `stall_seconds` is cut off.
    - More than MAX_PIPELINED requests ahead of their answers are not read; the connection ends
      after the answers.
    - A connection over uvicorn's `limit_concurrency` gets 503 for its first request, if that
      arrives within `linger_seconds`, and is closed.
    """

    turned_away: ClassVar[int] = 0
    """Connections refused over the limit so far."""

    head_seconds: ClassVar[float] = 20
    stall_seconds: ClassVar[float] = 30
    linger_seconds: ClassVar[float] = 2

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Left in place, uvicorn would refuse the next request on any connection.
        self._max_connections, self.limit_concurrency = self.limit_concurrency, None
        self._unparsed = 0
        """Upper bound of the bytes since the parser last finished a head or returned body data."""
        self._refused = False
        self._running: RequestResponseCycle | None = None
        self._end: asyncio.TimerHandle | None = None
        """Closes the connection unless a head is complete before."""
        self._stall: asyncio.TimerHandle | None = None
        """Cuts the peer off if it has read nothing until then."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._max_connections is None or len(self.connections) <= self._max_connections:
            self._close_after(self.head_seconds)
        else:
            BoundedProtocol.turned_away += 1
            self.app = at_capacity
            self._close_after(self.linger_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn notifies only the newest request, which may still wait behind this one.
        if (cycle := self._running) is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._cancel_end()
        self._cancel_stall()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(400)
        if self._unparsed > MAX_HEAD:
            self._refuse(431)
        # uvicorn's own timer ends at the first byte; this timer runs until the head is complete.
        elif self._end is None and (self.cycle is None or self.cycle.response_complete):
            self._close_after(self.head_seconds)

    def _parse(self, data: bytes) -> None:
        """Feed the parser, which stops at each head that offers an upgrade and skips its body.

        No upgrade is accepted, so the request is served without one (RFC 9110, section 7.8): a
        new parser reads the head again, without the offer, and then the rest of the data.
        """
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                rest = memoryview(rest)[upgrade.args[0] :]
                head = self._head_without_upgrade()
                self.parser = HttpRequestParser(self)
                # The same setting as uvicorn's.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        # The parser accepts no line break inside a target or a value, so none can be smuggled in.
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        return b"".join([*lines, b"\r\n"])

    def _should_upgrade(self) -> bool:
        """Keep uvicorn from starting a request whose parser skips the body."""
        return True

    def _strip_values(self) -> None:
        """Remove the white space that the parser leaves after values (RFC 9112, 5.1)."""
        headers = self.headers.copy()
        self.headers.clear()
        for name, value in headers:
            self.on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        # The exact size; `_unparsed` is a bound, since a head can begin anywhere in the data.
        size = len(self.url)
        padded = False
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            if value and value[-1] <= 32:  # A space or a tab.
                padded = True
        if size > MAX_HEAD or len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(431)
            raise _Refused
        if len(self.url) > MAX_TARGET:
            self._refuse(414)
            raise _Refused
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                # The parser would stop at this head for ever.
                self._refuse(400)
                raise _Refused
            return
        if padded:
            self._strip_values()
        if not self.url.startswith(b"/"):
            # `http://host` is `http://host/` (RFC 9110, 4.2.3).
            self.url = _WITHOUT_PATH.sub(rb"\1/", self.url)
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            # An HTTP/1.0 client would mistake "100 Continue" for the answer (RFC 9110, 10.1.1).
            self.expect_100_continue = False
        self._unparsed = 0
        self._cancel_end()
        super().on_headers_complete()
        # Trailers arrive as headers but must not become request headers (RFC 9110, 6.5.1).
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def _refuse(self, status: int) -> None:
        """Stop reading; answer with the status if that answer cannot be mistaken for another."""
        if self._refused:
            return
        self._refused = True
        self._cancel_end()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer(status)
        elif not cycle.more_body:
            # Earlier requests are complete: they get their answers, then the connection ends.
            cycle.keep_alive = False
        elif not self.pipeline and not cycle.response_started:
            # The faulty request is the one that the application is reading.
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(status)
        else:
            self.transport.close()

    def _answer(self, status: int) -> None:
        reason = HTTPStatus(status).phrase.encode()
        headers = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        length = b"content-length: %d\r\n\r\n" % len(reason)
        self.transport.write(STATUS_LINE[status] + headers + length + reason)
        # Closing with unread bytes would reset the connection, and a peer that still sends would
        # lose the answer (RFC 9112, 9.6). So the bytes are read and dropped for a moment.
        self.transport.write_eof()
        self._close_after(self.linger_seconds)

    def _close_after(self, seconds: float) -> None:
        self._end = self.loop.call_later(seconds, self.transport.close)

    def _cancel_end(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            app = _without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    # This process buffers what the peer has not read; a close waits for that buffer, too.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_stall()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_stall()

    def _watch_stall(self) -> None:
        if self._stall is None:
            unread = self.transport.get_write_buffer_size()
            self._stall = self.loop.call_later(
                self.stall_seconds, self._cut_off_stalled, unread, self.cycle
            )

    def _cut_off_stalled(self, unread_before: int, cycle_before: object) -> None:
        self._stall = None
        unread = self.transport.get_write_buffer_size()
        if unread >= unread_before and self.cycle is cycle_before:
            self.transport.abort()
        elif unread:
            self._watch_stall()

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def _without_chunks(app: Any, cycle: RequestResponseCycle) -> Any:
    """Wrap the application so that an answer of unknown length ends with the connection.

    HTTP/1.0, which common proxies speak, has no chunks (RFC 9112, 6.1), but uvicorn sends them.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        until_close = False

        async def send_plainly(message: Any) -> None:
            nonlocal until_close
            if message["type"] == "http.response.start":
                names = [name.lower() for name, _ in message.get("headers", ())]
                if until_close := b"content-length" not in names:
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = sys.maxsize
            elif until_close and not message.get("more_body", False):
                await send({**message, "more_body": True})
                cycle.expected_content_length = 0
                message = {"type": "http.response.body"}
            await send(message)

        await app(scope, receive, send_plainly)

    return answer


async def at_capacity(_scope: Any, _receive: Any, send: Any) -> None:
    """An ASGI application that answers 503: too many connections are open."""
    body = b'{"error":"Service Unavailable"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
