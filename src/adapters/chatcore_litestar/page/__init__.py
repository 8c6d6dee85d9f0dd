"""The page: a web client for chatting in a browser.

Its files are served without a build step. All but index.html are under a path with a digest of
their contents, so that browsers cache them for ever and never mix two versions.
"""

import gzip
import hashlib
from importlib.resources import files
from typing import Any

from litestar import HttpMethod, Request, route
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_SAFETY = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


class PageFile:
    """A file of the page, plain and compressed, with its ETag."""

    def __init__(self, name: str, content: bytes, cache: bytes) -> None:
        self._content = content
        self._compressed = gzip.compress(content, mtime=0)
        self._tag = b'"%s"' % _digest(content).encode()
        self._headers = [
            (b"content-type", _TYPES[name.rpartition(".")[2]]),
            (b"cache-control", cache),
            (b"etag", self._tag),
            (b"vary", b"accept-encoding"),
            *_SAFETY,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = dict(scope["headers"])
        headers = self._headers.copy()
        status, body = 200, self._content
        if self._tag in received.get(b"if-none-match", b""):
            status, body = 304, b""
        elif _accepts_gzip(received.get(b"accept-encoding", b"")):
            body = self._compressed
            headers.append((b"content-encoding", b"gzip"))
        if status == 200:
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if scope.get("method") == "HEAD":
            body = b""
        await send({"type": "http.response.body", "body": body, "more_body": False})


class SlashAdded:
    """Redirects to the same path with a slash at its end, from which relative URLs resolve."""

    def __init__(self, raw_path: bytes) -> None:
        # Relative, so that it holds behind a proxy that removes a prefix.
        self._location = b"./%s/" % raw_path.rpartition(b"/")[2]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"]
        location = self._location + (b"?%s" % query if query else b"")
        headers = [(b"location", location), (b"content-length", b"0"), *_SAFETY]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def page_routes() -> list[HTTPRouteHandler]:
    """Serve the page at `/` and its files below `/page/`. Their URLs are relative, so they may be
    mounted under any path."""
    contents = {
        file.name: file.read_bytes()
        for file in files("chatcore_litestar").joinpath("page").iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }
    document = contents.pop("index.html")
    version = _digest(
        *(part for name in sorted(contents) for part in (name.encode(), contents[name]))
    )
    document = document.replace(b'"page/', b'"page/%s/' % version.encode())
    home = PageFile("index.html", document, b"no-cache")
    immutable = b"public, max-age=31536000, immutable"
    parts = {
        f"{version}/{name}": PageFile(name, content, immutable)
        for name, content in contents.items()
    }

    both = [HttpMethod.GET, HttpMethod.HEAD]

    @route("/", http_method=both, include_in_schema=False)
    async def page(request: Request[Any, Any, Any]) -> ASGIApp:
        # Litestar has dropped the last slash of `path`; servers may leave `raw_path` out.
        raw = request.scope.get("raw_path") or b"/"
        at_root = request.scope["path"] == "/"
        return home if at_root or raw.endswith(b"/") else SlashAdded(raw)

    @route("/page/{version:str}/{name:str}", http_method=both, include_in_schema=False)
    async def part(version: FromPath[str], name: FromPath[str]) -> ASGIApp:
        found = parts.get(f"{version}/{name}")
        if found is None:
            raise NotFoundException
        return found

    return [page, part]


def _accepts_gzip(accept: bytes) -> bool:
    """Whether Accept-Encoding allows gzip. A coding with `q=0` is not acceptable; `*` stands for
    every coding that is not listed (RFC 9110, section 12.5.3)."""
    qualities = dict[str, float]()
    for item in accept.decode("latin-1").lower().replace(" ", "").replace("\t", "").split(","):
        coding, _, quality = item.partition(";q=")
        try:
            qualities[coding] = float(quality or 1)
        except ValueError:
            qualities[coding] = 0
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0))) > 0


def _digest(*parts: bytes) -> str:
    # The lengths keep adjacent parts distinct.
    joined = b"".join(b"%d:%s" % (len(part), part) for part in parts)
    return hashlib.sha256(joined).hexdigest()[:16]
