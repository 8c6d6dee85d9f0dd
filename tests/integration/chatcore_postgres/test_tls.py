"""TLS to PostgreSQL: what each sslmode accepts, and what the operator reads when one refuses."""

import asyncio
import logging
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from chatcore.testing.scene import ann_and_bob
from chatcore_notify import NotifyDoorbell
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import api_at
from tests.support.apps import SECRET
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.service import QuickService, run
from tests.support.tls import Authority, TlsFront, tls_front

SECONDS = 120
EXPIRED = -1


class Site(NamedTuple):
    """A server behind TLS, with a certificate for localhost."""

    front: TlsFront
    authority: Authority
    other: Authority
    database: str

    def url(self, query: str, host: str = "localhost") -> str:
        place = f"{host}:{self.front.port}/{self.database}"
        return f"postgresql://somebody:pass%3Aword%2F1@{place}?{query}"

    @property
    def trusting(self) -> str:
        """The query of a URL that checks everything."""
        return f"sslmode=verify-full&sslrootcert={self.authority.file}"


@pytest.fixture
async def site(tmp_path: Path, postgres: PostgresServer, postgres_url: str) -> AsyncIterator[Site]:
    folder = tmp_path / "tls"
    folder.mkdir()
    authority, other = Authority(folder), Authority(folder, "other")
    certificate = authority.certificate("localhost")
    async with tls_front(postgres.socket, certificate) as front:
        yield Site(front, authority, other, name_of(postgres_url))


@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("localhost", "sslmode=verify-full&sslrootcert={authority}"),
        # The name of the host is not checked.
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={authority}"),
        # As in libpq, `require` checks the authority where one is named.
        ("127.0.0.1", "sslmode=require&sslrootcert={authority}"),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", "ssl=true"),
        ("127.0.0.1", "sslmode=prefer"),
        ("127.0.0.1", ""),
        ("127.0.0.1,localhost", "sslmode=verify-full&sslrootcert={authority}"),
    ],
)
async def test_certificate_that_suits_the_mode_is_accepted(
    host: str, query: str, site: Site
) -> None:
    url = site.url(query.format(authority=site.authority.file), host).replace(
        "127.0.0.1,localhost", f"127.0.0.1:{site.front.port},localhost"
    )
    async with await SqlAlchemyStore.open(url) as store:
        assert await ann_and_bob(store)
    assert site.front.handshakes
    assert not site.front.plain


class Refused(NamedTuple):
    words: str
    query: str = "sslmode=verify-full&sslrootcert={authority}"
    host: str = "localhost"
    certificate: str = "good"


REFUSED = {
    "unknown authority": Refused(
        "the certificate of the server was refused .*name the file of its authority",
        "sslmode=verify-full&sslrootcert={other}",
    ),
    "authority of the system": Refused("name the file of its authority", "sslrootcert=system"),
    "other host": Refused("write the host in the URL as the certificate does", host="127.0.0.1"),
    "expired": Refused(r"\(certificate has expired\): renew it", certificate="expired"),
    "no TLS": Refused("the server offers no TLS", "sslmode=require", certificate="none"),
    "missing file": Refused("sslrootcert .* cannot be used: No such file", "sslrootcert=/no.pem"),
    "missing default": Refused(
        "root certificate file .* does not exist", "sslmode=verify-full", certificate="good"
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_certificate_that_does_not_suit_is_one_line_about_tls_at_the_start(
    case: Refused, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    match case.certificate:
        case "expired":
            site.front.certificate = site.authority.certificate("localhost", days=EXPIRED)
        case "none":
            site.front.certificate = None
    query = case.query.format(authority=site.authority.file, other=site.other.file)
    url = site.url(query, case.host)
    done = await asyncio.to_thread(
        run, "serve", "--port", "0", cwd=tmp_path, database_url=url, secret=SECRET
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"chatcore: [^\n]*TLS: [^\n]*{case.words}[^\n]*\n", done.stderr)
    assert "pass" not in done.stderr


async def test_certificate_that_expires_while_serving_is_503(site: Site, tmp_path: Path) -> None:
    good = site.front.certificate
    service = QuickService(tmp_path, database_url=site.url(site.trusting), secret=SECRET)
    await asyncio.to_thread(service.start)
    try:
        async with asyncio.timeout(SECONDS), api_at(service.url) as api:
            ann, bob = await api.chat()
            assert (await api.send(ann, bob.name, "one")).status_code == 201
            site.front.certificate = site.authority.certificate("localhost", days=EXPIRED)
            site.front.end_sessions()
            for _ in range(5):
                assert (await api.send(ann, bob.name, "lost")).status_code == 503
                assert (await api.read(ann, bob.name)).status_code == 503
            site.front.certificate = good
            assert (await api.send(ann, bob.name, "two")).status_code == 201
    finally:
        await asyncio.to_thread(service.stop)
    log = service.log()
    # A send and a read fail for reasons of their own; further failures are counted.
    assert 1 <= log.count(" ERROR request ") <= 2
    assert "StoreUnavailable: TLS: the certificate of the server was refused" in log


async def test_doorbell_says_that_a_certificate_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = site.url(f"sslmode=verify-full&sslrootcert={site.other.file}")
    async with asyncio.timeout(SECONDS), await NotifyDoorbell.open(url):
        pass
    [record] = caplog.records
    assert "(ConnectionError: TLS: the certificate of the server was refused" in record.message
    assert "pass" not in record.message


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[PostgresServer]:
    """PostgreSQL built with TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"))
    if not found:
        pytest.skip("no PostgreSQL of Debian, which is built with TLS (apt install postgresql)")
    with tempfile.TemporaryDirectory(prefix="chatcore-tls-") as name:
        server = PostgresServer(found[-1].parent, Path(name))
        yield server
        server.stop()


async def test_postgresql_with_tls_of_its_own(debian: PostgresServer, tmp_path: Path) -> None:
    # An address of its own, so that the port is free.
    address = f"127.{secrets.randbelow(200) + 1}.{secrets.randbelow(250)}.{secrets.randbelow(200)}"
    authority = Authority(tmp_path)
    certificate = authority.certificate(address)
    await asyncio.to_thread(debian.serve_tls, address, certificate.read_bytes())
    trusting = f"sslmode=verify-full&sslrootcert={authority.file}"
    url = f"postgresql://postgres@{address}/postgres?{trusting}"
    done = await asyncio.to_thread(run, "migrate", cwd=tmp_path, database_url=url)
    assert (done.returncode, done.stderr) == (0, "")
    async with await SqlAlchemyStore.open(url) as store:
        assert await ann_and_bob(store)
    unencrypted = url.replace(trusting, "sslmode=disable")
    done = await asyncio.to_thread(run, "migrate", cwd=tmp_path, database_url=unencrypted)
    assert done.returncode == 2
    assert "no encryption" in done.stderr
