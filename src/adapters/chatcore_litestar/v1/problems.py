"""Error answers under /v1: problem details (RFC 9457)."""

from typing import Any

import msgspec
from litestar import Request, Response

from chatcore.errors import InvalidToken, PolicyRefused, Refused, TooManyAttempts, Unavailable
from chatcore_litestar.errors import (
    EXCEPTION_HANDLERS,
    BodyRefused,
    failure_handlers,
    log_failure,
    phrase,
    unavailable_headers,
)
from chatcore_litestar.replies import SAFETY_BY_NAME, Headers, Reply, encode

PROBLEM_JSON = "application/problem+json"

_STATUSES = {
    "malformed_body": 400,
    "unsupported_media_type": 415,
    "invalid_page": 400,
    "wrong_credentials": 403,
    "chat_not_found": 404,
    "user_not_found": 404,
    "message_not_found": 404,
    "session_not_found": 404,
    "invalid_device": 422,
    "invalid_password": 422,
    "invalid_text": 422,
    "invalid_key": 422,
    "invalid_seq": 422,
    "key_reused": 422,
    "self_chat": 422,
}
"""The status of each code of a refusal."""


class Problem(msgspec.Struct):
    type: str
    title: str
    status: int
    code: str
    """Stable, for programs; `title` and `detail` are for people and may change."""
    detail: str | msgspec.UnsetType = msgspec.UNSET


AnyRequest = Request[Any, Any, Any]
ProblemResponse = Response[Problem]


def problem(status: int, code: str | None = None, detail: str = "") -> Problem:
    """Make a problem. Its code defaults to the phrase of the status."""
    title = phrase(status)
    code = code or title.lower().replace(" ", "_")
    return Problem("about:blank", title, status, code, detail or msgspec.UNSET)


def refusal(status: int, code: str | None = None, detail: str = "", headers: Headers = ()) -> Reply:
    content_type = (b"content-type", PROBLEM_JSON.encode())
    return Reply(status, encode(problem(status, code, detail)), headers, content_type)


def _respond(
    status: int,
    code: str | None = None,
    detail: str = "",
    headers: dict[str, str] | None = None,
) -> ProblemResponse:
    return Response(
        problem(status, code, detail),
        status_code=status,
        headers=SAFETY_BY_NAME | (headers or {}),
        media_type=PROBLEM_JSON,
    )


def on_refused(request: AnyRequest, error: Refused) -> ProblemResponse:
    if isinstance(error, InvalidToken):
        return _respond(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
    if isinstance(error, PolicyRefused):
        return _respond(403, error.code)
    status = _STATUSES.get(error.code)
    if status is None:
        return _respond(500, headers=log_failure(request, error))
    # No detail on 404: it could reveal that something exists but is closed to the user.
    return _respond(status, error.code, "" if status == 404 else str(error))


def on_unavailable(request: AnyRequest, error: Unavailable) -> ProblemResponse:
    status = 429 if isinstance(error, TooManyAttempts) else 503
    return _respond(status, error.code, headers=unavailable_headers(request, error))


def on_body_refused(_request: AnyRequest, error: BodyRefused) -> ProblemResponse:
    code = "malformed_body" if error.status == 400 else None
    return _respond(error.status, code, headers=error.headers)


PROBLEM_HANDLERS: dict[int | type[Exception], Any] = {
    Refused: on_refused,
    Unavailable: on_unavailable,
    BodyRefused: on_body_refused,
    **failure_handlers(_respond),
}


def _by_path(kind: int | type[Exception]) -> Any:
    def handle(request: AnyRequest, error: Exception) -> Response[Any]:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        under_v1 = path.lstrip("/").partition("/")[0] == "v1"
        handlers = PROBLEM_HANDLERS if under_v1 else EXCEPTION_HANDLERS
        response: Response[Any] = handlers[kind](request, error)
        return response

    return handle


HANDLERS_BY_PATH = {kind: _by_path(kind) for kind in PROBLEM_HANDLERS}
"""For an application of ours: a failure before a route is found becomes a problem as well, if the
path is under /v1."""
