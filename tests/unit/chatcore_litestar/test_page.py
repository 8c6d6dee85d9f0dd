"""How the files of the web page are served."""

import re
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from chatcore_litestar import chat_router
from chatcore_memory import MemoryStore
from tests.support.api import api_of
from tests.support.apps import app_on, core
from tests.support.repository import ROOT

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
}


def check_safety(answer: httpx.Response) -> None:
    assert set(answer.headers["content-security-policy"].split("; ")) == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("GZIP;q=0.5, br", True),
        ("deflate, gzip ; q=1.0", True),
        ("*", True),
        ("*;q=0, gzip", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=nonsense", False),
        ("identity", False),
        ("notgzip", False),
        ("", False),
    ],
)
async def test_files_are_compressed_for_clients_that_accept_gzip(
    accepts: str, packed: bool
) -> None:
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        answer = await api.client.get("/", headers={"accept-encoding": accepts})
    assert ("content-encoding" in answer.headers) is packed
    assert answer.text.startswith("<!doctype html>")


async def test_head_answers_as_get_without_the_body() -> None:
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        home = await api.client.get("/")
        parts = re.findall('(?:src|href)="([^"]+)"', home.text)
        for path in ("/", *parts, "/healthz", "/readyz", "/schema", "/schema/openapi.json"):
            got, head = await api.client.get(path), await api.client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers == got.headers


async def test_document_is_revalidated_and_its_files_are_cached() -> None:
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        home = await api.call("GET", "/")
        assert home.status_code == 200
        assert home.headers["content-type"] == "text/html; charset=utf-8"
        assert home.headers["cache-control"] == "no-cache"
        check_safety(home)
        tag = {"if-none-match": home.headers["etag"]}
        again = await api.client.get("/", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        check_safety(again)
        parts = re.findall('(?:src|href)="([^"]+)"', home.text)
        assert len(parts) == 3
        for part in parts:
            # Relative: the page works wherever the application is mounted.
            assert re.fullmatch(r"page/[0-9a-f]{16}/[a-z]+\.(js|css|svg)", part)
            plain = await api.client.get(f"/{part}", headers={"accept-encoding": "identity"})
            assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert "content-encoding" not in plain.headers
            check_safety(plain)
            packed = await api.client.get(f"/{part}", headers={"accept-encoding": "br, gzip"})
            assert packed.headers["content-encoding"] == "gzip"
            assert packed.headers["vary"] == "accept-encoding"
            assert packed.content == plain.content


async def test_no_other_file_is_served() -> None:
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        [version] = set(re.findall("page/(.+?)/", (await api.call("GET", "/")).text))
        for path in [
            f"/page/{version}/index.html",
            f"/page/{version}/..%2fapp.py",
            f"/page/{version}/none.js",
            "/page/0123456789abcdef/main.js",
            f"/page/{version}/",
            "/page",
            "/index.html",
        ]:
            answer = await api.call("GET", path)
            assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
        answer = await api.call("POST", "/")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
        document = (await api.call("GET", "/schema/openapi.json")).json()
        assert not {"/", "/page/{version}/{name}"} & set(document["paths"])


async def test_page_is_optional_and_off_when_mounted() -> None:
    async with app_on(MemoryStore(), page=False) as app, api_of(app) as api:
        assert (await api.call("GET", "/")).status_code == 404
        assert (await api.call("GET", "/healthz")).status_code == 200
    async with core(MemoryStore()) as parts:
        mounted = Litestar([chat_router(*parts)], logging_config=None)
        async with api_of(mounted) as api:
            assert (await api.call("GET", "/")).status_code == 404


SOURCES = ROOT / "src/adapters/chatcore_litestar/page"


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.js")), ids=lambda path: path.name)
def test_scripts_never_turn_text_into_markup(path: Path) -> None:
    source = path.read_text("utf-8")
    dangers = 'HTML|document.write|eval|Function|srcdoc|DOMParser|setAttribute."on'
    assert re.findall(dangers, source) == []
    assert len(source.splitlines()) <= 400


def test_both_languages_have_the_same_texts_and_no_russian_one_declines_a_name() -> None:
    source = (ROOT / "src/adapters/chatcore_litestar/page/words.js").read_text("utf-8")
    english, russian = (
        dict(re.findall(r'^  "?([\w-]+)"?: (.+)', block, re.MULTILINE))
        for block in source.partition("const locale")[0].split("const RU")
    )
    assert english.keys() == russian.keys()
    named = [text for text in russian.values() if "{name}" in text]
    assert len(named) > 3
    # Beside a colon, a name stands in the nominative.
    assert [text for text in named if "{name}:" not in text and ": {name}" not in text] == []


@pytest.mark.parametrize("path", ["/%2F", "/%2f%2F", "//"])
async def test_slashes_at_the_root_do_not_redirect(path: str) -> None:
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        assert (await api.call("GET", path)).status_code == 200
