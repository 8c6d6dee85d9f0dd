"""Health checks: whether the process is alive, and whether it can serve."""

from collections.abc import Awaitable, Callable

import msgspec
from litestar import HttpMethod, get, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from chatcore_litestar.openapi import with_errors
from chatcore_litestar.options import options
from chatcore_litestar.replies import Reply, encode

Ready = Callable[[], Awaitable[bool]]
"""Whether requests can be served. Returns within seconds and raises nothing."""


class Health(msgspec.Struct):
    status: str


async def always() -> bool:
    return True


def health_routes(ready: Ready) -> list[HTTPRouteHandler]:
    lives = Reply(200, encode(Health("ok")))
    can_serve = Reply(200, encode(Health("ready")))
    cannot_serve = Reply(503, encode(Health("not ready")), [(b"retry-after", b"1")])

    @get("/healthz", summary="Whether the service is alive", responses=with_errors(Health, 200))
    async def healthz() -> ASGIApp:
        return lives

    @get("/readyz", summary="Whether the service can serve", responses=with_errors(Health, 200))
    async def readyz() -> ASGIApp:
        return can_serve if await ready() else cannot_serve

    # HEAD has its own handlers, so that the OpenAPI document lists each operation once.
    @route("/healthz", http_method=[HttpMethod.HEAD], include_in_schema=False)
    async def head_healthz() -> ASGIApp:
        return lives

    @route("/readyz", http_method=[HttpMethod.HEAD], include_in_schema=False)
    async def head_readyz() -> ASGIApp:
        return can_serve if await ready() else cannot_serve

    both = [options(path, "GET", "HEAD") for path in ("/healthz", "/readyz")]
    return [*both, healthz, readyz, head_healthz, head_readyz]
