"""Replies, sent as plain ASGI messages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send

from chatcore import InvalidToken

CHUNK = 64 * 1024

Headers = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")

SAFETY = [
    # No cache may store tokens or messages.
    (b"cache-control", b"no-store"),
    # No browser may run an answer as a page or a script, even if a message contains HTML.
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]
"""Headers of every answer but the page's, which has its own."""

SAFETY_BY_NAME = {name.decode(): value.decode() for name, value in SAFETY}

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
encode_lines = _encoder.encode_lines
"""JSON Lines."""


class Reply:
    """A JSON document in one piece."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: Headers = (),
        content_type: tuple[bytes, bytes] = JSON,
    ) -> None:
        self._status = status
        self._body = body
        self._headers = [content_type, (b"content-length", b"%d" % len(body)), *SAFETY, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A copy: a host's middleware may add to the list, and some replies are sent repeatedly.
        headers = self._headers.copy()
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        body = b"" if scope.get("method") == "HEAD" else self._body
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Refuse(Protocol):
    """Makes an error reply in the shape of a route: of a status, a code for programs, and a detail
    for people."""

    def __call__(
        self, status: int, code: str | None = None, detail: str = "", headers: Headers = ()
    ) -> Reply: ...


def done() -> Response[None]:
    """Make an answer without content."""
    return Response(None, status_code=204, headers=SAFETY_BY_NAME)


class Streamed:
    """A body of unknown length, sent in pieces.

    A body that cannot be completed is cut off: the client sees a broken transfer, never a short
    body that seems complete. If making a piece fails, the exception leaves the application and
    the server closes the connection. The body also ends, without an exception, when the client
    accepts none of a 64 KiB chunk for `send_seconds`, or when `authenticate` raises InvalidToken
    because the token was revoked or has expired.
    """

    __slots__ = ("_authenticate", "_headers", "_pieces", "_send_seconds")

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        send_seconds: float,
        headers: Headers = (JSON,),
        authenticate: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._pieces = pieces
        self._authenticate = authenticate
        self._send_seconds = send_seconds
        self._headers = [*headers, *SAFETY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        left = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            async for chunk in self._chunks():
                # Let other requests run, even if neither the store nor the socket blocks.
                await asyncio.sleep(0)
                if left.done() and not left.exception():
                    return
                if self._authenticate is not None:
                    await self._authenticate()
                if not await self._send_chunk(send, chunk, more=True):
                    return
            await self._send_chunk(send, b"", more=False)
        except InvalidToken:
            return
        finally:
            left.cancel()

    async def _send_chunk(self, send: Send, chunk: bytes, *, more: bool) -> bool:
        try:
            async with asyncio.timeout(self._send_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError:
            return False
        return True

    async def _chunks(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            for start in range(0, len(piece), CHUNK):
                yield piece[start : start + CHUNK]


async def joined(arrays: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join pieces that are JSON arrays into one JSON array."""
    joint = b"["
    async for array in arrays:
        yield joint + array[1:-1]
        joint = b","
    yield b"]"


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
