"""Certificates for tests, and TLS before a server that has none."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.postgres_proxy import ASK_FOR_TLS

_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates, each kept with its key in one file of the folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.file = self._write(name, self._signed(self._name, self._key, None, 1), None)

    def certificate(self, host: str, *, days: int = 1) -> Path:
        """The file of a certificate for the host. It expires in so many days, or did so."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(_named(host), key, host, days)
        return self._write(f"{host}{days}", made, key)

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, host: str | None, days: int
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            names = x509.SubjectAlternativeName([_general_name(host)])
            certificate = certificate.add_extension(names, critical=False)
        return certificate.sign(self._key, hashes.SHA256())

    def _write(
        self, name: str, made: x509.Certificate, key: ec.EllipticCurvePrivateKey | None
    ) -> Path:
        file = self._folder / f"{name}.pem"
        content = made.public_bytes(_PEM)
        if key is not None:
            content += key.private_bytes(
                _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        file.write_bytes(content)
        return file


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class TlsFront:
    """Speaks TLS before PostgreSQL's socket, on a port of this machine: PostgreSQL from a wheel is
    built without it."""

    def __init__(self, socket: Path, certificate: Path | None) -> None:
        self._socket = socket
        self.certificate = certificate
        """The file of a certificate and its key; None for no TLS. It may change at any time."""
        self.port = 0
        self.handshakes = self.plain = 0
        """How many sessions began with TLS, and without."""
        self._clients: set[asyncio.StreamWriter] = set()

    async def connected(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self._clients.add(to_client)
        try:
            await self._serve(client, to_client)
        except (OSError, EOFError):
            pass
        finally:
            self._clients.discard(to_client)
            to_client.transport.abort()

    def end_sessions(self) -> None:
        for to_client in self._clients:
            to_client.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        opening = await client.readexactly(8)
        if opening[4:] == ASK_FOR_TLS:
            to_client.write(b"N" if self.certificate is None else b"S")
            if self.certificate is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificate)
                await to_client.start_tls(context)
                self.handshakes += 1
            opening = b""
        else:
            self.plain += 1
        server, to_server = await asyncio.open_unix_connection(self._socket)
        to_server.write(opening)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(client, to_server))
                both.create_task(_pass_on(server, to_client))
        except* (OSError, EOFError):
            pass
        finally:
            to_server.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    raise EOFError


@asynccontextmanager
async def tls_front(socket: Path, certificate: Path | None) -> AsyncIterator[TlsFront]:
    front = TlsFront(socket, certificate)
    server = await asyncio.start_server(front.connected, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        front.end_sessions()
