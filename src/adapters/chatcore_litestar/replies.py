"""Answers, as the ASGI messages that they are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send

from chatcore import InvalidToken

CHUNK = 64 * 1024

Headers = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")

SAFETY = [
    # Tokens and messages are nobody's to keep but the client's.
    (b"cache-control", b"no-store"),
    # Whatever a message says, no browser is to take an answer for a page or a script.
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
        # A list of its own each time: a host's middleware may add to it, and some replies
        # are given again and again.
        headers = self._headers.copy()
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        body = b"" if scope.get("method") == "HEAD" else self._body
        await send({"type": "http.response.body", "body": body, "more_body": False})


def done() -> Response[None]:
    """An answer without content."""
    return Response(None, status_code=204, headers=SAFETY_BY_NAME)


class Streamed:
    """A body whose length nobody knows yet, in pieces.

    When making a piece fails, the exception leaves the application and the server cuts the
    connection: the client sees a broken transfer, never a body that ends properly but too soon.
    So does a client that takes none of 64 KiB for `send_seconds`, but without an exception,
    for it would be logged as a fault of ours; and one whose token becomes void, which
    `authenticate` tells by InvalidToken.
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
        gone = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            async for chunk in self._chunks():
                # Others go on meanwhile, even where neither the store nor the socket waits.
                await asyncio.sleep(0)
                if gone.done() and not gone.exception():
                    return
                if self._authenticate is not None:
                    await self._authenticate()
                if not await self._taken(send, chunk, more=True):
                    return
            await self._taken(send, b"", more=False)
        except InvalidToken:
            return
        finally:
            gone.cancel()

    async def _taken(self, send: Send, chunk: bytes, *, more: bool) -> bool:
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
    """One JSON array, from pieces that are arrays themselves."""
    joint = b"["
    async for array in arrays:
        yield joint + array[1:-1]
        joint = b","
    yield b"]"


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
