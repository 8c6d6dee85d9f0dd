"""The limits of one connection against hostile, slow and hasty clients, and requests that offer
an upgrade."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from chatcore_server.serving.protocol import MAX_HEAD, MAX_PIPELINED, MAX_TARGET, BoundedProtocol

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
GET_WITH_OFFER = GET.replace(b"Host", OFFER + b"Host")
MEGABYTES_5 = b"a" * 5_000_000
# More than the socket buffers of both sides hold, so much of it stays in the server.
MORE_THAN_SOCKETS_HOLD = b"x" * 16_000_000


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """uvloop, as in the service."""
    return "asyncio", {"use_uvloop": True}


SECONDS = 60
"""The limit for every wait, far above the time that any step takes."""


class Impatient(BoundedProtocol):
    """Disconnects at once where the limits are exceeded."""

    head_seconds = 0.3
    stall_seconds = 0.3
    linger_seconds = 0.3


class HeadsTakeLong(Impatient):
    head_seconds = 600


class Brisk(BoundedProtocol):
    """For clients that must stay connected: longer than any hiccup of the machine."""

    head_seconds = 1
    stall_seconds = 1


class LingersLong(BoundedProtocol):
    linger_seconds = 600


class App:
    """Responds 200 with `body` repeated `pieces` times, once `answer` is set."""

    def __init__(self, body: bytes = b"ok", pieces: int = 1) -> None:
        self.body = body
        self.pieces = pieces
        self.answer = asyncio.Event()
        self.answer.set()
        self.scopes: list[Any] = []
        self.called = asyncio.Event()
        self.disconnected = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.called.set()
        listening = asyncio.create_task(self._listen(receive))
        await self.answer.wait()
        listening.cancel()
        length = (b"content-length", b"%d" % (len(self.body) * self.pieces))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        for piece in range(1, self.pieces + 1):
            more = piece < self.pieces
            await send({"type": "http.response.body", "body": self.body, "more_body": more})

    async def _listen(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected.set()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the request, as JSON."""
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    line = [scope["method"], scope["path"], scope["query_string"].decode(), scope["http_version"]]
    answer = json.dumps([line, headers, body.decode()]).encode()
    length = (b"content-length", b"%d" % len(answer))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": answer})


class Peer:
    """A raw client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            headers = dict(line.split(b": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers[b"content-length"]))
        return int(first.split()[1]), headers, body

    async def closed(self) -> bytes:
        """Return what arrives until the server closes. Fails after SECONDS."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


