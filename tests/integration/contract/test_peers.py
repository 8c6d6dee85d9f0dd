"""HTTP/1.1 in the forms that common clients and proxies send: each gets the answer of the plain
form."""

import asyncio
import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.api import PASSWORD, api_at, fresh
from tests.support.raw import Answer, Raw, connected
from tests.support.service import Service
from tests.support.soak import soak_only

MESSAGE = b'{"message": "Hello, how are you?"}'
LENGTH = b"Content-Length: %d" % len(MESSAGE)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"9\r\n%b\r\n19\r\n%b\r\n0\r\n\r\n" % (MESSAGE[:9], MESSAGE[9:])
H2C = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)
WEBSOCKET = (
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
TOKEN = b"Authorization: Bearer TOKEN"


def request(
    line: bytes, *headers: bytes, body: bytes = b"", host: bytes = b"Host: chat.example"
) -> bytes:
    """A request; TOKEN, BOB and CHAT stand for values of the running service."""
    return b"\r\n".join([line, *([host] if host else []), *headers, b"", body])


def send(
    *headers: bytes,
    body: bytes = MESSAGE,
    line: bytes = b"POST /chats/BOB/messages HTTP/1.1",
    length: bytes = LENGTH,
    token: bytes = TOKEN,
    host: bytes = b"Host: chat.example",
) -> bytes:
    framing = [length] if length else []
    return request(line, token, *framing, *headers, body=body, host=host)


def chunked(*headers: bytes, body: bytes = CHUNKS, coding: bytes = CHUNKED) -> bytes:
    return send(coding, *headers, body=body, length=b"")


def chats(
    *headers: bytes, line: bytes = b"GET /chats HTTP/1.1", token: bytes = TOKEN, body: bytes = b""
) -> bytes:
    return request(line, token, *headers, body=body)


def to(target: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST %b HTTP/%b" % (target, version)


PATH = b"/chats/BOB/messages"
# Each key names the difference from the plain form and, in brackets, the client that sends it or
# the section that decides the answer.
SENDS = {
    # Offers to upgrade, which the service declines by ignoring them (RFC 9110, section 7.8).
    "h2c (Java HttpClient, curl --http2)": send(*H2C),
    "h2c, chunked (Java HttpClient)": chunked(*H2C),
    "websocket": send(*WEBSOCKET),
    "TLS (RFC 2817)": send(b"Connection: Upgrade", b"Upgrade: TLS/1.0"),
    "several upgrades": send(b"Connection: TE, upgrade", b"Upgrade: h2c, foo", b"Upgrade: bar"),
    "an upgrade missing from Connection": send(b"Upgrade: h2c"),
    "Connection names a missing upgrade": send(b"Connection: Upgrade"),
    "h2c through a forward proxy": send(*H2C, line=to(b"http://chat.example" + PATH)),
    # Framing (RFC 9112, sections 6 and 7).
    "chunked (Go, Node, okhttp)": chunked(),
    "Chunked in odd case": chunked(coding=b"TRANSFER-ENCODING:Chunked"),
    "chunked with a trailing space": chunked(coding=b"Transfer-Encoding: chunked "),
    "one byte per chunk": chunked(
        body=b"".join(b"1\r\n%c\r\n" % byte for byte in MESSAGE) + b"0\r\n\r\n"
    ),
    "zeros before sizes": chunked(body=b"00022\r\n%b\r\n000\r\n\r\n" % MESSAGE),
    "chunk extensions": chunked(body=b'22;a;b=c;d="e f"\r\n%b\r\n0;g\r\n\r\n' % MESSAGE),
    "trailers": chunked(
        b"Trailer: Digest", b"TE: trailers", body=CHUNKS[:-2] + b"Digest: x\r\nExpect: y\r\n\r\n"
    ),
    "zeros before the length": send(length=b"Content-Length: 00034"),
    "white space around the length": send(length=b"Content-Length: \t 34 \t"),
    "a line end before the request (old browsers)": b"\r\n" + send(),
    "a line end after the request (old browsers)": send() + b"\r\n",
    "100-continue (curl, .NET Framework)": send(b"Expect: 100-continue"),
    "100-continue in odd case": send(b"Expect:100-Continue \t"),
    "100-continue, chunked, h2c": chunked(b"Expect: 100-continue", *H2C),
    "an unknown expectation": send(b"Expect: 200-ok"),
    # Targets (RFC 9112, section 3.2).
    "absolute form": send(line=to(b"http://chat.example" + PATH)),
    "absolute form of another host": send(line=to(b"HTTPS://u:p@[::1]:80" + PATH)),
    "a query": send(line=to(PATH + b"?utm=1&utm=2")),
    "an empty query": send(line=to(PATH + b"?")),
    "unnecessary escapes": send(line=to(b"/%63hats/BOB/%6d%65ssages")),
    # Headers (RFC 9112, section 5).
    "names in lower case (Node, HTTP/2 gateways)": send(
        length=b"content-length: 34",
        host=b"host: x",
        token=TOKEN.lower().replace(b"token", b"TOKEN"),
    ),
    "names in upper case": send(length=b"CONTENT-LENGTH: 34", host=b"HOST: x"),
    "no space after the colon": send(length=b"Content-Length:34", host=b"Host:x"),
    "white space after values": send(
        b"Content-Type: application/json \t", token=TOKEN + b" \t", host=b"Host: x:80 \t"
    ),
    "no value": send(b"X:", b"Cookie: ", b"Accept:", b"Content-Encoding:"),
    "no host (HTTP/1.0 habits)": send(host=b""),
    "an empty host": send(host=b"Host:"),
    "bytes over 127": send(b"X-Name: caf\xe9 \xd0\xb6", b"Cookie: \xff=\x80"),
    "odd names": send(b"x_y.z!#$%&'*+-^`|~: 1", b"X: 1", b"X: 2"),
    "bearer (Python, Postman)": send(token=b"Authorization: bearer TOKEN"),
    "BEARER": send(token=b"AUTHORIZATION:BEARER   TOKEN"),
    "Connection: keep-alive (okhttp, requests)": send(
        b"Connection: Keep-Alive", b"Keep-Alive: timeout=5, max=100", b"Proxy-Connection: x"
    ),
    "TE (Go gRPC, old libwww)": send(b"Connection: TE", b"TE: trailers, deflate;q=0.5"),
    "Accept (HttpURLConnection)": send(
        b"Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
    ),
    "Accept another type": send(b"Accept: application/xml", b"Accept-Charset: iso-8859-1"),
    "Accept-Encoding (requests, aiohttp)": send(b"Accept-Encoding: gzip, deflate, br, zstd"),
    "conditions and ranges": send(b"Range: bytes=0-0", b"If-Modified-Since: x", b"If-Match: *"),
    "a method in a header": send(b"X-HTTP-Method-Override: DELETE", b"X-Method: PUT"),
    "headers of a proxy": send(
        b"Via: 1.0 fred, 1.1 p.example",
        b"Forwarded: for=192.0.2.60;proto=https",
        b"Max-Forwards: 0",
    ),
    # Bodies (RFC 8259, section 8.1; RFC 9110, section 8).
    "a byte order mark (.NET StreamWriter)": send(
        body=b"\xef\xbb\xbf" + MESSAGE, length=b"Content-Length: 37"
    ),
    "a line end after the JSON": send(body=MESSAGE + b"\r\n", length=b"Content-Length: 36"),
    "charset (.NET, okhttp)": send(b"Content-Type: application/json; charset=utf-8"),
    "charset (Java)": send(b"Content-Type: application/json;charset=UTF-8"),
    "charset (Jersey)": send(b'Content-Type: Application/JSON ; charset="UTF-8"'),
    "no type": send(),
    "Content-Encoding: identity": send(b"Content-Encoding: Identity"),
}
"""Answered byte for byte as the plain request; the connection stays open."""

LISTS = {
    "h2c (curl --http2)": chats(*H2C),
    "websocket": chats(*WEBSOCKET),
    "an unused body": chats(b"Content-Length: 5", body=b"hello"),
    "an unused chunked body": chats(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
    "a length of 0": chats(b"Content-Length: 0"),
    "h2c and an unused body": chats(*H2C, b"Content-Length: 5", body=b"hello"),
    "absolute form": chats(line=b"GET http://chat.example/chats HTTP/1.1"),
    "100-continue without a body": chats(b"Expect: 100-continue"),
    "a fragment": chats(line=b"GET /chats#top HTTP/1.1"),
    "a conditional request of a cache": chats(
        b"If-None-Match: *", b"Range: bytes=0-0", b"Pragma: no-cache"
    ),
}

LAST_REQUESTS = {
    "Connection: close": send(b"Connection: Close \t"),
    "among others": send(b"Connection: TE, close"),
    "with an offer to upgrade": send(*H2C, b"Connection: close"),
    "HTTP/1.0 (nginx to its upstreams)": send(line=to(PATH, b"1.0"), host=b""),
    # May be ignored (RFC 9112, section 9.3).
    "HTTP/1.0, keep-alive (ab -k)": send(b"Connection: Keep-Alive", line=to(PATH, b"1.0")),
    "HTTP/1.0, absolute form": send(line=to(b"http://chat.example" + PATH, b"1.0")),
    "HTTP/1.0, 100-continue": send(b"Expect: 100-continue", line=to(PATH, b"1.0")),
    "HTTP/1.0, h2c": send(*H2C, line=to(PATH, b"1.0")),
}
"""Answered as the plain request; then the connection closes."""

BAD_REQUESTS = {
    "obs-fold (RFC 9112, 5.2)": send(b"X: a\r\n b"),
    "white space before the colon (RFC 9112, 5.1)": send(b"X : a"),
    "white space before the first header (RFC 9112, 2.2)": send(host=b" X: a\r\nHost: x"),
    "line ends without CR (RFC 9112, 2.2: may be refused)": send().replace(b"\r\n", b"\n"),
    "two lengths (RFC 9112, 6.3)": send(LENGTH),
    "a list of lengths (RFC 9112, 6.3)": send(length=b"Content-Length: 34, 34"),
    "a length and chunks (RFC 9112, 6.1)": send(CHUNKED),
    "the same with an offer": send(CHUNKED, *H2C),
    "chunked twice (RFC 9112, 7.1)": chunked(CHUNKED),
    "chunked, then gzip (RFC 9112, 6.3)": chunked(coding=b"Transfer-Encoding: chunked, gzip"),
    "identity (removed by RFC 7230)": chunked(coding=b"Transfer-Encoding: identity"),
    # Legal, but lenience about where a size ends has been used for request smuggling.
    "white space after a chunk size": chunked(body=CHUNKS.replace(b"9\r\n", b"9 ;a\r\n", 1)),
    "CONNECT (RFC 9110, 9.3.6)": chats(line=b"CONNECT chat.example:80 HTTP/1.1"),
    "CONNECT with an offer": chats(*H2C, line=b"CONNECT /chats HTTP/1.1"),
    "HTTP/2 (curl --http2-prior-knowledge)": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the PROXY protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + send(),
    "a target that is not a path (RFC 9112, 3.2)": send(line=to(b"chats/BOB/messages")),
    "a method in lower case (RFC 9110, 9.1)": chats(line=b"get /chats HTTP/1.1"),
}
"""Answered with 400; then the connection closes (RFC 9112, section 2.2)."""

INVALID = (400, {"error": "Invalid message or chat not found"})
ZIPPED = gzip.compress(MESSAGE, mtime=0)
REFUSALS = {
    "gzip (RFC 9110, 8.4)": (
        send(b"Content-Encoding: gzip", body=ZIPPED, length=b"Content-Length: %d" % len(ZIPPED)),
        *INVALID,
    ),
    "gzip that is plain JSON": (send(b"Content-Encoding: gzip"), *INVALID),
    "a charset that is not UTF-8": (
        send(b"Content-Type: application/json; charset=iso-8859-1"),
        *INVALID,
    ),
    "no body and no length": (send(body=b"", length=b""), *INVALID),
    "a body of length 0": (send(body=b"", length=b"Content-Length: 0"), *INVALID),
    "a body that is not JSON, with an offer": (send(*H2C, body=b"{" * len(MESSAGE)), *INVALID),
    "no token, with an offer": (
        send(*H2C, token=b"Authorization: Basic eDp5"),
        401,
        {"error": "Unauthorized"},
    ),
    "two tokens (RFC 9110, 5.3)": (send(TOKEN), 401, {"error": "Unauthorized"}),
    "an existing chat, without a body": (
        chats(line=b"POST /chat/BOB HTTP/1.1"),
        400,
        {"error": "Chat already exists or invalid user"},
    ),
    "an existing chat, with a length of 0": (
        chats(b"Content-Length: 0", *H2C, line=b"POST /chat/BOB HTTP/1.1"),
        400,
        {"error": "Chat already exists or invalid user"},
    ),
    "an existing chat, with an unused body": (
        chats(b"Content-Length: 2", line=b"POST /chat/BOB HTTP/1.1", body=b"{}"),
        400,
        {"error": "Chat already exists or invalid user"},
    ),
    "TRACE": (chats(line=b"TRACE /chats HTTP/1.1"), 405, {"error": "Method Not Allowed"}),
    # Asks about the server itself, which says nothing of itself (RFC 9110, 9.3.7).
    "OPTIONS *": (chats(line=b"OPTIONS * HTTP/1.1"), 404, {"error": "Not Found"}),
    "a type that is not accepted": (
        chats(b"Accept: application/xml", line=b"GET /nowhere HTTP/1.1"),
        404,
        {"error": "Not Found"},
    ),
}
"""Answered by the route or in its place; the connection stays open."""


class Known(NamedTuple):
    url: str
    token: bytes
    bob: bytes
    chat: bytes
    """The path of the chat under /v1."""

    def filled(self, template: bytes) -> bytes:
        filled = template.replace(b"TOKEN", self.token).replace(b"BOB", self.bob)
        return filled.replace(b"CHAT", self.chat)


@pytest.fixture(scope="module")
def known(url: str) -> Known:
    async def meet() -> Known:
        async with api_at(url) as api:
            ann, bob, chat = await api.chat_by_id()
            return Known(url, ann.token.encode(), bob.name.encode(), chat.encode())

    return asyncio.run(meet())


async def final(raw: Raw) -> Answer:
    answer = await raw.answer(60)
    return answer if answer.status != 100 else await raw.answer(60)


def undated(answer: Answer) -> Answer:
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer._replace(headers=headers)


async def answer_to(known: Known, plain: bytes) -> Answer:
    async with connected(known.url) as raw:
        await raw.send(known.filled(plain))
        return undated(await final(raw))


async def still_answers(known: Known, raw: Raw) -> bool:
    await raw.send(known.filled(chats()))
    return (await raw.answer(60)).status == 200


def rows(*tables: dict[str, bytes]) -> pytest.MarkDecorator:
    named = [(name, data) for table in tables for name, data in table.items()]
    return pytest.mark.parametrize("form", [row[1] for row in named], ids=[row[0] for row in named])


@rows(SENDS)
async def test_every_form_of_a_send_gets_the_plain_answer(known: Known, form: bytes) -> None:
    expected = await answer_to(known, send())
    assert (expected.status, json.loads(expected.body)["message"]) == (201, "Hello, how are you?")
    async with connected(known.url) as raw:
        await raw.send(known.filled(form))
        assert undated(await final(raw)) == expected
        assert await still_answers(known, raw)
        # Again, with another request pipelined behind it.
        await raw.send(known.filled(form + chats()))
        assert undated(await final(raw)) == expected
        assert (await final(raw)).status == 200


@rows(LISTS)
async def test_every_form_of_a_listing_gets_the_plain_answer(known: Known, form: bytes) -> None:
    expected = await answer_to(known, chats())
    assert expected.status == 200
    async with connected(known.url) as raw:
        await raw.send(known.filled(form))
        assert undated(await final(raw)) == expected
        assert await still_answers(known, raw)


@rows(LAST_REQUESTS)
async def test_last_request_of_a_connection_is_answered(known: Known, form: bytes) -> None:
    expected = await answer_to(known, send())
    async with connected(known.url) as raw:
        await raw.send(known.filled(form))
        answer = undated(await raw.answer(60))
        assert answer.headers.pop("connection") == "close"
        assert answer == expected
        assert await raw.rest() == b""


@rows(BAD_REQUESTS)
async def test_ambiguous_request_is_refused(known: Known, form: bytes) -> None:
    async with connected(known.url) as raw:
        await raw.send(known.filled(form))
        answer = await raw.answer(60)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await raw.rest() == b""


@pytest.mark.parametrize(("form", "status", "words"), REFUSALS.values(), ids=REFUSALS)
async def test_refusal_keeps_the_shape_of_its_route(
    known: Known, form: bytes, status: int, words: object
) -> None:
    async with connected(known.url) as raw:
        await raw.send(known.filled(form))
        answer = await final(raw)
        assert (answer.status, json.loads(answer.body)) == (status, words)
        assert await still_answers(known, raw)


async def test_content_encoding_is_415_under_v1(known: Known) -> None:
    put = request(b"PUT CHAT/read HTTP/1.1", TOKEN, b"Content-Encoding: br", b"Content-Length: 2")
    async with connected(known.url) as raw:
        await raw.send(known.filled(put) + b"{}")
        answer = await raw.answer(60)
        assert (answer.status, json.loads(answer.body)["code"]) == (415, "unsupported_media_type")
        assert await still_answers(known, raw)


async def test_root_is_found_without_its_slash(known: Known) -> None:
    def get(target: bytes) -> bytes:
        return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target

    expected = await answer_to(known, get(b"/"))
    for target in (b"http://chat.example", b"http://chat.example?q", b"http://chat.example/"):
        assert await answer_to(known, get(target)) == expected


async def test_offer_to_upgrade_is_not_logged(service: Service, known: Known) -> None:
    for form in (chats(*H2C), chats(*WEBSOCKET), send(*H2C)):
        await answer_to(known, form)
    assert "pgrade" not in service.log()


# Real clients


@pytest.fixture(scope="module")
def curl() -> str:
    path = shutil.which("curl")
    if path is None:
        pytest.skip("curl is not installed")
    about = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    if "HTTP2" not in about.stdout.split():
        pytest.skip("this curl has no HTTP/2 to upgrade to")
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--http2"],
        ["--http2", "-H", "Transfer-Encoding: chunked"],
        ["--http2", "-H", "Expect: 100-Continue"],
        ["--http2", "-x", "URL"],
        ["--http1.0"],
        ["-x", "URL"],
        ["-H", "Expect: 100-continue"],
    ],
    ids=" ".join,
)
def test_curl_logs_in(curl: str, known: Known, name: str, options: list[str]) -> None:
    options = [known.url if option == "URL" else option for option in options]
    json_type = ("-H", "Content-Type: application/json")
    body = json.dumps({"username": name, "password": PASSWORD})
    # Twice: the second request reuses the connection.
    login = [f"{known.url}/login"] * 2
    answers = run(
        curl, "-sS", "-m", "120", *options, *json_type, "-d", body, "-w", " %{http_code}\n", *login
    )
    statuses = [line.rpartition(" ")[2] for line in answers.splitlines()]
    assert statuses == ["200", "200"], answers


def test_curl_puts_a_stream(curl: str, known: Known) -> None:
    url = f"{known.url}{known.chat.decode()}/read"
    for options in (["--http2"], ["--http1.1"]):
        status = subprocess.run(
            [
                *(curl, "-sS", "-m", "120", *options, "-T", "-", "-w", "%{http_code}"),
                *("-H", known.filled(TOKEN).decode(), "-H", "Content-Type: application/json", url),
            ],
            input='{"seq": 0}',
            capture_output=True,
            text=True,
            check=True,
        )
        assert status.stdout.endswith(("200", "204")), (options, status.stdout)


def test_curl_gets_the_answer_to_a_body_that_is_too_large(
    curl: str, known: Known, tmp_path: Path
) -> None:
    """curl sends `Expect: 100-continue` before a large body."""
    large = tmp_path / "large.json"
    large.write_bytes(b'{"message": "%b"}' % (b"a" * 3_000_000))
    url = f"{known.url}/chats/{known.bob.decode()}/messages"
    token = known.filled(TOKEN).decode()
    for options in (["--http2"], ["--http1.1"]):
        answer = run(
            *(curl, "-sS", "-m", "120", *options, "-H", token, "-d", f"@{large}"),
            *("-H", "Content-Type: application/json", "-w", " %{http_code}", url),
        )
        assert answer == '{"error":"Content Too Large"} 413'


JAVA = """
import java.net.*;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;

public class Peer {
    static int old(String url, String body, boolean chunked) throws Exception {
        var connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setRequestProperty("Content-Type", "application/json");
        if (chunked) connection.setChunkedStreamingMode(16);
        try (var out = connection.getOutputStream()) {
            out.write(body.getBytes(StandardCharsets.UTF_8));
        }
        return connection.getResponseCode();
    }

    static int asked(HttpClient client, String url, HttpRequest.BodyPublisher body, boolean expect)
            throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).expectContinue(expect)
            .header("Content-Type", "application/json").POST(body).build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
    }

    public static void main(String[] args) throws Exception {
        String url = args[0] + "/login", body = args[1];
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            System.out.println(asked(client, url, BodyPublishers.ofString(body), i == 1));
            System.out.println(asked(client, url, BodyPublishers.ofInputStream(
                () -> new java.io.ByteArrayInputStream(bytes)), i == 1));
            System.out.println(old(url, body, i == 1));
        }
    }
}
"""


@soak_only
def test_java_logs_in(known: Known, name: str, tmp_path: Path) -> None:
    """With HttpClient, which offers h2c, and with HttpURLConnection, with lengths and chunks."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("java is not installed")
    source = tmp_path / "Peer.java"
    source.write_text(JAVA)
    body = json.dumps({"username": name, "password": PASSWORD})
    assert run(java, source, known.url, body).split() == ["200"] * 6


@pytest.fixture(scope="module")
def name(known: Known) -> str:
    """The name of a new registered user."""
    name = fresh("kurt")

    async def register() -> None:
        async with api_at(known.url) as api:
            assert (await api.register(name)).status_code == 201

    asyncio.run(register())
    return name
