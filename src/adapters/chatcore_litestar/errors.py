"""Error answers outside /v1: `{"error": "<text>"}`."""

import logging
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from chatcore.errors import (
    AuthenticationUnavailable,
    InvalidPage,
    Overloaded,
    Refused,
    TooManyAttempts,
    Unavailable,
)
from chatcore_litestar.replies import SAFETY_BY_NAME

logger = logging.getLogger("chatcore")

Refusal = tuple[int, str]
"""The status and text with which a route refuses, in its `opt["refusal"]`."""

_INVALID_QUERY: Refusal = (400, "Invalid query")
# Python's own phrases for these depend on its version.
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    422: "Unprocessable Content",
}

ErrorResponse = Response[dict[str, str]]


class BodyRefused(Exception):
    """The body was not read completely.

    Not an HTTPException: a host's handler for that status would take precedence over ours.
    """

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers


def phrase(status: int) -> str:
    return _PHRASES.get(status, "Error")


def error_response(
    status: int, text: str | None = None, headers: dict[str, str] | None = None
) -> ErrorResponse:
    # Without a media type, Litestar would use that of a handler of text or HTML.
    return Response(
        {"error": text or phrase(status)},
        status_code=status,
        headers=SAFETY_BY_NAME | (headers or {}),
        media_type=MediaType.JSON,
    )


def on_refused(request: Request[Any, Any, Any], error: Refused) -> ErrorResponse:
    if isinstance(error, InvalidPage):
        return error_response(*_INVALID_QUERY)
    if (refusal := request.route_handler.opt.get("refusal")) is None:
        return error_response(500, headers=log_failure(request, error))
    return error_response(*refusal)


def on_unavailable(request: Request[Any, Any, Any], error: Unavailable) -> ErrorResponse:
    if isinstance(error, TooManyAttempts):
        return error_response(429, "Too many attempts", unavailable_headers(request, error))
    return error_response(503, headers=unavailable_headers(request, error))


def unavailable_headers(request: Request[Any, Any, Any], error: Unavailable) -> dict[str, str]:
    headers = {"retry-after": str(error.retry_after)}
    if not isinstance(error, Overloaded | TooManyAttempts | AuthenticationUnavailable):
        headers |= log_failure(request, error)
    return headers


def on_body_refused(_request: Request[Any, Any, Any], error: BodyRefused) -> ErrorResponse:
    return error_response(error.status, headers=error.headers)


def failure_handlers(respond: Callable[..., Response[Any]]) -> dict[int | type[Exception], Any]:
    """Make handlers for errors that are not the core's. `respond` makes a response from a status
    and `headers`."""

    def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        headers = dict(error.headers or {})
        if "allow" in headers:
            # Litestar's order comes from a set and differs between processes.
            headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        if error.status_code >= 500:
            headers |= log_failure(request, error)
        return respond(error.status_code, headers=headers)

    def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        return respond(500, headers=log_failure(request, error))

    return {HTTPException: on_http_exception, Exception: on_exception}


def log_failure(request: Request[Any, Any, Any], error: Exception) -> dict[str, str]:
    """Log the error with a request id; return the header that gives the client the same id."""
    request_id = secrets.token_hex(8)
    # ascii(), because a path may contain line ends.
    logger.error(
        "request %s: %s %s failed",
        request_id,
        request.scope["method"],
        ascii(request.scope["path"]),
        exc_info=error,
    )
    return {"x-request-id": request_id}


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refused: on_refused,
    Unavailable: on_unavailable,
    BodyRefused: on_body_refused,
    **failure_handlers(error_response),
}
