"""Answers, as the ASGI messages that they are."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from litestar.types import Receive, Scope, Send

SEND_SECONDS = 30
"""How long a client may take nothing of a streamed answer before it is dropped."""

Headers = Iterable[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")


class Reply:
    """A JSON document in one piece."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, body: bytes, headers: Headers = ()) -> None:
        self._status = status
        self._body = body
        self._headers = [_JSON, (b"content-length", str(len(body)).encode()), *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self._status, "headers": self._headers}
        )
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


class StreamedArray:
    """A JSON array whose length nobody knows yet, from pieces that are arrays themselves.

    When making a piece fails or the client stalls, the exception leaves the application and
    the server cuts the connection: the client sees a broken transfer, never a closed array
    that lacks its end.
    """

    __slots__ = ("_pieces",)

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [_JSON]})
        joint = b"["
        async for piece in self._pieces:
            async with asyncio.timeout(SEND_SECONDS):
                await send(
                    {
                        "type": "http.response.body",
                        "body": joint + piece[1:-1],
                        "more_body": True,
                    }
                )
            joint = b","
        await send({"type": "http.response.body", "body": b"]", "more_body": False})
