"""Read a small document from a URL, within bounds of size and time."""

import asyncio
import io
import re
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

MAX_DOCUMENT = 256 * 1024
FETCH_SECONDS = 5.0

Fetch = Callable[[], Awaitable[bytes]]
"""Returns the document. Raises OSError, ValueError, TimeoutError."""

# RFC 3986, without white space, which would end the line of the request.
_TARGET = re.compile(r"[!-~]+")


def fetch_of(url: str, tls: ssl.SSLContext | None) -> Fetch:
    """Return the function that reads `https://host/path` or `file:///path`. Raises ValueError for
    any other URL."""
    parts = urlsplit(url)
    if not _TARGET.fullmatch(url) or parts.username is not None or parts.fragment:
        raise ValueError(f"not a URL of keys: {url!a}")
    if parts.scheme == "file" and parts.path and not parts.netloc:
        path = unquote(parts.path)
        return lambda: asyncio.to_thread(_read_file, path)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f"expected https://… or file:///…, not {url!a}")
    host, port, authority = parts.hostname, parts.port or 443, parts.netloc
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    context = tls or ssl.create_default_context()

    async def fetch() -> bytes:
        async with asyncio.timeout(FETCH_SECONDS):
            return _body_of(await _exchange(host, port, context, authority, target))

    return fetch


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        document = file.read(MAX_DOCUMENT + 1)
    _check_size(document)
    return document


async def _exchange(
    host: str, port: int, tls: ssl.SSLContext, authority: str, target: str
) -> bytes:
    """Send a GET and return all that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: chatcore\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        received = bytearray()
        while piece := await reader.read(MAX_DOCUMENT + 1 - len(received)):
            received += piece
            _check_size(received)
        return bytes(received)
    finally:
        # Without a wait for the server's part of the close.
        writer.transport.abort()


def _check_size(document: bytes | bytearray) -> None:
    if len(document) > MAX_DOCUMENT:
        raise ValueError(f"the document is over {MAX_DOCUMENT} bytes")


class _Received:
    """Stands for a socket from which the whole answer was read."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def _body_of(answer: bytes) -> bytes:
    """Return the body of a complete answer of status 200. A redirect is not followed."""
    # Imported only on demand: it slows the start.
    from http.client import HTTPException, HTTPResponse

    response = HTTPResponse(_Received(answer))  # type: ignore[arg-type]
    try:
        response.begin()
        if response.status != 200:
            raise ValueError(f"the answer has status {response.status}")
        return response.read()
    except HTTPException as error:
        raise ValueError(f"not a complete answer: {error!r}") from error
