"""What errors become over HTTP: `{"error": "<text>"}`."""

import logging
import secrets
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from chatcore.errors import InvalidPage, Overloaded, Refused, Unavailable

logger = logging.getLogger("chatcore")

Refusal = tuple[int, str]
"""The status and the words that a route refuses with; its `opt["refusal"]`."""

_INVALID_QUERY: Refusal = (400, "Invalid query")


def error_response(
    status: int, text: str, headers: dict[str, str] | None = None
) -> Response[dict[str, str]]:
    return Response({"error": text}, status_code=status, headers=headers)


def on_refused(request: Request[Any, Any, Any], error: Refused) -> Response[dict[str, str]]:
    if isinstance(error, InvalidPage):
        return error_response(*_INVALID_QUERY)
    status, words = request.route_handler.opt["refusal"]
    return error_response(status, words)


def on_unavailable(request: Request[Any, Any, Any], error: Unavailable) -> Response[dict[str, str]]:
    headers = {"retry-after": str(error.retry_after)}
    if not isinstance(error, Overloaded):
        headers |= _log(request, error)
    return error_response(503, HTTPStatus(503).phrase, headers)


def on_http_exception(
    request: Request[Any, Any, Any], error: HTTPException
) -> Response[dict[str, str]]:
    headers = dict(error.headers or {})
    if error.status_code >= 500:
        headers |= _log(request, error)
    return error_response(error.status_code, HTTPStatus(error.status_code).phrase, headers)


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    return error_response(500, HTTPStatus(500).phrase, _log(request, error))


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refused: on_refused,
    Unavailable: on_unavailable,
    HTTPException: on_http_exception,
    Exception: on_exception,
}


def _log(request: Request[Any, Any, Any], error: Exception) -> dict[str, str]:
    """Log with the traceback; the id goes to the client too, who can quote it."""
    request_id = secrets.token_hex(8)
    # ascii(): a path can hold anything, line ends included.
    logger.error(
        "request %s: %s %s failed",
        request_id,
        request.scope["method"],
        ascii(request.scope["path"]),
        exc_info=error,
    )
    return {"x-request-id": request_id}
