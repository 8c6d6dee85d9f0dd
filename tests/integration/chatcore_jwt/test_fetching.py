"""Read a key set from a real server with TLS, and from a file."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from chatcore_jwt import JwksKeys, fetching
from chatcore_jwt.fetching import MAX_DOCUMENT, fetch_of
from tests.support.issuer import ec_key, jwk, key_set, rsa_key

DOCUMENT = key_set(jwk(rsa_key(), "r1"))

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
"""Of the server, and of a client that trusts it."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """A certificate for localhost and 127.0.0.1 that signs itself."""
    key = ec_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@asynccontextmanager
async def serving(
    tls: Contexts, answer: bytes, *, then_wait: bool = False
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer every request with these bytes. Yields the URL and the requests."""
    requests = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if then_wait:
            # Until the client leaves.
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls[0])
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"https://127.0.0.1:{port}/keys?v=1", requests
    finally:
        server.close()


async def test_key_set_is_read_over_tls(tls: Contexts) -> None:
    async with serving(tls, answer(DOCUMENT)) as (url, requests):
        assert await fetch_of(url, tls[1])() == DOCUMENT
        [request] = requests
        line, *headers = request.decode().splitlines()
        assert line == "GET /keys?v=1 HTTP/1.1"
        assert url.removeprefix("https://").startswith(headers[0].removeprefix("Host: "))
        keys = JwksKeys(url, tls=tls[1])
        assert len(await keys.find("r1", "RS256")) == 1


async def test_chunked_answer_is_read(tls: Contexts) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(it), it) for it in (DOCUMENT[:9], DOCUMENT[9:], b""))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(tls, head + chunks) as (url, _):
        assert await fetch_of(url, tls[1])() == DOCUMENT


BROKEN = {
    "redirect": answer(DOCUMENT, "302 Found", "Location: https://evil.example/\r\n"),
    "moved": answer(DOCUMENT, "301 Moved Permanently", "Location: /other\r\n"),
    "error": answer(DOCUMENT, "500 Internal Server Error"),
    "not found": answer(DOCUMENT, "404 Not Found"),
    "cut off": answer(DOCUMENT)[:-1],
    "cut off in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "not HTTP": b"SSH-2.0-OpenSSH\r\n",
    "nothing": b"",
    "too long": answer(b" " * MAX_DOCUMENT),
    "endless": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_DOCUMENT + 1),
    "endless head": b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * (MAX_DOCUMENT + 1),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_answer_is_an_error(broken: bytes, tls: Contexts) -> None:
    async with serving(tls, broken) as (url, requests):
        with pytest.raises((ValueError, OSError)):
            await fetch_of(url, tls[1])()
        assert len(requests) == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", answer(DOCUMENT)])
async def test_slow_answer_is_given_up(
    sent: bytes, tls: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.2)
    async with serving(tls, sent, then_wait=True) as (url, _):
        with pytest.raises(TimeoutError):
            await fetch_of(url, tls[1])()


async def test_certificate_is_verified(tls: Contexts) -> None:
    async with serving(tls, answer(DOCUMENT)) as (url, requests):
        with pytest.raises(ssl.SSLCertVerificationError):
            await fetch_of(url, None)()
        other_name = url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises((ssl.SSLCertVerificationError, OSError)):
            await fetch_of(other_name, tls[1])()
        assert requests == []


async def test_issuer_that_does_not_listen_is_an_error(tls: Contexts) -> None:
    async with serving(tls, b"") as (url, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        await fetch_of(url, tls[1])()


async def test_key_set_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "the keys.json"
    file.write_bytes(DOCUMENT)
    url = file.as_uri()
    assert await fetch_of(url, None)() == DOCUMENT
    file.write_bytes(b" " * (MAX_DOCUMENT + 1))
    with pytest.raises(ValueError, match="over"):
        await fetch_of(url, None)()
    file.unlink()
    with pytest.raises(FileNotFoundError):
        await fetch_of(url, None)()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys.json",
        "http://login.shop.example/keys",
        "http://127.0.0.1/keys",
        "ftp://login.shop.example/keys",
        "https://",
        "https:///keys",
        "https://user:password@login.shop.example/keys",
        "https://login.shop.example/keys#1",
        "https://login.shop.example/a b",
        "https://login.shop.example/a\r\nX-Header: 1",
        "https://login.shop.example:port/keys",
        "https://пример.example/keys",
        "file://host/keys",
        "file://",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|expected|[Pp]ort"):
        fetch_of(url, None)
