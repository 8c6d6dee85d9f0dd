"""The request log: slow requests, or all of them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from chatcore_litestar.streams import LONG_RUNNING

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

SLOW_SECONDS = 1.0
_MAX_PATH = 256

logger = logging.getLogger("chatcore")
access = logging.getLogger("chatcore.access")


def log_requests(app: ASGIApp, *, every: bool) -> ASGIApp:
    """Wrap the application so that slow requests are logged; with `every`, all requests.

    A request is slow over SLOW_SECONDS, unless it waits for events. A line has the method, the
    path without its query, the status (with `every`), and the time until the answer was sent;
    nothing of headers or body. The record's `request` has the route in place of the path, and
    the user's id.
    """
    return _log_every(app) if every else _log_slow(app)


def _log_slow(app: ASGIApp) -> ASGIApp:
    # Every request pays for this: no status, which would need a wrapper around `send`.
    async def slow_logged(scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            await app(scope, receive, send)
        finally:
            seconds = time.perf_counter() - started
            if seconds > SLOW_SECONDS and scope["type"] == "http" and LONG_RUNNING not in scope:
                logger.warning(
                    "slow: %s %s %.0f ms",
                    *_request(scope),
                    seconds * 1000,
                    extra=_fields(scope, seconds),
                )

    return slow_logged


def _log_every(app: ASGIApp) -> ASGIApp:
    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status: object = "unanswered"

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await app(scope, receive, noting_send)
        finally:
            seconds = time.perf_counter() - started
            level, label = (
                (logging.WARNING, "slow: ")
                if seconds > SLOW_SECONDS and LONG_RUNNING not in scope
                else (logging.INFO, "")
            )
            access.log(
                level,
                "%s%s %s %s %.1f ms",
                label,
                *_request(scope),
                status,
                seconds * 1000,
                extra=_fields(scope, seconds, status=status),
            )

    return logged


def _request(scope: Scope) -> tuple[str, str]:
    # Percent-encoded, so that a path can neither end the line nor control the terminal.
    path = quote(scope.get("raw_path") or scope["path"], safe="/%:@!$&'()*+,;=-._~")
    return scope["method"], path if len(path) <= _MAX_PATH else path[:_MAX_PATH] + "..."


def _fields(scope: Scope, seconds: float, **more: object) -> dict[str, dict[str, object]]:
    fields: dict[str, object] = {
        "method": scope["method"],
        # None if no route matched.
        "route": scope.get("path_template"),
        **more,
        "ms": round(seconds * 1000, 1),
    }
    if (user := scope.get("user")) is not None:
        fields["user_id"] = user.id
    return {"request": fields}


def silence_cancelled_requests() -> None:
    """Keep uvicorn from logging as failures the requests that its own shutdown cancels."""
    uvicorn = logging.getLogger("uvicorn.error")
    # Its warnings are about invalid input: any peer could fill a disk with them.
    uvicorn.setLevel(logging.ERROR)
    uvicorn.addFilter(_is_not_cancellation)


def _is_not_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
