"""What requests say, checked for form before the core sees it."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote_plus

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from chatcore.errors import InvalidKey, InvalidPage, Refused
from chatcore_litestar.errors import BodyRefused

MAX_BODY = 64 * 1024

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
_PAGING = ("limit", "before", "after")
# int() also takes signs, underscores and every script's digits.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")

T = TypeVar("T")


class MalformedBody(Refused):
    """The body is not the JSON that the route asks for."""

    code = "malformed_body"


class LoginBody(msgspec.Struct):
    username: str
    password: str


class MessageBody(msgspec.Struct):
    message: str


decode_login = msgspec.json.Decoder(LoginBody).decode
decode_message = msgspec.json.Decoder(MessageBody).decode


class Paging(msgspec.Struct, frozen=True):
    before: int | None
    after: int | None
    limit: int


async def read_body(
    request: Request[Any, Any, Any], decode: Callable[[str], T], seconds: float
) -> T:
    """The body, which the client has so many seconds to send. Raises MalformedBody and
    BodyRefused."""
    try:
        async with asyncio.timeout(seconds):
            body = await request.body()
    except TimeoutError:
        raise BodyRefused(408, {"connection": "close"}) from None
    except HTTPException as error:
        # It is 413, or Litestar's 500 for a client that left: no fault of ours.
        raise BodyRefused(413 if error.status_code == 413 else 400) from None
    try:
        # Text, not bytes: msgspec does not look at the bytes of keys it has no use for, and a
        # body that is not UTF-8 is not JSON (RFC 8259, section 8.1).
        return decode(body.decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedBody from None


def read_key(request: Request[Any, Any, Any]) -> str | None:
    """The Idempotency-Key header, bare or in double quotes. Raises InvalidKey when it comes
    twice; what a key may hold is the core's business."""
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidKey("one idempotency key, please")
    key = keys[0].decode("latin-1").strip(" \t")
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key


def read_paging(request: Request[Any, Any, Any]) -> Paging | None:
    """The paging parameters; None when the query has none of them. Raises InvalidPage."""
    query = request.scope["query_string"]
    if not query:
        return None
    found: dict[str, int] = {}
    # A third of what parse_qsl takes, which would be a tenth of a page's cost.
    for field in query.decode("latin-1").split("&"):
        name, _, value = map(unquote_plus, field.partition("="))
        if name in _PAGING:
            if name in found or not _NUMBER.fullmatch(value):
                raise InvalidPage
            found[name] = int(value)
    if not found:
        return None
    limit = found.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidPage
    return Paging(found.get("before"), found.get("after"), limit)