class Serving:
    def __init__(self, server: uvicorn.Server) -> None:
        self.state = server.server_state
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self.peers: list[Peer] = []

    async def connect(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    async def answered(self, count: int) -> None:
        """Wait until the application has answered `count` requests."""
        await until(lambda: self.state.total_requests == count)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  the server sets no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    app: Callable[..., Any], protocol: type[BoundedProtocol] = BoundedProtocol, **options: Any
) -> AsyncIterator[Serving]:
    config = uvicorn.Config(
        app, port=0, http=protocol, ws="none", lifespan="off", log_config=None, **options
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    running = Serving(server)
    try:
        yield running
    finally:
        for peer in running.peers:
            peer.writer.transport.abort()
        server.config.timeout_graceful_shutdown = 1
        await server.shutdown()


TOO_LARGE = {
    "one header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + MEGABYTES_5,
    "a header name": b"GET / HTTP/1.1\r\nHost: x\r\n" + MEGABYTES_5,
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20_000,
    "URL": b"GET /" + MEGABYTES_5,
    "query": b"GET /?" + MEGABYTES_5,
    "nothing but line ends": b"\r\n" * 500_000 + GET,
    "just over, and complete": b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n",
    "just over, with an offer": GET_WITH_OFFER[:-2] + b"A: " + b"a" * MAX_HEAD + b"\r\n\r\n",
    "the offer itself": GET_WITH_OFFER.replace(b"h2c", b"a" * MAX_HEAD),
}


@pytest.mark.parametrize("kept_alive", [False, True])
@pytest.mark.parametrize("head", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_oversized_head_is_refused(head: bytes, kept_alive: bool) -> None:
    app = App()
    async with serving(app) as server:
        peer = await server.connect()
        if kept_alive:
            peer.write(GET)
            await peer.answer()
        before = len(app.scopes)
        peer.write(head)
        status, headers, _ = await peer.answer()
        assert (status, headers[b"connection"]) == (431, b"close")
        assert await peer.closed() == b""
        assert len(app.scopes) == before


@pytest.mark.parametrize(("size", "expected"), [(MAX_TARGET, 200), (MAX_TARGET + 1, 414)])
@pytest.mark.parametrize("get", [GET, GET_WITH_OFFER])
async def test_request_target_has_its_own_limit(get: bytes, size: int, expected: int) -> None:
    async with serving(App()) as server:
        peer = await server.connect()
        peer.write(get.replace(b"/", b"/" + b"a" * (size - 1), 1))
        assert (await peer.answer())[0] == expected


async def test_client_that_sends_everything_first_gets_the_response() -> None:
    async with serving(App()) as server:
        peer = await server.connect()
        peer.writer.transport.set_write_buffer_limits(0)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.write(TOO_LARGE["one header"])
        await peer.writer.drain()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await peer.answer())[0] == 431


async def test_oversized_head_in_pieces_is_refused() -> None:
    async with serving(App()) as server:
        peer = await server.connect()
        peer.write(GET[:-2])
        for sent in range(0, MAX_HEAD, 512):
            peer.write(b"h: %0508d\r\n" % sent)
            await peer.writer.drain()
            # Let the server, on this loop, read each piece separately.
            await asyncio.sleep(0)
        assert (await peer.answer())[0] == 431


@pytest.mark.parametrize("size", [10, MAX_HEAD - 100])
async def test_a_head_within_the_limit_is_served(size: int) -> None:
    async with serving(App()) as server:
        peer = await server.connect()
        for _ in range(3):
            peer.write(b"GET / HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n" % (b"a" * size))
            assert (await peer.answer())[0] == 200


async def test_large_body_does_not_count_as_head() -> None:
    async with serving(App()) as server:
        peer = await server.connect()
        peer.write(POST + b"Content-Length: 5000000\r\n\r\n" + MEGABYTES_5 + GET)
        assert (await peer.answer())[0] == 200
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize(
    "rest",
    [b"2\r\nhi\r\n0\r\nA: " + MEGABYTES_5, b"0\r\n" + b"a: b\r\n" * 50_000, b"2;" + MEGABYTES_5],
    ids=["one trailer", "many trailers", "a chunk extension"],
)
async def test_chunk_extensions_and_trailers_have_the_limit_of_the_head(rest: bytes) -> None:
    app = App()
    app.answer.clear()
    async with serving(app, LingersLong) as server:
        peer = await server.connect()
        peer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        peer.write(rest)
        assert (await peer.answer())[0] == 431
        # At once, not only when the connection is finally lost.
        async with asyncio.timeout(SECONDS):
            await app.disconnected.wait()
        app.answer.set()
        assert await peer.closed() == b""


async def test_trailers_do_not_become_headers() -> None:
    app = App()
    async with serving(app) as server:
        peer = await server.connect()
        peer.write(
            POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + GET
        )
        assert (await peer.answer())[0] == (await peer.answer())[0] == 200
        assert [name for name, _ in app.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize("bad", [b"\x16\x03\x01 not HTTP\r\n\r\n", TOO_LARGE["one header"]])
async def test_bad_request_does_not_replace_the_previous_response(bad: bytes) -> None:
    app = App()
    app.answer.clear()
    async with serving(app) as server:
        peer = await server.connect()
        peer.write(GET + bad)
        await app.called.wait()
        app.answer.set()
        status, headers, _ = await peer.answer()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert await peer.closed() == b""


@pytest.mark.parametrize(
    "bad",
    [
        b"\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi" + GET,
        b"CONNECT x:1 HTTP/1.1\r\n" + OFFER + b"\r\n" + GET,
        b"CONNECT / HTTP/1.1\r\n" + OFFER + b"\r\n" + GET,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        *(
            POST + offer + framing
            for offer in (b"", OFFER)
            for framing in (
                b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
                b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
                b"Content-Length: 1, 2\r\n\r\nhi",
                b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
                b"Transfer-Encoding: chunked\r\n\r\nnot a size\r\n",
                b"A: b\r\n Content-Length: 1\r\n\r\n",
            )
        ),
    ],
)
async def test_invalid_http_is_refused(bad: bytes) -> None:
    app = App()
    app.answer.clear()
    async with serving(app) as server:
        peer = await server.connect()
        peer.write(bad)
        assert (await peer.answer())[0] == 400
        app.answer.set()
        assert await peer.closed() == b""


HELLO = {
    "Content-Length": b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
}
OFFERS = {
    "h2c": OFFER,
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "several": b"upgrade:TLS/1.0, h2c \t\r\nUPGRADE: websocket\r\nConnection:close,upgrade\r\n",
}


def without_offer(answer: bytes) -> Any:
    line, headers, body = json.loads(answer)
    hop_by_hop = {"connection", "upgrade", "http2-settings", "sec-websocket-version"}
    return line, [header for header in headers if header[0] not in hop_by_hop], body


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("framing", HELLO.values(), ids=HELLO)
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_upgrade_request_is_served_as_http_1_1(
    offer: bytes, framing: bytes, version: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    post = POST.replace(b"/", b"http://x/a%20b?c=%ff", 1).replace(b"1.1", version)
    post += b"A: 1\r\nEmpty:\r\na: \xff  2\t\r\n"
    async with serving(echo) as server:
        plain, offering = await server.connect(), await server.connect()
        plain.write(post + framing)
        offering.write(post + offer + framing)
        status, _, expected = await plain.answer()
        assert (status, json.loads(expected)[2]) == (200, "hello")
        status, _, answer = await offering.answer()
        assert (status, without_offer(answer)) == (200, without_offer(expected))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("framing", HELLO.values(), ids=HELLO)
async def test_an_offer_to_upgrade_may_come_in_any_pieces(framing: bytes) -> None:
    data = POST + OFFER + framing + GET_WITH_OFFER + GET
    async with serving(echo) as server:
        peer = await server.connect()
        await until(lambda: bool(server.state.connections))
        [connection] = server.state.connections

        async def bodies(*pieces: bytes) -> list[str]:
            for piece in pieces:
                # Bypass the socket, which could merge the pieces.
                connection.data_received(piece)
                await asyncio.sleep(0)
            return [json.loads((await peer.answer())[2])[2] for _ in range(3)]

        for split in range(1, len(data)):
            assert await bodies(data[:split], data[split:]) == ["hello", "", ""], split
        assert await bodies(*(data[at : at + 1] for at in range(len(data)))) == ["hello", "", ""]


async def test_a_connection_with_offers_to_upgrade_stays_open() -> None:
    async with serving(echo) as server:
        peer = await server.connect()
        for framing in [*HELLO.values(), *HELLO.values()]:
            peer.write(POST + OFFER + framing)
            assert json.loads((await peer.answer())[2])[2] == "hello"
            peer.write(GET_WITH_OFFER)
            assert json.loads((await peer.answer())[2])[2] == ""


async def test_an_offer_to_upgrade_may_wait_for_100_continue() -> None:
    head, body = (POST + OFFER + b"Expect: 100-Continue \r\n" + HELLO["chunked"]).split(b"3;", 1)
    async with serving(echo) as server:
        peer = await server.connect()
        peer.write(head)
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.write(b"3;" + body)
        assert json.loads((await peer.answer())[2])[2] == "hello"


async def test_http_1_0_does_not_get_100_continue() -> None:
    async with serving(echo) as server:
        peer = await server.connect()
        post = POST.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\n"
        peer.write(post + HELLO["Content-Length"])
        assert (await peer.answer())[0] == 200


async def test_white_space_around_a_header_value_is_stripped() -> None:
    async with serving(echo) as server:
        peer = await server.connect()
        peer.write(b"GET / HTTP/1.1\r\nHost:x\t \r\nA: \t b c \t\r\nB:  \r\n\r\n")
        assert json.loads((await peer.answer())[2])[1] == [["host", "x"], ["a", "b c"], ["b", ""]]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://x/a?b", "/a", "b"),
        (b"HTTP://user@[::1]:80/a", "/a", ""),
        (b"http://x", "/", ""),
        (b"https://x?b/c", "/", "b/c"),
        (b"//x", "//x", ""),
        (b"*", "*", ""),
    ],
)
async def test_absolute_target_is_reduced_to_its_path(target: bytes, path: str, query: str) -> None:
    async with serving(echo) as server:
        peer = await server.connect()
        peer.write(b"OPTIONS %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert json.loads((await peer.answer())[2])[0] == ["OPTIONS", path, query, "1.1"]


@pytest.mark.parametrize("get", [GET, GET_WITH_OFFER])
async def test_few_pipelined_requests_are_all_answered(get: bytes) -> None:
    async with serving(App()) as server:
        peer = await server.connect()
        peer.write(get * MAX_PIPELINED)
        for _ in range(MAX_PIPELINED):
            assert (await peer.answer())[0] == 200
        peer.write(GET)
        assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("get", [GET, GET_WITH_OFFER])
async def test_many_pipelined_requests_are_not_read(get: bytes) -> None:
    app = App()
    app.answer.clear()
    async with serving(app) as server:
        peer = await server.connect()
        peer.write(get * 100_000)
        await app.called.wait()
        app.answer.set()
        answers = (await peer.closed()).count(b"HTTP/1.1 200")
        assert len(app.scopes) == MAX_PIPELINED + 1
        assert answers <= MAX_PIPELINED + 1


# The first request, which is answered; the next; and the part to repeat.
SLOW = {
    "nothing": (b"", b"", b""),
    "half a head": (b"", GET[:-2], b"a"),
    "half a head, kept alive": (GET, GET[:-2], b"a"),
    "half a head with an offer": (b"", GET_WITH_OFFER[:-2], b"a"),
    "half a head after an offer": (GET_WITH_OFFER, GET_WITH_OFFER[:-2], b"a"),
    "line ends": (GET, b"\r\n", b"\r\n"),
    "unread body": (POST + b"Content-Length: 9999\r\n\r\n", b"a", b"a"),
}


@pytest.mark.parametrize(("first", "begun", "more"), SLOW.values(), ids=SLOW)
async def test_unfinished_head_times_out(first: bytes, begun: bytes, more: bytes) -> None:
    class Hurried(Impatient):
        head_seconds = HeadsTakeLong.head_seconds if first else Impatient.head_seconds

    async with serving(App(), Hurried) as server:
        peer = await server.connect()
        if first:
            peer.write(first)
            await peer.answer()
        Hurried.head_seconds = Impatient.head_seconds
        peer.write(begun)

        async def trickle() -> None:
            while more:
                await asyncio.sleep(Impatient.head_seconds / 6)
                peer.write(more)

        trickling = asyncio.create_task(trickle())
        assert await peer.closed() == b""
        trickling.cancel()


@pytest.mark.parametrize("slow", [GET, POST + b"Content-Length: 2\r\n\r\n"])
async def test_slow_application_is_not_timed_out(slow: bytes) -> None:
    app = App()
    app.answer.clear()
    async with serving(app, Brisk) as server:
        peer = await server.connect()
        peer.write(slow)
        await app.called.wait()
        await asyncio.sleep(2 * Brisk.head_seconds)
        app.answer.set()
        assert (await peer.answer())[0] == 200


LAST_GET = GET.replace(b"Host", b"Connection: close\r\nHost")


@pytest.mark.parametrize("pieces", [1, 100])
@pytest.mark.parametrize("get", [GET, LAST_GET])
async def test_client_that_stops_reading_is_disconnected(get: bytes, pieces: int) -> None:
    app = App(MORE_THAN_SOCKETS_HOLD[: len(MORE_THAN_SOCKETS_HOLD) // pieces], pieces)
    async with serving(app, HeadsTakeLong) as server:
        peer = await server.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.write(get)
        await app.called.wait()
        await until(lambda: not server.state.connections)


async def test_client_that_leaves_a_little_unread_is_disconnected() -> None:
    # Too little for the transport to pause writing.
    async with serving(App(b"x" * 30_000), HeadsTakeLong) as server:
        peer = await server.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in itertools.count(1):
            peer.write(GET)
            await server.answered(number)
            if all(each.transport.get_write_buffer_size() for each in server.state.connections):
                break
        await until(lambda: not server.state.connections)


@pytest.mark.parametrize("get", [GET, LAST_GET])
async def test_slow_reader_gets_the_whole_response(get: bytes) -> None:
    async with serving(App(MORE_THAN_SOCKETS_HOLD), Brisk) as server:
        peer = await server.connect()
        peer.write(get)
        started = asyncio.get_running_loop().time()
        await peer.reader.readuntil(b"\r\n\r\n")
        for _ in range(80):
            await peer.reader.readexactly(len(MORE_THAN_SOCKETS_HOLD) // 80)
            await asyncio.sleep(0.03)
        assert asyncio.get_running_loop().time() - started > 2 * Brisk.stall_seconds


async def test_application_learns_of_a_lost_client_with_pipelined_requests() -> None:
    app = App()
    app.answer.clear()
    async with serving(app) as server:
        peer = await server.connect()
        peer.write(GET + GET)
        await app.called.wait()
        peer.writer.transport.abort()
        async with asyncio.timeout(SECONDS):
            await app.disconnected.wait()
        app.answer.set()


async def test_silent_connection_over_the_limit_is_closed() -> None:
    async with serving(App(), HeadsTakeLong, limit_concurrency=1) as server:
        inside, outside = await server.connect(), await server.connect()
        assert await outside.closed() == b""
        inside.write(GET)
        assert (await inside.answer())[0] == 200


async def test_connections_over_the_limit_get_a_503_with_retry_after() -> None:
    async with serving(App(), LingersLong, limit_concurrency=2) as server:
        inside = [await server.connect() for _ in range(2)]
        for peer in inside:
            peer.write(GET)
            assert (await peer.answer())[0] == 200
        outside = await server.connect()
        outside.write(GET)
        status, headers, body = await outside.answer()
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert body == b'{"error":"Service Unavailable"}'
        assert await outside.closed() == b""
        for peer in inside:
            peer.write(GET)
            assert (await peer.answer())[0] == 200
        inside[0].writer.close()
        await until(lambda: len(server.state.connections) == 1)
        later = await server.connect()
        later.write(GET)
        assert (await later.answer())[0] == 200
