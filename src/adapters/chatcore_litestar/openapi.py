"""The OpenAPI document. Handlers read and write bytes, so they describe themselves here."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import HttpMethod, MediaType, Request, Response, Router, route
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)

from chatcore import BearerTokens
from chatcore.accounts import MIN_PASSWORD
from chatcore.model import MAX_INT64, MAX_KEY, MAX_TEXT
from chatcore.names import MAX_NAME
from chatcore.ports import Authenticator
from chatcore_litestar.cross_site import SAFE_METHODS
from chatcore_litestar.errors import error_response, phrase
from chatcore_litestar.requests import DEFAULT_LIMIT, MAX_LIMIT
from chatcore_litestar.v1.problems import PROBLEM_JSON, Problem

BEARER = [{"bearer": list[str]()}]


class Error(msgspec.Struct):
    error: str


TEXT = Schema(type=OpenAPIType.STRING)
NEW_ACCOUNT = {
    "username": Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_NAME),
    "password": Schema(type=OpenAPIType.STRING, min_length=MIN_PASSWORD),
}
CREDENTIALS = {"username": TEXT, "password": TEXT}
MESSAGE = {"message": Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT)}

IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    description="Makes the request safe to retry at any later time: the same key repeats the "
    "first answer and stores nothing. Visible ASCII, bare or in double quotes.",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_KEY, pattern="^[!-~]+$"),
)


def number(low: int, high: int, default: int | None = None) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, minimum=low, maximum=high, default=default)


def in_path(name: str, schema: Schema) -> Parameter:
    return Parameter(name=name, param_in="path", required=True, schema=schema)


def in_query(name: str, description: str, schema: Schema) -> Parameter:
    return Parameter(name=name, param_in="query", description=description, schema=schema)


CHAT_ID = in_path("chat_id", number(1, MAX_INT64))
SEQ = in_path("seq", number(1, MAX_INT64))
USER_NAME = in_path("user_name", TEXT)
HANDLE = in_query(
    "handle",
    "Takes precedence over `user_name`: for handles with a slash, and for `.` and `..`.",
    TEXT,
)


def limit_on(items: str) -> Parameter:
    return in_query("limit", f"The maximum number of {items}.", number(1, MAX_LIMIT, DEFAULT_LIMIT))


PAGING = (
    limit_on("messages"),
    in_query(
        "before", "Only messages with a lower number; excludes `after`.", number(0, MAX_INT64)
    ),
    in_query(
        "after", "Only messages with a higher number; excludes `before`.", number(0, MAX_INT64)
    ),
)

_HEADERS = {
    401: {
        "WWW-Authenticate": "`Bearer`, with the error if a token was sent; absent where browsers "
        "send the credential by themselves."
    },
    429: {"Retry-After": "Seconds to wait before the next attempt."},
    503: {"Retry-After": "Seconds to wait before a retry."},
}


def operation(
    *,
    body: dict[str, Schema] | None = None,
    optional: Sequence[str] = (),
    parameters: Sequence[Parameter] = (),
    headers: Mapping[int, dict[str, str]] = {},
) -> type[Operation]:
    """Describe an operation: its JSON body, in which all fields but the `optional` are required;
    `parameters` that Litestar cannot derive from the path and the signature, or replacements of
    those it does; and response headers by status."""
    required = None if body is None else [name for name in body if name not in optional]

    # A dataclass for each operation would make a start 2.5% slower.
    class Described(Operation):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            shown = [item for item in self.parameters or () if isinstance(item, Parameter)]
            by_name = {item.name: item for item in (*shown, *parameters)}
            self.parameters = [*by_name.values()] or None
            if body is not None:
                schema = Schema(type=OpenAPIType.OBJECT, properties={**body}, required=required)
                content = {"application/json": OpenAPIMediaType(schema=schema)}
                self.request_body = RequestBody(required=True, content=content)
            for status, named in (*_HEADERS.items(), *headers.items()):
                response = (self.responses or {}).get(str(status))
                if isinstance(response, OpenAPIResponse):
                    response.headers = {
                        name: OpenAPIHeader(description=description, schema=TEXT)
                        for name, description in named.items()
                    }

    return Described


class _Response(ResponseSpec):
    """A ResponseSpec that is never copied: Litestar deep-copies a router into its parent."""

    def __deepcopy__(self, _memo: object) -> "_Response":
        return self


def with_errors(result: Any, *statuses: int) -> dict[int, ResponseSpec]:
    """Describe `result` for success, `{"error": …}` for other statuses and for 503."""
    return _responses((*statuses, 503), (result, MediaType.JSON), (Error, MediaType.JSON))


def with_problems(result: Any, *statuses: int) -> dict[int, ResponseSpec]:
    """Describe `result` for success, problem details for other statuses and for 400, 401, 503."""
    return _responses((*statuses, 400, 401, 503), (result, MediaType.JSON), (Problem, PROBLEM_JSON))


def _responses(
    statuses: Iterable[int], success: tuple[Any, str], failure: tuple[Any, str]
) -> dict[int, ResponseSpec]:
    return {
        status: _Response(type_, False, phrase(status), media_type)
        for status in statuses
        for type_, media_type in [success if status < 400 else failure]
    }


def describe_writes(
    handlers: Iterable[HTTPRouteHandler], answers: Mapping[int, ResponseSpec]
) -> None:
    """Add answers to those of every handler that may change something."""
    for handler in handlers:
        if handler.http_methods - SAFE_METHODS:
            handler.responses = {**(handler.responses or {}), **answers}


class _Document(JsonRenderPlugin):
    """The document, with the path of the application as its server: requests of a client that read
    it work where the application is mounted, and behind the prefix of a proxy."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        root: str = request.scope.get("root_path", "")
        servers = [{"url": root.rstrip("/") or "/"}]
        return super().render(request, openapi_schema | {"servers": servers})


def openapi_config(authenticator: Authenticator | None = None) -> OpenAPIConfig:
    """Serve the document as JSON only: Litestar's pages for it load scripts from other hosts.

    An ambient credential is the host's own, and not described. Without an authenticator, the caller
    describes it.
    """
    described = authenticator is not None and not authenticator.ambient
    own = isinstance(authenticator, BearerTokens)
    bearer = SecurityScheme(
        type="http",
        scheme="bearer",
        bearer_format="JWT" if own else None,
        description="The token from `POST /v1/sessions` or `POST /login`."
        if own
        else "A token of the host.",
    )
    renderer = _Document()

    # Litestar itself answers only GET.
    @route(["/", *renderer.paths], http_method=[HttpMethod.HEAD], sync_to_thread=False)
    def head(request: Request[Any, Any, Any]) -> Response[bytes]:
        content = renderer.render(request, request.app.openapi_schema.to_schema())
        return Response(content, media_type=renderer.media_type)

    return OpenAPIConfig(
        title="chatcore",
        version=version("chatcore"),
        description="One-to-one chat.",
        render_plugins=[renderer],
        openapi_router=Router(
            "/schema", route_handlers=[head], include_in_schema=False, after_request=_no_page
        ),
        components=Components(security_schemes={"bearer": bearer} if described else None),
    )


def _no_page(response: Response[Any]) -> Response[Any]:
    # Under this path Litestar answers 404 in HTML.
    return error_response(404) if response.status_code == 404 else response
